"""Features that hold nothing to learn: ids and constants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.data_gate.judge import RawFinding
from config.onboard.guesses import ID_NAME
from config.onboard.profile import LEAST_ID_ROWS, names_rows
from serving.repository.contents import Statistics


def constant_features(statistics: Statistics, features: Iterable[str]) -> list[RawFinding]:
    """Find features with one value, or none, in all training rows. A value in some rows only is information."""
    findings = []
    for name in features:
        column = statistics.columns.get(name)
        if column is None or not (value := _only_value(column)):
            continue
        findings.append(
            RawFinding(
                "CONSTANT_FEATURE",
                f"{name!r} {value} in every row of train",
                feature=name,
                splits=("train",),
                cure="List it in data.ignore",
            )
        )
    return findings


def coarse_floats(statistics: Statistics, features: Iterable[str]) -> list[RawFinding]:
    """Find numbers so far from zero that, as 32-bit floats, their differences are lost or hardly left."""
    findings = []
    for name in features:
        column = statistics.columns.get(name)
        if column is None or column.type != statistics_pb2.FeatureNameStatistics.FLOAT:
            continue
        numbers = column.num_stats
        largest = max(abs(numbers.min), abs(numbers.max))
        spacing = float(np.spacing(np.float32(largest)))
        if not np.isfinite(spacing) or spacing <= numbers.std_dev / 100 or (not numbers.std_dev and largest < 2**24):
            continue
        findings.append(
            RawFinding(
                "PRECISION_LOST",
                f"{name!r} lies around {largest:.7g}, where neighbouring 32-bit floats are {spacing:.3g} apart, and "
                f"spreads by {numbers.std_dev:.3g} only: what differs is lost",
                feature=name,
                splits=("train",),
                cure="Subtract what all have in common, or write whole numbers (INT), which are kept to the last digit",
                details={"spacing": spacing, "std_dev": numbers.std_dev},
            )
        )
    return findings


def id_features(sample: Mapping[str, Any], uniqueness: float, text_uniqueness: Mapping[str, float]) -> list[RawFinding]:
    """Find integers and texts that name a row instead of describing it. Floats are quantities, never ids.

    Text: almost all values differ; `text_uniqueness` holds the share over all rows, where it is known. Integers:
    almost all differ although their range is so narrow that by chance some would not, or each row's is larger (or
    smaller) than the one before, or the name says so; else an integer with a wide range is only a possible id.
    """
    findings = []
    for name, column in sample.items():
        values = column.drop_null()
        if len(values) < LEAST_ID_ROWS:
            continue
        if pa.types.is_string(column.type):
            share = min(len(values.unique()) / len(values), text_uniqueness.get(name, 1.0))
            if share >= uniqueness:
                findings.append(_id("ID_FEATURE", name, share, "text that names the row"))
        elif pa.types.is_integer(column.type):
            findings += _integer(name, values.to_numpy(), uniqueness)
    return findings


def text_uniqueness(statistics: Statistics) -> dict[str, float]:
    """Return the share of distinct values among those present, by text feature."""
    shares = {}
    for name, column in statistics.columns.items():
        values = column.string_stats.common_stats.num_non_missing
        if column.HasField("string_stats") and values:
            shares[name] = column.string_stats.unique / values
    return shares


def _integer(name: str, values: np.ndarray[Any, np.dtype[np.int64]], uniqueness: float) -> list[RawFinding]:
    share = len(np.unique(values)) / len(values)
    if share < uniqueness:
        return []
    if how := names_rows(values):
        return [_id("ID_FEATURE", name, share, f"integers {how}")]
    if ID_NAME.search(name):
        return [_id("ID_FEATURE", name, share, "integers under the name of an id")]
    return [_id("POSSIBLE_ID", name, share, "integers")]


def _id(kind: str, name: str, share: float, what: str) -> RawFinding:
    verb = "looks like an id" if kind == "ID_FEATURE" else "may be an id"
    return RawFinding(
        kind,
        f"{name!r} {verb}: {what}, {share:.1%} of them distinct",
        feature=name,
        splits=("train",),
        cure=f"List it in data.ignore; if it is a quantity, make it FLOAT in the schema "
        f"or say so: data_gate.severity: {{'{kind}:{name}': ignore}}",
        details={"distinct_share": round(share, 6)},
    )


def _only_value(feature: statistics_pb2.FeatureNameStatistics) -> str | None:
    numbers = feature.HasField("num_stats")
    common = feature.num_stats.common_stats if numbers else feature.string_stats.common_stats
    if not common.num_non_missing:
        return "is missing"
    if common.num_missing:
        return None
    if numbers:
        # NaN is left out of minimum and maximum
        alone = feature.num_stats.min == feature.num_stats.max and not feature.num_stats.histograms[0].num_nan
        return f"is {feature.num_stats.min:g}" if alone else None
    values = feature.string_stats.top_values
    return f"is {values[0].value!r}" if feature.string_stats.unique == 1 and values else None
