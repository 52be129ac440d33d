"""TFX's ExampleGen with our executor."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import wrappers_pb2
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.components.example_gen.utils import generate_output_split_names
from tfx.components.util.examples_utils import set_file_format, set_payload_format
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.utils import proto_utils

from common.files import write_text
from common.paths import var_root
from common.records.spans import synthetic_rows
from common.tables.remote import fetch
from common.tables.splitting import Digest
from components.examples.blocks import (
    ReadRequest,
    Source,
    check_totals,
    count_labels,
    labelled_blocks,
    read_request,
    reconcile,
)
from components.examples.dealing import Origin, dealing
from components.examples.images import ImageSource, listing_digest
from components.examples.sources import base_and_pattern, open_source
from components.examples.writing import SplitWriter
from components.names import PICTURES_SEEN, SYNTHETIC_ROWS, TEST_FROM
from config.data_settings import DataSettings
from config.schema import read_schema
from config.settings import Settings

_log = logging.getLogger(__name__)


class ExampleGenExecutor(BaseExecutor):
    """Stream files of rows into gzipped TFRecord shards of tf.Example, in memory that does not grow with the rows.

    Takes the place of TFX's Beam executor. It runs in the component's own process whatever Beam's runner is: on a
    cluster nothing breaks, but reading is not spread over workers.
    """

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        """Write the Examples artifact and its counts. Raises DataError naming file, line and cure."""
        inputs, outputs, custom = example_gen_pb2.Input(), example_gen_pb2.Output(), example_gen_pb2.CustomConfig()
        proto_utils.json_to_proto(exec_properties[keys.INPUT_CONFIG_KEY], inputs)
        proto_utils.json_to_proto(exec_properties[keys.OUTPUT_CONFIG_KEY], outputs)
        proto_utils.json_to_proto(exec_properties[keys.CUSTOM_CONFIG_KEY], custom)
        request = unpack_request(custom)
        weights = {split.name: split.hash_buckets for split in outputs.split_config.splits}
        artifact = artifact_utils.get_single_instance(output_dict[keys.EXAMPLES_KEY])

        pattern = str(Path(exec_properties[keys.INPUT_BASE_KEY]) / inputs.splits[0].pattern)
        files = [Path(file) for file in fileio.glob(pattern)]
        source = open_source(files, pattern, request)
        rows, digest = write_splits(source, request, weights, Path(artifact.uri))

        artifact.split_names = artifact_utils.encode_split_names(generate_output_split_names(inputs, outputs))
        set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)
        set_file_format(artifact, "tfrecords_gzip")
        artifact.set_int_custom_property("rows_in", sum(rows.values()))
        for split, count in rows.items():
            artifact.set_int_custom_property(f"rows_{split}", count)
        artifact.set_int_custom_property(SYNTHETIC_ROWS, sum(map(synthetic_rows, {file.parent for file in files})))
        Origin(pattern, request, digest).mark(artifact)
        _log.info("examples: %s", rows)


def write_splits(
    source: Source, request: ReadRequest, weights: dict[str, int], folder: Path
) -> tuple[dict[str, int], str]:
    """Write all rows of a source under `folder/Split-<name>/`; return the rows of each split and the digest.

    Raises DataError.
    """
    assign, test_from = dealing(source, request, list(weights.values()))
    if test_from is not None:
        write_text(folder / TEST_FROM, f"{test_from!r}\n")
    digest = Digest()
    classes: Counter[str] = Counter()
    read = unlabelled = 0
    pictures = isinstance(source, ImageSource)
    with SplitWriter([folder / f"Split-{name}" for name in weights], pictures=pictures) as writer:
        for read_block in source.blocks():
            read += read_block.batch.num_rows
            block = read_block.labelled(request)
            unlabelled += read_block.batch.num_rows - block.batch.num_rows
            classes += count_labels(block, source, request)
            digest.add(block.identity(request))
            writer.write(block.batch, assign(block))
        written = dict(zip(weights, writer.close(), strict=True))
    if unlabelled:
        _log.warning("%d of %d rows have no label and are left out (data.drop_unlabelled)", unlabelled, read)
    if isinstance(source, ImageSource):
        write_text(folder / PICTURES_SEEN, source.seen.text())
    reconcile(read, {**written, "without a label": unlabelled}, source.independent_count())
    check_totals(classes, written, request)
    return written, digest.hexdigest()


def open_examples(settings: Settings) -> tuple[Source, ReadRequest]:
    """Open what `data.source` names as a run does, spans apart. Raises DataError."""
    schema = read_schema(settings.schema_file) if settings.schema_file else None
    request = read_request(settings, schema)
    base, pattern = base_and_pattern(_local_source(settings.data), settings.data.format)
    return open_source([Path(file) for file in fileio.glob(str(base / pattern))], str(base / pattern), request), request


def count_rows(settings: Settings) -> tuple[dict[str, int], dict[str, int]]:
    """Read all rows as a run would and return how many each split and each class gets. Raises DataError."""
    source, request = open_examples(settings)
    weights = settings.split.weights
    assign, _ = dealing(source, request, list(weights.values()))
    classes: Counter[str] = Counter()
    rows = np.zeros(len(weights), np.int64)
    for block in labelled_blocks(source, request):
        classes += count_labels(block, source, request)
        rows += np.bincount(assign(block), minlength=len(weights))
    counts = dict(zip(weights, rows.tolist(), strict=True))
    check_totals(classes, counts, request)
    return counts, {name: classes[name] for name in settings.data.classes}


def _local_source(data: DataSettings) -> Path:
    """Return where the source lies on this machine, once it is fetched. Raises DataError."""
    if isinstance(data.source, Path):
        return data.source
    return fetch(data.source, var_root() / "sources", data.sha256).path


def pack_request(request: ReadRequest) -> example_gen_pb2.CustomConfig:
    """Put a request into the only free field that TFX's ExampleGen has. Its JSON is the same for equal requests."""
    config = example_gen_pb2.CustomConfig()
    config.custom_config.Pack(wrappers_pb2.StringValue(value=request.model_dump_json()))
    return config


def unpack_request(config: example_gen_pb2.CustomConfig) -> ReadRequest:
    text = wrappers_pb2.StringValue()
    config.custom_config.Unpack(text)
    return ReadRequest.model_validate_json(text.value)


def make_example_gen(settings: Settings, schema: schema_pb2.Schema | None) -> FileBasedExampleGen:
    """Return the component that reads `data.source` into splits train, eval and test.

    Column types come from the curated schema where it knows them, else from all values of the column. The settings
    that the Examples do not depend on are not among the execution properties, so that TFX's cache survives them.
    """
    source = _local_source(settings.data)
    base, pattern = base_and_pattern(source, settings.data.format)
    listing = listing_digest(source) if settings.data.is_images else ""
    weights = settings.split.weights
    splits = [example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=w) for name, w in weights.items()]
    return FileBasedExampleGen(
        input_base=str(base),
        input_config=example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="all", pattern=pattern)]),
        output_config=example_gen_pb2.Output(split_config=example_gen_pb2.SplitConfig(splits=splits)),
        custom_config=pack_request(read_request(settings, schema, listing)),
        custom_executor_spec=ExecutorClassSpec(ExampleGenExecutor),
    )
