"""A model's rows as JSON Schema: as strict as the validation, and what only people need said in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from webapp.api.schemas import STICKY_LENGTH
from webapp.models.catalog import Field, ModelVersion
from webapp.predict.validation import FieldRules, rules_of

CASE_REFERENCE = {
    "type": "string",
    "minLength": 1,
    "maxLength": STICKY_LENGTH,
    "description": "Your own name for the case; the history finds it by that.",
}
TYPES: dict[str, Literal["number", "integer", "string"]] = {"float": "number", "int": "integer", "string": "string"}


def row_name(model: str) -> str:
    """Return the name of the schema of a model's rows in the document."""
    return f"Row_{model}"


def row_schema(model_version: ModelVersion) -> dict[str, Any]:
    return {
        "type": "object",
        "title": f"A row for {model_version.model}",
        "description": f"Read by {model_version.model} {model_version.version}. {model_version.description}".strip(),
        "properties": {rules.name: field_schema(rules) for rules in rules_of(model_version)},
        "required": [field.name for field in model_version.fields if field.required],
        "additionalProperties": False,
        "example": example_row(model_version),
    }


def request_schema(
    model_versions: Iterable[ModelVersion], default: str | None, max_rows: int, sticky: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the schema of a body that asks for predictions: two forms for each model, and two bare ones."""
    forms: list[dict[str, Any]] = []
    for model_version in model_versions:
        row = {"$ref": f"#/components/schemas/{row_name(model_version.model)}"}
        rows = {"type": "array", "items": row, "minItems": 1, "maxItems": max_rows}
        named = [] if model_version.model == default else ["model"]
        shared = {
            "model": {"type": "string", "enum": [model_version.model]},
            "sticky": dict(sticky),
            "reference": CASE_REFERENCE,
        }
        for key, schema in (("rows", rows), ("row", row)):
            forms.append(
                {
                    "type": "object",
                    "title": f"{key} for {model_version.model}",
                    "properties": {key: schema, **shared},
                    "required": [key, *named],
                    "additionalProperties": False,
                }
            )
        if model_version.model == default:
            forms += [row, rows | {"title": f"bare rows for {model_version.model}"}]
    return {"anyOf": forms} if forms else {"type": "object", "description": "No model has been pushed yet."}


def field_schema(rules: FieldRules) -> dict[str, Any]:
    field = rules.field
    schema: dict[str, Any] = {"type": TYPES[field.dtype], "title": field.title, "description": _description(field)}
    if not rules.is_text:
        schema |= {"minimum": bound(rules, rules.low), "maximum": bound(rules, rules.high)}
    elif rules.allowed:
        schema["enum"] = [*field.values, *([] if field.required else [""])]
    elif field.required:
        schema["minLength"] = 1
    if field.unit:
        schema["x-unit"] = field.unit
    if field.stats.minimum is not None:
        schema["x-training-range"] = [field.stats.minimum, field.stats.maximum]
    schema["example"] = example_value(field)
    if field.required:
        return schema
    return {"anyOf": [schema, {"type": "null"}], "title": field.title, "description": "null, or left out: missing."}


def example_row(model_version: ModelVersion) -> dict[str, Any]:
    """Return a row in the middle of the training data."""
    return {field.name: example_value(field) for field in model_version.fields}


def example_value(field: Field) -> str | int | float:
    return {"int": int, "float": float, "string": str}[field.dtype](field.example)


def bound(rules: FieldRules, value: float) -> float | int | None:
    """Return the least or largest value allowed, None for text."""
    if rules.is_text:
        return None
    return value if rules.takes_floats else int(value)


def _description(field: Field) -> str:
    sentences = [field.description, f"In {field.unit}." if field.unit else ""]
    if field.stats.minimum is not None:
        sentences.append(f"The training data reach from {field.stats.minimum:g} to {field.stats.maximum:g}.")
    elif field.stats.top and not field.values:
        sentences.append(f"Frequent in the training data: {', '.join(value for value, _ in field.stats.top[:5])}.")
    return " ".join(part for part in sentences if part)
