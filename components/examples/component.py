"""TFX's ExampleGen with our executor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.examples.reading import base_and_pattern
from components.examples.request import read_request
from config.settings import Settings

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx.components import FileBasedExampleGen


def make_example_gen(settings: Settings, schema: schema_pb2.Schema | None) -> FileBasedExampleGen:
    """Return the component that reads `data.source` into splits train, eval and test.

    Column types come from the curated schema where it knows them, else from all values of the column. The settings
    that the Examples do not depend on are not among the execution properties, so that TFX's cache survives them.
    """
    # TFX takes seconds to import, and readers of this package need only Arrow
    from tfx.components.example_gen.component import FileBasedExampleGen
    from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
    from tfx.proto import example_gen_pb2

    from components.examples.executor import ExampleGenExecutor, pack_request

    base, pattern = base_and_pattern(settings.data.source, settings.data.format)
    weights = {"train": settings.split.train, "eval": settings.split.eval, "test": settings.split.test}
    splits = [example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=w) for name, w in weights.items()]
    return FileBasedExampleGen(
        input_base=str(base),
        input_config=example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="all", pattern=pattern)]),
        output_config=example_gen_pb2.Output(split_config=example_gen_pb2.SplitConfig(splits=splits)),
        custom_config=pack_request(read_request(settings, schema)),
        custom_executor_spec=ExecutorClassSpec(ExampleGenExecutor),
    )
