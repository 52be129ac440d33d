"""Which split each row goes to, and which of today's test rows an older dealing had put there, too."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tfx.dsl.io import fileio

from common.errors import DataError
from common.tables.splitting import Digest, RowSplitter, Splitter, TimeSplitter
from components.examples.blocks import Block, ReadRequest, Source, labelled_blocks, times_of
from components.examples.sources import open_source
from config.data_settings import SplitSettings
from config.settings import Settings

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
    origin: Origin, now: SplitSettings, then: Settings, columns: Collection[str], test_from: float | None
) -> NDArray[np.bool_]:
    """Return which of today's test rows an older dealing would have put into its test split, in the rows' order.

    `columns`: those that were dealt by; `test_from`: when the test began then, if rows were dealt by time. Raises
    DataError where the source cannot be read, or no longer holds these rows.
    """
    source = origin.open(origin.request)
    assign, _ = dealing(source, origin.request, list(now.weights.values()))
    read, parts = Digest(), []
    for block in labelled_blocks(source, origin.request):
        read.add(block.identity(origin.request))
        parts.append(assign(block))
    if read.hexdigest() != origin.digest:
        raise DataError("the source holds other rows than those of this run")
    test = list(now.weights).index("test")
    is_test = np.concatenate(parts) == test

    split, is_images = then.split, then.data.is_images
    group_by = origin.request.group_by if is_images else split.group_by
    how = {"by": split.by, "time": split.time, "group_by": group_by, "seed": then.split_seed}
    request = origin.request.model_copy(update=how)
    source = origin.open(request)
    if test_from is not None:
        parts = [
            np.where(times_of(block, source, request) >= test_from, test, 0)
            for block in labelled_blocks(source, request)
        ]
    else:
        assign, _ = dealing(source, request, list(split.weights.values()))
        parts = [assign(block.narrowed(columns)) for block in labelled_blocks(source, request)]
    return np.asarray((np.concatenate(parts) == test)[is_test])
