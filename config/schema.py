"""Read `schema.pbtxt`, the contract, into a table of features. No TensorFlow: only its metadata protos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from common.errors import ConfigError
from common.text import nearest
from config.data_settings import IMAGE_BYTES, IMAGE_HEADER, IMAGE_HISTOGRAM, IMAGE_STATISTICS, IMAGE_TEXTS
from config.derived import parse, problems
from config.settings import Settings

Kind = Literal["numeric", "categorical", "image"]
UNUSED_STAGES = (schema_pb2.DEPRECATED, schema_pb2.DISABLED, schema_pb2.PLANNED, schema_pb2.DEBUG_ONLY)


@dataclass(frozen=True)
class Feature:
    name: str
    kind: Kind
    dtype: Literal["int", "float", "string"]
    required: bool
    values: tuple[str, ...] = ()  # a text feature's domain
    minimum: float | None = None
    maximum: float | None = None


def read_schema(path: Path) -> schema_pb2.Schema:
    """Parse a text schema. Raises ConfigError with the line protobuf names."""
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), schema_pb2.Schema())
    except OSError as error:
        raise ConfigError(f"cannot read the schema {path}", got=error.strerror) from None
    except text_format.ParseError as error:
        raise ConfigError(f"{path} is not a schema: {error}", wanted="a TensorFlow Metadata Schema as text") from None


def image_schema(settings: Settings) -> schema_pb2.Schema:
    """Return the schema of pictures, which is the same for all: their bytes, the label, and what stands beside them.

    Bytes have no presence: the statistics pass them over, and would call them missing.
    """
    schema = schema_pb2.Schema()
    schema.feature.add(name=IMAGE_BYTES, type=schema_pb2.BYTES).image_domain.SetInParent()
    label = schema.feature.add(name=settings.data.label, type=schema_pb2.BYTES)
    label.string_domain.value.extend(settings.data.classes)
    for name in IMAGE_TEXTS:
        schema.feature.add(name=name, type=schema_pb2.BYTES)
    for name in (*IMAGE_STATISTICS, *IMAGE_HEADER, IMAGE_HISTOGRAM):
        schema.feature.add(name=name, type=schema_pb2.FLOAT)
    for feature in schema.feature[1:]:
        feature.presence.min_fraction = 1.0
    return schema


def served_schema(schema: schema_pb2.Schema, settings: Settings) -> schema_pb2.Schema:
    """Return what of a schema concerns whoever asks the model: of pictures their bytes and the label."""
    if not settings.data.is_images:
        return schema
    served = schema_pb2.Schema()
    served.feature.extend(f for f in schema.feature if f.name in (IMAGE_BYTES, settings.data.label))
    return served


def model_features(schema: schema_pb2.Schema, settings: Settings) -> tuple[Feature, ...]:
    """Return what the model reads, in the schema's order."""
    domains = {domain.name: tuple(domain.value) for domain in schema.string_domain}
    return tuple(
        _feature(feature, domains, feature.name in settings.categorical)
        for feature in schema.feature
        if feature.name not in settings.no_features and feature.lifecycle_stage not in UNUSED_STAGES
    )


def group_column(schema: schema_pb2.Schema, settings: Settings) -> Feature | None:
    """Return the column whose rows stay together, if there is one."""
    return next((_feature(f, {}, is_code=False) for f in schema.feature if f.name == settings.split.group_by), None)


def check_schema(schema: schema_pb2.Schema, settings: Settings) -> None:
    """Compare the names that the settings use with the schema's, before anything is read.

    Raises ConfigError with the nearest right name: a slip in `categorical` or `features` would go unnoticed otherwise.
    """
    columns = {feature.name: feature for feature in schema.feature}
    label = settings.data.label
    used = {
        "data.label": [label],
        "split.group_by": [settings.split.group_by] if settings.split.group_by else [],
        "split.time": [settings.split.time] if settings.split.time else [],
        "categorical": settings.categorical,
        "dates": [*settings.dates],
        "data.spellings": [*settings.data.spellings],
        "features": [*settings.features],
        "evaluation.slices": [part.feature for part in settings.evaluation.slices],
    }
    for key, names in used.items():
        for name in names:
            if name not in columns:
                near = nearest(name, [*columns])
                raise ConfigError(
                    f"{key}: the schema has no column {name!r}",
                    wanted=f"one of {', '.join(columns)}",
                    fix=f"did you mean {near!r}?" if near else "correct either file",
                )
    for name in settings.categorical:
        if columns[name].type != schema_pb2.INT:
            raise ConfigError(
                f"categorical: {name!r} is not an INT column in the schema",
                wanted="an integer code",
                fix="leave it out if it is text, which is categorical anyway; make it INT in the schema if it is a "
                "FLOAT of whole numbers: 3.0 is read as 3",
            )
    for name in settings.dates:
        if columns[name].type == schema_pb2.FLOAT:
            raise ConfigError(
                f"dates: {name!r} is a FLOAT in the schema",
                wanted="BYTES, or INT for dates such as 20261130",
                fix="correct either file",
            )
    _check_label(schema, columns[label], settings)
    features = model_features(schema, settings)
    kinds = {feature.name: "text" if feature.dtype == "string" else "number" for feature in features}
    if wrong := problems({name: parse(source) for name, source in settings.derived.items()}, kinds, label):
        raise ConfigError("derived features do not fit the schema:\n  " + "\n  ".join(wrong))
    if not features:
        raise ConfigError("the schema leaves the model no feature to read", fix="look at `ignore` and lifecycle_stage")


def _check_label(schema: schema_pb2.Schema, column: schema_pb2.Feature, settings: Settings) -> None:
    label = settings.data.label
    if settings.data.is_regression:
        if column.type != schema_pb2.FLOAT:
            raise ConfigError(
                f"the schema and data.task disagree about the label {label!r}",
                got=schema_pb2.FeatureType.Name(column.type),
                wanted="FLOAT, for a number is predicted",
            )
        return
    known = {domain.name: tuple(domain.value) for domain in schema.string_domain}
    domain = known.get(column.domain, tuple(column.string_domain.value))
    if column.type != schema_pb2.BYTES or (domain and set(domain) != set(settings.data.classes)):
        raise ConfigError(
            f"the schema and data.classes disagree about the label {label!r}",
            got=f"{schema_pb2.FeatureType.Name(column.type)} {', '.join(domain)}",
            wanted=f"BYTES with the values {', '.join(settings.data.classes)}",
        )


def _feature(feature: schema_pb2.Feature, domains: dict[str, tuple[str, ...]], is_code: bool) -> Feature:
    dtype: Literal["int", "float", "string"] = {schema_pb2.INT: "int", schema_pb2.FLOAT: "float"}.get(
        feature.type, "string"
    )  # type: ignore[assignment]
    domain = feature.float_domain if feature.HasField("float_domain") else feature.int_domain
    bounded = feature.HasField("float_domain") or feature.HasField("int_domain")
    is_code = is_code or (feature.HasField("int_domain") and feature.int_domain.is_categorical)
    return Feature(
        name=feature.name,
        kind=_kind(feature, is_text_or_code=dtype == "string" or is_code),
        dtype=dtype,
        required=feature.presence.min_fraction >= 1.0,
        values=domains.get(feature.domain, tuple(feature.string_domain.value)),
        minimum=domain.min if bounded and domain.HasField("min") else None,
        maximum=domain.max if bounded and domain.HasField("max") else None,
    )


def _kind(feature: schema_pb2.Feature, *, is_text_or_code: bool) -> Kind:
    if feature.HasField("image_domain"):
        return "image"
    return "categorical" if is_text_or_code else "numeric"
