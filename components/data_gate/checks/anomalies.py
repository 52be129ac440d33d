"""TFDV's anomalies, which its ExampleValidator only writes down, in plain words and with the rows behind them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.data_gate.judge import Mask, RawFinding
from components.data_gate.scan import Block, is_not_finite

Locate = Callable[[schema_pb2.Feature, Collection[str], Any], Mask]  # feature, its domain, its column -> rows
_CURE = "Correct the rows; if the data are right, correct the schema"


def schema_anomalies(
    anomalies: Mapping[str, anomalies_pb2.Anomalies], schema: schema_pb2.Schema, ignore: Collection[str]
) -> list[RawFinding]:
    """Return one finding for each feature and reason. Ignored columns may be absent or anything."""
    features = {feature.name: feature for feature in schema.feature}
    reported: dict[tuple[str, str | None, str], list[str]] = {}  # splits by kind, feature and TFDV's words
    for split, result in anomalies.items():
        if result.data_missing:
            reported.setdefault(("NO_DATA_IN_SPAN", None, "TFDV saw no rows"), []).append(split)
        for info in (result.dataset_anomaly_info, *result.anomaly_info.values()):
            name = info.path.step[0] if info.path.step else None
            for kind, words in _reasons(info) if name not in ignore else ():
                # TFDV's words hold numbers of the split; where the rows are found, ours say it for all splits at once
                is_located = name in features and kind in _KNOWN
                reported.setdefault((kind, name, "" if is_located else words), []).append(split)
    return [
        _located_anomaly(kind, features[name], _domain(features[name], schema), tuple(splits))
        if name is not None and not words
        else _anomaly_in_tfdvs_words(kind, name, words, tuple(splits))
        for (kind, name, words), splits in reported.items()
    ]


def not_finite(counts: Mapping[tuple[str, str], int]) -> list[RawFinding]:
    """Return one finding for each split and column with NaN or infinite values, which TFDV lets pass."""
    return [
        RawFinding(
            "NOT_FINITE",
            f"In {split}, {name!r} holds NaN or infinite values",
            feature=name,
            splits=(split,),
            where=partial(_in_column, name, is_not_finite),
            counts_rows=True,
            cure="Leave the value out (missing) or correct it",
            details={"rows": count},
        )
        for (split, name), count in counts.items()
    ]


def _located_anomaly(
    kind: str, feature: schema_pb2.Feature, domain: Collection[str], splits: tuple[str, ...]
) -> RawFinding:
    words, locate = _KNOWN[kind]
    text = f"In {', '.join(splits)}, {feature.name!r} {words.format(**_limits(feature))}"
    where = partial(_in_column, feature.name, partial(locate, feature, domain)) if locate else None
    return RawFinding(
        kind, text, feature=feature.name, splits=splits, where=where, cure=_CURE, counts_rows=where is not None
    )


def _anomaly_in_tfdvs_words(kind: str, name: str | None, words: str, splits: tuple[str, ...]) -> RawFinding:
    subject = f", {name!r}" if name else ""
    return RawFinding(kind, f"In {', '.join(splits)}{subject}: {words}", feature=name, splits=splits, cure=_CURE)


def _reasons(info: Any) -> list[tuple[str, str]]:
    """Return `(kind, TFDV's words)` of each reason; an anomaly that gives none stands for itself."""
    reasons = info.reason or ([info] if info.description or info.short_description else [])
    return [
        (
            anomalies_pb2.AnomalyInfo.Type.Name(getattr(reason, "type", anomalies_pb2.AnomalyInfo.UNKNOWN_TYPE)),
            (reason.description or reason.short_description).strip().rstrip("."),
        )
        for reason in reasons
    ]


def _in_column(name: str, locate: Callable[[Any], Mask], block: Block) -> Mask:
    return locate(block.column(name))


def _domain(feature: schema_pb2.Feature, schema: schema_pb2.Schema) -> Collection[str]:
    if feature.HasField("bool_domain"):
        return {feature.bool_domain.true_value or "true", feature.bool_domain.false_value or "false"}
    named = {domain.name: domain.value for domain in schema.string_domain}
    return set(named.get(feature.domain, feature.string_domain.value))


def _limits(feature: schema_pb2.Feature) -> dict[str, str]:
    bounds = feature.float_domain if feature.HasField("float_domain") else feature.int_domain
    presence = feature.presence
    share = f"{presence.min_fraction:.1%}" if presence.min_fraction else f"{presence.min_count} row(s)"
    types = {schema_pb2.INT: "integers", schema_pb2.FLOAT: "floats", schema_pb2.BYTES: "text"}
    return {
        "least": f"{bounds.min:g}",
        "most": f"{bounds.max:g}",
        "share": "all rows" if presence.min_fraction == 1.0 else f"at least {share}",
        "type": types.get(feature.type, "another type"),
    }


def _outside(feature: schema_pb2.Feature, domain: Collection[str], column: Any) -> Mask:
    if not pa.types.is_string(column.type):
        return np.zeros(len(column), bool)
    known = pc.is_in(column, value_set=pa.array(sorted(domain), pa.string()))
    return _bools(pc.and_(column.is_valid(), pc.invert(known)))


def _compare(
    compare: Callable[..., Any], bound: str, feature: schema_pb2.Feature, domain: Collection[str], column: Any
) -> Mask:
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return np.zeros(len(column), bool)
    limit: float = 1.0 if bound == "max" else 0.0  # a boolean's
    for bounds in ("float_domain", "int_domain"):
        if feature.HasField(bounds):
            limit = getattr(getattr(feature, bounds), bound)
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())  # so does TFDV: the float32 nearest to 0.7 is below 0.7
    return _bools(pc.fill_null(compare(column, limit), False))


def _other_type(feature: schema_pb2.Feature, domain: Collection[str], column: Any) -> Mask:
    is_right = {
        schema_pb2.INT: pa.types.is_integer,
        schema_pb2.FLOAT: pa.types.is_floating,
        schema_pb2.BYTES: pa.types.is_string,
    }.get(feature.type, pa.types.is_null)
    return np.zeros(len(column), bool) if is_right(column.type) else _bools(column.is_valid())


def _missing(feature: schema_pb2.Feature, domain: Collection[str], column: Any) -> Mask:
    return _bools(column.is_null())


def _bools(array: Any) -> Mask:
    return array.to_numpy(zero_copy_only=False).astype(bool)


_BELOW: Locate = partial(_compare, pc.less, "min")
_ABOVE: Locate = partial(_compare, pc.greater, "max")
_LISTED = "holds values that the schema does not list"
_TYPE = "holds another type than the schema's {type}"
_LOW = "is below the schema's least value {least}"
_HIGH = "is above the schema's largest value {most}"
_PRESENT = "is missing in too many rows; the schema wants it in {share}"
_SHAPE = "is missing in some rows; the schema gives it a shape, so every row must have it"
_ABSENT = "is missing in every row; the schema wants it in {share}"

# Anomaly: what is said of the feature, and how its rows are found. All others stand in TFDV's words.
_KNOWN: dict[str, tuple[str, Locate | None]] = {
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": (_LISTED, _outside),
    "BOOL_TYPE_UNEXPECTED_STRING": (_LISTED, _outside),
    "FLOAT_TYPE_SMALL_FLOAT": (_LOW, _BELOW),
    "INT_TYPE_SMALL_INT": (_LOW, _BELOW),
    "BOOL_TYPE_SMALL_INT": ("holds integers below 0 as booleans", _BELOW),
    "FLOAT_TYPE_BIG_FLOAT": (_HIGH, _ABOVE),
    "INT_TYPE_BIG_INT": (_HIGH, _ABOVE),
    "BOOL_TYPE_BIG_INT": ("holds integers above 1 as booleans", _ABOVE),
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": (_PRESENT, _missing),
    "FEATURE_TYPE_LOW_NUMBER_PRESENT": (_PRESENT, _missing),
    "INVALID_FEATURE_SHAPE": (_SHAPE, _missing),
    "FEATURE_TYPE_NOT_PRESENT": (_ABSENT, None),
    "SCHEMA_missing_COLUMN": (_ABSENT, None),
    "FLOAT_TYPE_HAS_NAN": ("holds NaN", lambda feature, domain, column: is_not_finite(column)),
    "FLOAT_TYPE_HAS_INF": ("holds infinite values", lambda feature, domain, column: is_not_finite(column)),
    **dict.fromkeys(
        (
            "UNEXPECTED_DATA_TYPE",
            "ENUM_TYPE_BYTES_NOT_STRING",
            "ENUM_TYPE_FLOAT_NOT_STRING",
            "ENUM_TYPE_INT_NOT_STRING",
            "FLOAT_TYPE_NOT_FLOAT",
            "FLOAT_TYPE_STRING_NOT_FLOAT",
            "INT_TYPE_INT_EXPECTED",
            "INT_TYPE_NOT_INT_STRING",
            "INT_TYPE_NOT_STRING",
            "INT_TYPE_STRING_EXPECTED",
            "STRING_TYPE_NOW_FLOAT",
            "STRING_TYPE_NOW_INT",
        ),
        (_TYPE, _other_type),
    ),
}
