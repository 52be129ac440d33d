"""Predictions: of rows, of a CSV, of a row that was held out."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, g, request

from common.errors import VouchError
from webapp.api.body import read_as, read_json, rows_asked
from webapp.api.models import NAME, TEXT
from webapp.api.routes import Operation, Parameter, answer, route
from webapp.api.schemas import (
    MODEL_NAME,
    STICKY_LENGTH,
    Feedback,
    FeedbackKept,
    FeedbackRows,
    FeedbackRowsKept,
    Forgotten,
    HeldOut,
    Predictions,
    Reference,
)
from webapp.auth import asked_by, identity
from webapp.history.search import History
from webapp.models.catalog import ModelVersion
from webapp.models.releases import Choice
from webapp.models.sample import showcase_of
from webapp.predict.validation import shown
from webapp.services import Services, services
from webapp.types import Answer, InvalidInput, Outcome, PlainModel, Problem, Role

TAG = "predictions"
PREDICT_REQUEST = "PredictRequest"  # a schema that depends on the models
MODEL = Parameter(
    "model", "Name of the model. Default: VOUCH_MODEL, or the only one.", {"type": "string", "pattern": MODEL_NAME}
)
REFERENCE = Parameter("reference", "Your own name for the case; the history finds it by that.", TEXT)
FLAG: dict[str, Any] = {"type": "string", "enum": ["0", "1"]}
PLAIN = Parameter("plain", "1: also tell what the version's plain models say.", FLAG)
INPUTS = Parameter("inputs", "1: also tell the numbers that the network reads, as its own graph makes them.", FLAG)
INDEX = Parameter(
    "i", "Number of the row, from 0.", {"type": "integer", "minimum": 0, "maximum": 10**9 - 1}, in_path=True
)
_INDEX = re.compile(r"[0-9]{1,9}")
CREATED = 201


class NoSuchRow(VouchError):
    http_status = 404


@route(
    "POST",
    "/predict",
    Operation(
        "Predict rows", TAG, Role.VIEWER, Predictions, body=PREDICT_REQUEST, parameters=(PLAIN, INPUTS), refusals=(404,)
    ),
)
def predict() -> Response:
    """Answer each row with a label and probabilities, or with a value and its interval.

    The body is `{"rows": [{…}, …]}` or `{"row": {…}}`, each with `model`, `sticky` and `reference` if wanted, or a
    bare row or a bare list of rows for VOUCH_MODEL, or for the only model; of several one must be named. Rows with the
    same `sticky` text are answered by the same version while the release stays as it is. `reference` is your own name
    for the case, by which the history finds it again. A value outside what the model was trained on is answered with a
    warning; a value that breaks a rule refuses the whole request and names every such value. `plain` and `inputs` are
    refused with 404 by a version that carries no plain models; a candidate without leaves them to the stable version.
    """
    app_services = services()
    body = rows_asked(read_json(request, app_services.settings), app_services.settings.max_rows)
    model = body.model or app_services.catalog.default(app_services.settings.model)
    plain, inputs = flag_asked(PLAIN), flag_asked(INPUTS)
    asker = asked_by("api", body.sticky, body.reference)
    reply = app_services.predictor.predict(model, body.rows, asker, with_beside=plain or inputs)
    return answer(_document(reply, plain=plain, inputs=inputs))


@route(
    "GET",
    "/predict/by-index/<i>",
    Operation(
        "Predict a held-out row",
        TAG,
        Role.VIEWER,
        HeldOut,
        parameters=(INDEX, MODEL, REFERENCE, PLAIN, INPUTS),
        refusals=(404,),
    ),
)
def predict_by_index(i: str) -> Response:
    """Answer a row of the test split, which the model never saw in training, beside its true label."""
    app_services = services()
    if not _INDEX.fullmatch(i):
        raise InvalidInput([Problem("i", "must be a whole number from 0, of at most 9 digits", shown(i), "0")])
    model, number = model_asked(app_services), int(i)
    plain, inputs = flag_asked(PLAIN), flag_asked(INPUTS)
    asker = asked_by("index", g.request_id, text_asked(REFERENCE))  # so that the version whose row it is answers it

    def version_of(choice: Choice) -> ModelVersion:
        model_version = app_services.catalog.model_version(model, choice.version)
        if plain or inputs:
            model_version.require_plain()
        return model_version

    model_version = app_services.predictor.routed(model, asker, version_of)
    showcase = showcase_of(model_version)
    if showcase is None or number >= len(showcase.test):
        count = len(showcase.test) if showcase else 0
        raise NoSuchRow(
            f"{model} has no held-out row {number}", wanted=f"0 to {count - 1}" if count else "none are kept"
        )
    row = showcase.test.row(number)
    reply = app_services.predictor.predict(model, [row], asker, with_beside=plain or inputs)
    document = _document(reply, plain=plain, inputs=inputs)
    [prediction] = document.pop("predictions")
    return answer(
        document
        | {
            "index": number,
            "rows": len(showcase.test),
            "features": row,
            "prediction": prediction,
            "true_label": showcase.test.labels[number],
        }
    )


def model_asked(app_services: Services) -> str:
    named = request.args.get("model")
    return app_services.catalog.default(app_services.settings.model) if named is None else named


def text_asked(parameter: Parameter) -> str:
    """Return a text of the query, empty if it is not there. Raises InvalidInput."""
    text = request.args.get(parameter.name)
    if text is None or 0 < len(text) <= STICKY_LENGTH:
        return text or ""
    rule = f"must be text of 1 to {STICKY_LENGTH} characters"
    raise InvalidInput([Problem(parameter.name, rule, shown(text), f"{parameter.name}=abc")])


def flag_asked(parameter: Parameter) -> bool:
    """Return whether the query asks for something by 1. Raises InvalidInput."""
    text = request.args.get(parameter.name, "0")
    if text not in FLAG["enum"]:
        raise InvalidInput([Problem(parameter.name, "must be 0 or 1", shown(text), f"{parameter.name}=1")])
    return text == "1"


def _document(reply: Answer, *, plain: bool, inputs: bool) -> dict[str, Any]:
    return {
        "model": reply.model,
        "version": reply.version,
        "route": reply.route,
        "threshold": reply.threshold,
        "request_id": reply.request_id,
        "predictions": [
            _prediction(outcome) | _beside(outcome, plain=plain, inputs=inputs) for outcome in reply.outcomes
        ],
    }


def _prediction(outcome: Outcome) -> dict[str, Any]:
    said: dict[str, Any] = {
        "label": outcome.label,
        "probability": outcome.score,
        "probabilities": outcome.probabilities,
    }
    if outcome.interval:
        said = {"value": outcome.score, "lower": outcome.interval.lower, "upper": outcome.interval.upper}
    return {**said, "warnings": outcome.cautions}


def _beside(outcome: Outcome, *, plain: bool, inputs: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if outcome.beside and plain:
        found["plain"] = [_plain(model, own) for model, own in outcome.beside.plain]
    if outcome.beside and inputs:
        found["inputs"] = outcome.beside.inputs
    return found


def _plain(model: PlainModel, outcome: Outcome) -> dict[str, Any]:
    if outcome.interval:
        return {"model": model.name, "value": outcome.score}
    said = {"label": outcome.label, "probability": outcome.score, "probabilities": outcome.probabilities}
    return {"model": model.name, **said, "threshold": model.threshold}


@route(
    "POST",
    "/models/<name>/forget",
    Operation(
        "Delete a reference", "feedback", Role.OPERATOR, Forgotten, Reference, parameters=(NAME,), refusals=(403, 404)
    ),
)
def forget(name: str) -> Response:
    """Delete all predictions of a model under one reference, their true labels, and the uploads that mention it."""
    app_services = services()
    reference = read_as(Reference, request, app_services.settings).reference
    return answer(History(app_services).forget(name, reference, identity().name))


@route(
    "POST",
    "/feedback",
    Operation("Tell a true label", "feedback", Role.OPERATOR, FeedbackKept, Feedback, status=CREATED, refusals=(404,)),
)
def feedback() -> Response:
    """Keep the true label of a row that was predicted, for monitoring and retraining. The last word counts."""
    app_services = services()
    body = read_as(Feedback, request, app_services.settings)
    model = body.model or app_services.catalog.default(app_services.settings.model)
    History(app_services).add_feedback(model, body.request_id, body.row, body.label, identity().name)
    return answer(FeedbackKept(model=model, request_id=body.request_id, row=body.row, label=body.label), CREATED)


@route(
    "POST",
    "/feedback/rows",
    Operation(
        "Tell many true labels",
        "feedback",
        Role.OPERATOR,
        FeedbackRowsKept,
        FeedbackRows,
        status=CREATED,
        refusals=(404,),
    ),
)
def feedback_rows() -> Response:
    """Keep the true labels of up to 1,000 rows of one model, all or none. The last word on a row counts."""
    app_services = services()
    body = read_as(FeedbackRows, request, app_services.settings)
    model = body.model or app_services.catalog.default(app_services.settings.model)
    told = {(each.request_id, each.row): each.label for each in body.labels}
    History(app_services).add_labels(model, told, identity().name)
    return answer(FeedbackRowsKept(model=model, kept=len(told)), CREATED)
