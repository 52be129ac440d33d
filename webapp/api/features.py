"""A model's rows as JSON Schema: as strict as the validation, and what only people need said in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from webapp.catalog import Card, Field
from webapp.rules import FieldRules, rules_of

TYPES: dict[str, Literal["number", "integer", "string"]] = {"float": "number", "int": "integer", "string": "string"}


def row_name(model: str) -> str:
    """Return the name of the schema of a model's rows in the document."""
    return f"Row_{model}"


def row_schema(card: Card) -> dict[str, Any]:
    """Return the schema of one row."""
    return {
        "type": "object",
        "title": f"A row for {card.model}",
        "description": f"What {card.model}, version {card.version}, reads. {card.description}".strip(),
        "properties": {rules.name: field_schema(rules) for rules in rules_of(card)},
        "required": [field.name for field in card.fields if field.required],
        "additionalProperties": False,
        "example": example_row(card),
    }


def request_schema(
    cards: Iterable[Card], default: str | None, max_rows: int, sticky: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the schema of a body that asks for predictions: two forms for each model, and two bare ones."""
    forms: list[dict[str, Any]] = []
    for card in cards:
        row = {"$ref": f"#/components/schemas/{row_name(card.model)}"}
        rows = {"type": "array", "items": row, "minItems": 1, "maxItems": max_rows}
        named = [] if card.model == default else ["model"]
        shared = {"model": {"type": "string", "enum": [card.model]}, "sticky": dict(sticky)}
        for key, schema in (("rows", rows), ("row", row)):
            forms.append(
                {
                    "type": "object",
                    "title": f"{key} for {card.model}",
                    "properties": {key: schema, **shared},
                    "required": [key, *named],
                    "additionalProperties": False,
                }
            )
        if card.model == default:
            forms += [row, rows | {"title": f"bare rows for {card.model}"}]
    return {"anyOf": forms} if forms else {"type": "object", "description": "No model has been pushed yet."}


def field_schema(rules: FieldRules) -> dict[str, Any]:
    """Return the schema of one value."""
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


def example_row(card: Card) -> dict[str, Any]:
    """Return a row in the middle of the training data."""
    return {field.name: example_value(field) for field in card.fields}


def example_value(field: Field) -> str | int | float:
    """Return a value as in the training data."""
    return {"int": int, "float": float, "string": str}[field.dtype](field.example)


def bound(rules: FieldRules, value: float) -> float | int | None:
    """Return the least or largest value allowed, None for text."""
    if rules.is_text:
        return None
    return value if rules.takes_floats else int(value)


def _description(field: Field) -> str:
    said = [field.description, f"In {field.unit}." if field.unit else ""]
    if field.stats.minimum is not None:
        said.append(f"The training data reach from {field.stats.minimum:g} to {field.stats.maximum:g}.")
    elif field.stats.top and not field.values:
        said.append(f"Frequent in the training data: {', '.join(value for value, _ in field.stats.top[:5])}.")
    return " ".join(part for part in said if part)
