"""Small files and requests for reading them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.examples.blocks import ReadRequest, Source
from components.examples.sources import open_source

DEFAULTS: dict[str, Any] = {
    "format": "csv",
    "label": "y",
    "classes": ("a", "b"),
    "ignore": (),
    "delimiter": ",",
    "null_values": ("", "NA", "None"),
    "columns": {},
    "seed": 1,
}


@pytest.fixture
def make_request() -> Callable[..., ReadRequest]:
    """Make a request for label `y` with classes `a` and `b`."""
    return lambda **changes: ReadRequest(**(DEFAULTS | changes))


@pytest.fixture
def csv_source(tmp_path: Path, make_request: Callable[..., ReadRequest]) -> Callable[..., Source]:
    """Write text or bytes to `data.csv` and open it."""

    def make(content: str | bytes, **changes: Any) -> Source:
        file = tmp_path / "data.csv"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return open_source([file], str(file), make_request(**changes))

    return make


@pytest.fixture
def rows() -> Callable[[Source], dict[str, list[Any]]]:
    """Read all of a source into lists by column."""

    def read(source: Source) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {}
        for block in source.blocks():
            for name, values in block.batch.to_pydict().items():
                columns.setdefault(name, []).extend(values)
        return columns

    return read
