from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from components.data_gate.scan import Block, Columns, Scan, scan_rows
from config.data_settings import SplitSettings

Values = Mapping[str, Sequence[Any]]


def arrow(values: Sequence[Any]) -> Any:
    """Return an Examples column: int64, float32 or text."""
    column = pa.array(values, from_pandas=False)
    return column.cast(pa.float32()) if pa.types.is_floating(column.type) else column


def block(split: str, values: Values, first_row: int = 0) -> Block:
    return Block(
        split, first_row, pa.RecordBatch.from_arrays([arrow([*column]) for column in values.values()], [*values])
    )


def scan_of(splits: Mapping[str, Values], group_by: str | None = None, sample_rows: int = 50_000) -> Scan:
    """Scan splits given as `{split: {column: values}}` with the label `y`; all else are features."""
    features = [name for name in next(iter(splits.values())) if name not in ("y", group_by)]
    expected = {split: len(next(iter(values.values()))) for split, values in splits.items()}
    blocks = [block(split, values) for split, values in splits.items()]
    columns = Columns(label="y", split=SplitSettings(group_by=group_by))
    return scan_rows(blocks, columns, features, expected, 1, sample_rows)


@pytest.fixture
def make_block() -> Callable[..., Block]:
    return block


@pytest.fixture
def make_scan() -> Callable[..., Scan]:
    return scan_of


@pytest.fixture
def mixed() -> dict[str, Any]:
    """400 honest rows: every kind of column, missing values, a label that no single one of them tells."""
    random = np.random.default_rng(3)
    rows = 400
    label = random.integers(0, 2, rows)
    size = random.normal(label * 2.0, 1.0)
    codes = random.integers(0, 5, rows)
    amount = (random.lognormal(10, 1, rows) // 10 * 10).astype(int)
    place = random.choice(["north", "south", "east"], rows)
    return {
        "size": arrow([None if i % 17 == 0 else float(v) for i, v in enumerate(size)]),
        "noise": arrow([float(v) for v in random.normal(size=rows)]),
        "code": arrow([int(v) for v in codes]),
        "amount": arrow([int(v) for v in amount]),
        "place": arrow([None if i % 11 == 0 else str(v) for i, v in enumerate(place)]),
        "y": arrow([("no", "yes")[v] for v in label]),
    }
