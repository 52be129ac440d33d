"""The models: what there is, what each reads as JSON Schema, what is released, and how an operator changes that."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from flask import Response, request

from common.errors import DataError, VouchError
from serving.client.errors import ModelNotFound
from serving.release.state import State, Store
from serving.repository.manifest import Manifest
from webapp.api.body import read_as
from webapp.api.routes import Operation, Parameter, answer, route
from webapp.api.schemas import (
    MODEL_NAME,
    STICKY_LENGTH,
    Canary,
    FeatureItem,
    Metric,
    ModelDetail,
    ModelList,
    ModelSummary,
    Promotion,
    Released,
    Rollback,
    Sent,
    TrainingRange,
    VersionItem,
)
from webapp.auth import identity, reauthenticated
from webapp.models import releases
from webapp.models.catalog import Field, ModelVersion
from webapp.predict.validation import FieldRules, rules_of
from webapp.services import Services, services
from webapp.types import Forbidden, Role

TEXT = {"type": "string", "minLength": 1, "maxLength": STICKY_LENGTH}
STICKY = TEXT | {"description": "Requests with the same text are answered by the same version."}
CASE_REFERENCE = TEXT | {"description": "Your own name for the case; the history finds it by that."}
TYPES: dict[str, Literal["number", "integer", "string"]] = {"float": "number", "int": "integer", "string": "string"}
TAG = "models"
NAME = Parameter("name", "Name of the model.", {"type": "string", "pattern": MODEL_NAME}, in_path=True)


@route("GET", "/models", Operation("List the models", TAG, Role.VIEWER, ModelList))
def models() -> Response:
    """Tell the models, their versions, and which of them answer."""
    app_services = services()
    summaries = [_summary(app_services, name) for name in app_services.catalog.models()]
    return answer(ModelList(default=default_model(app_services), models=summaries))


def default_model(app_services: Services) -> str | None:
    with suppress(ModelNotFound):
        return app_services.catalog.default(app_services.settings.model)
    return None


@route(
    "GET",
    "/models/<name>",
    Operation("Describe a model", TAG, Role.VIEWER, ModelDetail, parameters=(NAME,), refusals=(404,)),
)
def model(name: str) -> Response:
    """Tell what a model predicts and reads, and of each version what it was measured at and what the gates said."""
    app_services = services()
    model_version = shown_version(app_services, name)
    record = Store(app_services.settings.serving, name).intact()
    return answer(
        ModelDetail(
            **_summary(app_services, name).model_dump(),
            description=model_version.description,
            label=model_version.label,
            task="regression" if model_version.predicts_numbers else "classification",
            promised=model_version.promised,
            classes=list(model_version.classes),
            positive=model_version.positive,
            features=[_feature(rules) for rules in rules_of(model_version)],
            version_details=[
                _version(
                    app_services.settings.serving / name / str(number), record.state.roles(number) if record else []
                )
                for number in reversed(app_services.catalog.versions(name))
            ],
        )
    )


def shown_version(app_services: Services, name: str) -> ModelVersion:
    """Return the card of the stable version, else of the newest. Raises ModelNotFound, DataError."""
    released, catalog = _routing(app_services, name), app_services.catalog
    return catalog.model_version(name, released.stable if released else catalog.versions(name)[-1])


def _summary(app_services: Services, name: str) -> ModelSummary:
    versions, released, title = app_services.catalog.versions(name), _routing(app_services, name), name
    with suppress(DataError, ModelNotFound):
        title = shown_version(app_services, name).title
    return ModelSummary(
        name=name,
        title=title,
        versions=versions,
        stable=released.stable if released else None,
        candidate=released.candidate if released else None,
        candidate_percent=released.weight_percent if released else 0.0,
    )


def _routing(app_services: Services, name: str) -> State | None:
    with suppress(VouchError):
        return app_services.router.record(name).routed
    return None


def _version(folder: Path, labels: list[str]) -> VersionItem:
    try:
        manifest = Manifest.read(folder)
    except DataError as error:
        return VersionItem(version=int(folder.name), labels=labels, problem=error.what)
    return VersionItem(
        version=int(folder.name),
        labels=labels,
        created=manifest.created,
        run_id=manifest.run_id,
        threshold=(manifest.operating_point or {}).get("threshold"),
        verdicts=manifest.sentences,
        calibrated=manifest.is_calibrated,
        metrics={
            name: Metric(value=value, lower=lower, upper=upper)
            for name, (value, lower, upper) in manifest.bounded_metrics.items()
        },
    )


def _feature(rules: FieldRules) -> FeatureItem:
    field, stats = rules.field, rules.field.stats
    training = None
    if stats.minimum is not None and stats.maximum is not None:
        training = TrainingRange(
            minimum=stats.minimum, maximum=stats.maximum, median=stats.median, missing=stats.missing
        )
    return FeatureItem(
        name=field.name,
        type=TYPES[field.dtype],
        required=field.required,
        title=field.title,
        unit=field.unit,
        group=field.group,
        description=field.description,
        values=list(field.values),
        minimum=bound(rules, rules.low),
        maximum=bound(rules, rules.high),
        training=training,
        example=example_value(field),
    )


def row_name(model: str) -> str:
    return f"Row_{model}"


def row_schema(model_version: ModelVersion) -> dict[str, Any]:
    return {
        "type": "object",
        "title": f"A row for {model_version.model}",
        "description": f"Read by {model_version.model} {model_version.version}. {model_version.description}".strip(),
        "properties": {rules.name: field_schema(rules) for rules in rules_of(model_version)},
        "required": [field.name for field in model_version.fields if field.required],
        "additionalProperties": False,
        "example": {field.name: example_value(field) for field in model_version.fields},
    }


def request_schema(model_versions: Iterable[ModelVersion], default: str | None, max_rows: int) -> dict[str, Any]:
    """Return the schema of a body that asks for predictions: two forms for each model, and two bare ones."""
    forms: list[dict[str, Any]] = []
    for model_version in model_versions:
        row = {"$ref": f"#/components/schemas/{row_name(model_version.model)}"}
        rows = {"type": "array", "items": row, "minItems": 1, "maxItems": max_rows}
        named = [] if model_version.model == default else ["model"]
        model_schema = {"type": "string", "enum": [model_version.model]}
        shared = {"model": model_schema, "sticky": STICKY, "reference": CASE_REFERENCE}
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


def _operation(summary: str, body: type[Sent]) -> Operation:
    return Operation(summary, "releases", Role.OPERATOR, Released, body, parameters=(NAME,), refusals=(403, 404, 409))


@route("POST", "/models/<name>/promote", _operation("Promote a version", Promotion))
def promote(name: str) -> Response:
    """Make a version stable, once it has loaded and answered its golden rows; a trial ends with it."""
    app_services = services()
    body = read_as(Promotion, request, app_services.settings)
    who = _operator(body.password)
    return _released(name, releases.promote(app_services, name, who, body.version))


@route("POST", "/models/<name>/rollback", _operation("Roll back", Rollback))
def rollback(name: str) -> Response:
    """End the trial if there is one, else make the previous version stable again."""
    app_services = services()
    who = _operator(read_as(Rollback, request, app_services.settings).password)
    return _released(name, releases.rollback(app_services, name, who))


@route("POST", "/models/<name>/canary", _operation("Try a version", Canary))
def canary(name: str) -> Response:
    """Give a share of the requests to a version beside the stable one, once it has answered its golden rows."""
    app_services = services()
    body = read_as(Canary, request, app_services.settings)
    who = _operator(body.password)
    return _released(name, releases.canary(app_services, name, who, body.percent, body.version))


def _operator(password: str | None) -> str:
    who = identity()
    if not who.is_demo and not (password and reauthenticated(password)):
        raise Forbidden("a release asks for your password once more", wanted="password")
    return who.name


def _released(model: str, state: State) -> Response:
    return answer(
        Released(
            model=model,
            stable=state.stable,
            candidate=state.candidate,
            candidate_percent=state.weight_percent,
            previous=state.previous,
        )
    )
