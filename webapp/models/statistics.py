"""What the training split holds of each feature, from the statistics that its version carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import DataError
from serving.repository.contents import parse_statistics

TOP_VALUES = 50


@dataclass(frozen=True)
class Stats:
    """One feature of the training split: numbers have the first five, text and codes the rest."""

    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std_dev: float | None = None
    median: float | None = None
    top: tuple[tuple[str, int], ...] = ()  # value, rows: the most frequent first
    seen: frozenset[str] | None = None  # every value there was; None: there were more than the statistics kept
    missing: float = 0.0  # share of the rows


def read_statistics(path: Path) -> Mapping[str, Stats]:
    """Return statistics by feature. Raises DataError if the file is none of TensorFlow Metadata's."""
    try:
        statistics = parse_statistics(path.read_bytes())
    except (OSError, DataError) as error:
        raise DataError("cannot read the training statistics", got=error, wanted=str(path)) from None
    return {name: _stats(column) for name, column in statistics.columns.items()}


def plain(number: float) -> float:
    """Return a float32 as people wrote it: 170.4, not 170.39999389648438. Whole numbers stay what they are."""
    is_short = not float(number).is_integer() and float(np.float32(number)) == number
    return float(str(np.float32(number))) if is_short else number


def _stats(feature: Any) -> Stats:
    if feature.HasField("string_stats"):
        return _of_values(feature.string_stats)
    return _of_numbers(feature.num_stats)


def _of_numbers(stats: Any) -> Stats:
    if not stats.common_stats.num_non_missing:
        return Stats(missing=_missing(stats.common_stats))
    return Stats(
        plain(stats.min),
        plain(stats.max),
        stats.mean,
        stats.std_dev,
        plain(stats.median),
        missing=_missing(stats.common_stats),
    )


def _of_values(stats: Any) -> Stats:
    counts = {bucket.label: int(bucket.sample_count) for bucket in stats.rank_histogram.buckets}
    counts |= {value.value: int(value.frequency) for value in stats.top_values}
    counts.pop("", None)
    top = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return Stats(
        top=tuple(top[:TOP_VALUES]),
        seen=frozenset(counts) if len(counts) >= stats.unique else None,
        missing=_missing(stats.common_stats),
    )


def _missing(common: Any) -> float:
    rows = common.num_missing + common.num_non_missing
    return common.num_missing / rows if rows else 0.0
