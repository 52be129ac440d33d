"""Which split each row goes to, and which of today's test rows an older dealing had put there, too."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tfx.dsl.io import fileio

from common.errors import DataError
from components.examples.blocks import Block, ReadRequest, Source, read_request, times_of
from components.examples.sources import base_and_pattern, open_source
from components.examples.splitting import Digest, RowSplitter, Splitter, TimeSplitter
from config.schema import read_schema
from config.settings import Settings

Assign = Callable[[Block], NDArray[np.intp]]


def open_examples(settings: Settings) -> tuple[Source, ReadRequest]:
    """Open what `data.source` names as a run does, spans apart. Raises DataError."""
    schema = read_schema(settings.schema_file) if settings.schema_file else None
    request = read_request(settings, schema)
    base, pattern = base_and_pattern(settings.data.source, settings.data.format)
    return open_source([Path(file) for file in fileio.glob(str(base / pattern))], str(base / pattern), request), request


def dealing(source: Source, request: ReadRequest, weights: list[int]) -> tuple[Assign, float | None]:
    """Return how blocks are shared out, and when the test begins, if that is by time: all rows are read before then."""
    if request.by == "time":
        times = [times_of(block, source, request) for block in source.blocks()]
        by_time = TimeSplitter(weights, np.concatenate([*times, np.zeros(0)]))
        return lambda block: by_time.assign(times_of(block, source, request)), by_time.test_from
    if request.by == "row":
        by_row = RowSplitter(weights, request.seed)
        return lambda block: by_row.assign(block.batch), None
    by_content = Splitter(weights, request.label, request.group_by, request.seed)
    return lambda block: by_content.assign(block.batch), None


def in_test_then(
    now: Settings, then: Settings, columns: Collection[str], test_from: float | None, digest: str
) -> NDArray[np.bool_]:
    """Return which of today's test rows an older dealing would have put into its test split, in the rows' order.

    `columns`: those that were dealt by; `test_from`: when the test began then, if rows were dealt by time; `digest`: of
    the rows of today's run. Raises DataError where the source cannot be read, or no longer holds these rows.
    """
    source, request = open_examples(now)
    assign, _ = dealing(source, request, list(now.split.weights.values()))
    read, parts = Digest(), []
    for block in source.blocks():
        read.add(block.batch)
        parts.append(assign(block))
    if read.hexdigest() != digest:
        raise DataError("the source holds other rows than those of this run")
    test = list(now.split.weights).index("test")
    is_test = np.concatenate(parts) == test

    older = then.model_copy(update={"data": now.data, "schema_file": now.schema_file})
    source, request = open_examples(older)
    if test_from is not None:
        parts = [np.where(times_of(block, source, request) >= test_from, test, 0) for block in source.blocks()]
    else:
        assign, _ = dealing(source, request, list(then.split.weights.values()))
        parts = [assign(_narrowed(block, columns)) for block in source.blocks()]
    return np.asarray((np.concatenate(parts) == test)[is_test])


def _narrowed(block: Block, columns: Collection[str]) -> Block:
    """Return the block with such columns alone. Raises DataError where one is no longer read."""
    names = block.batch.schema.names
    if gone := sorted(set(columns) - set(names)):
        raise DataError(f"rows were dealt by {', '.join(gone)}, which are no longer read")
    kept = [name for name in names if name in columns]
    return Block(pa.RecordBatch.from_arrays([block.batch.column(n) for n in kept], kept), block.file, block.first_row)
