"""Tables to onboard, and what was written of them read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from tensorflow_metadata.proto.v0 import schema_pb2

from components.examples.blocks import Block, read_request
from components.examples.sources import open_source
from config.load import load_settings
from config.onboard.result import OnboardResult
from config.schema import read_schema
from config.settings import Settings
from tests.support.paths import ROOT

CSV = ROOT / "data" / "breast_cancer" / "breast_cancer.csv"
ROWS = 200
TEXT = "x,y\n" + "".join(f"{i % 7}.5,{'ab'[i % 2]}\n" for i in range(ROWS))
Init = Callable[..., OnboardResult]


def toy(**columns: Sequence[Any]) -> pd.DataFrame:
    """Return 200 rows with a number `x`, a label `y` and what else is given."""
    random = np.random.default_rng(0)
    return pd.DataFrame({"x": random.normal(size=ROWS).round(3), "y": ["no", "no", "yes", "no"] * 50, **columns})


def blocks_of(result: OnboardResult) -> Iterator[Block]:
    """Read the source as ExampleGen does, by the files that were written."""
    settings = load_settings(result.config)
    request = read_request(settings, read_schema(result.schema))
    return open_source([settings.data.source], "", request).blocks()


def read_as_examples(result: OnboardResult) -> pa.Table:
    return pa.Table.from_batches([block.batch for block in blocks_of(result)])


def read(result: OnboardResult) -> tuple[Settings, dict[str, schema_pb2.Feature]]:
    schema = read_schema(result.schema)
    return load_settings(result.config), {feature.name: feature for feature in schema.feature}
