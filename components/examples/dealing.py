"""Which split each row goes to, and which of today's test rows an older dealing had put there, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tfx.dsl.io import fileio

from common.errors import DataError
from common.tables.columns import Dtype
from common.tables.csv_file import LISTED, Fault
from common.tables.splitting import Digest, RowSplitter, Splitter, TimeSplitter
from components.examples.blocks import Block, ReadRequest, Source, labelled_blocks, refuse_missing
from components.examples.sources import open_source
from config.data_settings import SplitSettings
from config.settings import Settings

READING = ("trim", "decimal", "thousands", "percent", "null_values", "spellings", "label_map", "merge_rare_classes")
Assign = Callable[[Block], NDArray[np.intp]]


def dealing(source: Source, request: ReadRequest, weights: list[int]) -> tuple[Assign, float | None]:
    """Return how blocks are shared out, and when the test begins, if that is by time: all rows are read before then."""
    if request.by == "time":
        times = [times_of(block, source, request) for block in labelled_blocks(source, request)]
        by_time = TimeSplitter(weights, np.concatenate([*times, np.zeros(0)]))
        return lambda block: by_time.assign(times_of(block, source, request)), by_time.test_from
    if request.by == "row":
        by_row = RowSplitter(weights, request.seed)
        return lambda block: by_row.assign(block.batch), None
    by_content = Splitter(weights, request.label, request.group_by, request.seed)
    return lambda block: by_content.assign(block.batch), None


@dataclass(frozen=True)
class Origin:
    """Where a run's rows came from, and how they were read. `digest`: of all of them."""

    pattern: str
    request: ReadRequest
    digest: str

    def mark(self, examples: Any) -> None:
        """Write it on an Examples artifact."""
        examples.set_string_custom_property("source", self.pattern)
        examples.set_string_custom_property("request", self.request.model_dump_json())
        examples.set_string_custom_property("source_digest", self.digest)

    @staticmethod
    def of(examples: Any) -> Origin | None:
        """Read it from an Examples artifact; None where an older release wrote it."""
        pattern, request, digest = map(examples.get_string_custom_property, ("source", "request", "source_digest"))
        return Origin(pattern, ReadRequest.model_validate_json(request), digest) if request else None

    def open(self, request: ReadRequest) -> Source:
        return open_source([Path(file) for file in fileio.glob(self.pattern)], self.pattern, request)


def in_test_then(
    origin: Origin, now: SplitSettings, then: Settings, columns: Mapping[str, Dtype | None], test_from: float | None
) -> NDArray[np.bool_]:
    """Return which of today's test rows an older dealing would have put into its test split, in the rows' order.

    `columns`: those that were dealt by, with their types, if those are known; `test_from`: when the test began then,
    if rows were dealt by time. Raises DataError where the source cannot be read so, or no longer holds these rows.
    """
    source = origin.open(origin.request)
    assign, _ = dealing(source, origin.request, list(now.weights.values()))
    read, parts, kept = Digest(), [], []
    for whole in source.blocks():
        block = whole.labelled(origin.request)
        read.add(block.identity(origin.request))
        parts.append(assign(block))
        rows = np.arange(whole.batch.num_rows)
        kept.append(np.isin(rows, rows if block.rows is None else block.rows))
    if read.hexdigest() != origin.digest:
        raise DataError("the source holds other rows than those of this run")
    test = list(now.weights).index("test")
    is_test = np.concatenate(parts) == test

    request = _as_then(origin.request, then, columns)
    source = origin.open(request)
    if test_from is not None:
        parts = [
            np.where(times_of(block.only(rows), source, request) >= test_from, test, 0)
            for block, rows in zip(source.blocks(), kept, strict=True)
        ]
    else:
        assign, _ = dealing(source, request, list(then.split.weights.values()))
        parts = [assign(block.narrowed(columns))[rows] for block, rows in zip(source.blocks(), kept, strict=True)]
    return np.asarray((np.concatenate(parts) == test)[is_test])


def _as_then(request: ReadRequest, then: Settings, columns: Mapping[str, Dtype | None]) -> ReadRequest:
    """Return how today's source would have been read and dealt by older settings, no row left out."""
    split, data = then.split, then.data
    older = {
        "by": split.by,
        "time": split.time,
        "group_by": request.group_by if data.is_images else split.group_by,
        "seed": then.split_seed,
        **{key: getattr(data, key) for key in READING},
        "drop_unlabelled": False,
        "images": request.images.model_copy(update={"group": then.image.group}),
        "columns": request.columns | {name: dtype for name, dtype in columns.items() if dtype},
    }
    return request.model_copy(update=older)


def times_of(block: Block, source: Source, request: ReadRequest) -> NDArray[np.float64]:
    """Return when each row was, `[rows]`: numbers as they are, dates in microseconds since 1970.

    Raises DataError naming rows without a time, or with a text that is no ISO date.
    """
    assert request.time is not None
    column = block.batch.column(request.time)
    refuse_missing(block, source, request.time, "time", "split.time")
    if not pa.types.is_string(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
    plain = pc.replace_substring_regex(column, "Z$", "")
    try:
        return np.asarray(plain.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(), np.float64)
    except pa.ArrowInvalid:
        odd = [row for row, text in enumerate(plain.to_pylist()) if not _is_date(text)]
        raise Fault(
            f"time {request.time!r} is no date",
            repr(column[odd[0]].as_py()),
            "ISO dates such as 2026-11-30 or 2026-11-30T08:15:00, in all rows alike, or numbers",
            "write the dates so, or deal by something else: split.by",
        ).at(block.places(source, odd[:LISTED])) from None


def _is_date(text: str) -> bool:
    try:
        pa.scalar(text).cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return False
    return True
