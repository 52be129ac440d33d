"""What our TFX components share: artifact types of our own in ML Metadata, and how a component states its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types import Channel
from tfx.types.artifact import Artifact
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.names import REPORT_TYPE, VERDICT_TYPE
from config.frozen import Frozen


class VerdictArtifact(Artifact):
    """A folder with a gate's `verdict.json` and whatever rows it exported."""

    TYPE_NAME = VERDICT_TYPE


class ReportArtifact(Artifact):
    """A folder with a run's report: HTML, JSON, XLSX, PNG and the model card."""

    TYPE_NAME = REPORT_TYPE


def parameters(**kinds: type) -> dict[str, ExecutionParameter]:
    return {name: ExecutionParameter(type=kind) for name, kind in kinds.items()}


def channels(**kinds: type[Artifact]) -> dict[str, ChannelParameter]:
    return {name: ChannelParameter(type=kind) for name, kind in kinds.items()}


class OwnComponent(BaseComponent):
    """A component that is its spec and its executor. Settings become JSON, paths text, outputs new channels."""

    def __init__(self, **arguments: Any) -> None:
        outputs = {name: Channel(type=channel.type) for name, channel in self.SPEC_CLASS.OUTPUTS.items()}
        super().__init__(self.SPEC_CLASS(**{name: _plain(v) for name, v in arguments.items()}, **outputs))


def read_only_store(metadata: Path) -> Any:
    """Return ML Metadata's store for reading while others write to it, None if there is none."""
    if not metadata.is_file():
        return None
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(metadata)
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    return metadata_store.MetadataStore(config)


def _plain(value: Any) -> Any:
    if isinstance(value, Frozen):
        return value.model_dump_json(by_alias=True)
    return str(value) if isinstance(value, Path) else value
