"""The atomic pusher as a TFX component."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tfx import types
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from components.artifacts import VerdictArtifact
from components.evaluation.verdict import OVERALL, SliceMetrics, read_metrics, read_verdict
from components.export.sample import showcase
from components.pusher.push import push
from components.splits import SplitTables
from components.verdict import Verdict
from config.load import settings_hash
from config.schema import model_features, read_schema
from config.settings import Settings, ShowcaseSettings
from serving.repository.layout import EVALUATION, SCHEMA, SHOWCASE, STATISTICS, TRAINING
from serving.repository.manifest import Manifest, checksums, digest

BASELINE = "baseline_model"  # the Evaluator's name for it
PUSHED, VERSION = "pushed", "version"  # custom properties of the output


class AtomicPusherSpec(component_spec.ComponentSpec):
    """The model, both blessings and all the manifest is made of.

    `settings`, `showcase`: JSON; `base`: the serving folder.
    """

    PARAMETERS = {
        "settings": component_spec.ExecutionParameter(type=str),
        "showcase": component_spec.ExecutionParameter(type=str),
        "base": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        "verdict": component_spec.ChannelParameter(type=VerdictArtifact),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        BASELINE: component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {"pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel)}


class Executor(base_executor.BaseExecutor):
    """Push if both gates blessed; else say so in the output artifact and leave the served versions alone."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        """See AtomicPusherSpec."""
        settings = Settings.model_validate_json(exec_properties["settings"])
        output = artifact_utils.get_single_instance(output_dict["pushed_model"])
        blessed = model_utils.is_model_blessed(artifact_utils.get_single_instance(input_dict["model_blessing"]))
        fit = model_utils.is_infra_validated(artifact_utils.get_single_instance(input_dict["infra_blessing"]))
        if not (blessed and fit):
            output.set_int_custom_property(PUSHED, 0)
            return
        uris = {key: artifact_utils.get_single_uri(artifacts) for key, artifacts in input_dict.items() if artifacts}
        model = Path(path_utils.serving_model_path(uris["model"]))
        training = json.loads((model / TRAINING).read_text(encoding="utf-8"))
        metrics = read_metrics(uris["evaluation"])
        manifest = Manifest(
            model=settings.name,
            version=0,
            run_id=self._context.pipeline_run_id,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            digest="",
            data_digest=input_dict["examples"][0].get_string_custom_property("source_digest"),
            settings_hash=settings_hash(settings),
            metrics=next(s.values for s in metrics if s.name == OVERALL),
            operating_point=training["operating_point"],
            verdicts={
                "evaluation": read_verdict(uris["evaluation"], settings).for_manifest(),
                "serving": Verdict.read(Path(uris["verdict"])).for_manifest(),
            },
            checksums={},
            baseline=_digest(uris[BASELINE]) if BASELINE in uris else "",
        )
        extra = _extra(uris, settings, metrics)
        wanted = ShowcaseSettings.model_validate_json(exec_properties["showcase"])
        if wanted.train_rows or wanted.test_rows:
            extra[SHOWCASE] = _showcase(uris, input_dict["examples"][0], settings, wanted)
        pushed = push(model, Path(exec_properties["base"]), manifest, extra)
        output.set_int_custom_property(PUSHED, 1)
        output.set_int_custom_property(VERSION, pushed.version)
        output.set_string_custom_property("pushed_destination", str(pushed.folder))


def _digest(uri: str) -> str:
    """Return the digest that a version has which was pushed from this model."""
    return digest(checksums(Path(path_utils.serving_model_path(uri))))


def _extra(uris: Mapping[str, str], settings: Settings, metrics: Sequence[SliceMetrics]) -> dict[str, str | bytes]:
    """Return the files that travel with the model beside those Trainer wrote."""
    return {
        SCHEMA: text_format.MessageToString(read_schema(Path(uris["schema"]) / "schema.pbtxt")),
        STATISTICS: (Path(uris["statistics"]) / "Split-train" / "FeatureStats.pb").read_bytes(),
        EVALUATION: json.dumps({s.name: {"rows": s.rows, **s.values} for s in metrics}, indent=2) + "\n",
    }


def _showcase(uris: Mapping[str, str], examples: Any, settings: Settings, wanted: ShowcaseSettings) -> str:
    """Return the rows that travel along, of both splits."""
    features = model_features(read_schema(Path(uris["schema"]) / "schema.pbtxt"), settings)
    tables = SplitTables(Path(uris["examples"]), features, settings.data.label, settings.data.classes)
    most = {"train": wanted.train_rows, "test": wanted.test_rows}
    rows = {split: examples.get_int_custom_property(f"rows_{split}") for split in most}
    return showcase(tables, features, settings.data.classes, rows, most)


class AtomicPusher(base_component.BaseComponent):
    """Push a model that both gates blessed as the next version under `base`."""

    SPEC_CLASS = AtomicPusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self, *, settings: Settings, showcase: ShowcaseSettings, base: Path, **inputs: types.BaseChannel
    ) -> None:
        super().__init__(
            AtomicPusherSpec(
                **inputs,
                settings=settings.model_dump_json(by_alias=True),
                showcase=showcase.model_dump_json(),
                base=str(base),
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
