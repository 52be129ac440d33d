"""One case: a form with the model's fields, what the model says of it, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from common.errors import DataError, VouchError
from webapp.auth import requires
from webapp.http.errors import answer_vouch_error
from webapp.insight.examples import example_rows
from webapp.models.catalog import ModelVersion
from webapp.pages import frame
from webapp.pages.inputs import Input, as_text, inputs_of, pasted_texts, problem_links, with_points
from webapp.pages.result import Result, result_of
from webapp.predict.validation import parse_text
from webapp.services import services
from webapp.types import REFERENCE_LENGTH, Caution, InvalidInput, Problem, Role

REFERENCE = "__reference"  # no feature is called so
blueprint = Blueprint("predict", __name__)
blueprint.record_once(lambda state: frame.init_app(state.app))  # all pages have it, and this is the first


@dataclass(frozen=True)
class Case:
    """What became of a form: a result, or what is wrong with its values, or why there is no answer at all."""

    texts: Mapping[str, str]
    result: Result | None = None
    problems: tuple[Problem, ...] = ()
    failure: VouchError | None = None
    refused_paste: DataError | None = None
    pasted: str = ""

    @property
    def cautions(self) -> tuple[Caution, ...]:
        return self.result.outcome.cautions if self.result else ()


@blueprint.get("/")
@requires(Role.VIEWER)
def home() -> AnyResponse:
    model = services().catalog.opening(services().settings.model)
    return redirect(url_for(".page", model=model))


@blueprint.route("/predict/<model>", methods=["GET", "POST"])
@requires(Role.VIEWER)
def page(model: str) -> Response:
    model_version = frame.form_version(model)
    if request.method == "GET":
        return make_response(_page(model_version, Case(_example_texts(model_version, request.args.get("example", "")))))
    case = _decide(model_version, request.form)
    if case.failure is None:
        return make_response(_page(model_version, case), 400 if case.problems else 200)
    response = answer_vouch_error(case.failure)  # its status and headers, on the page that keeps the values
    response.set_data(_page(model_version, case))
    return response


@blueprint.post("/predict/<model>/paste")
@requires(Role.VIEWER)
def paste(model: str) -> Response:
    model_version, pasted = frame.form_version(model), request.form.get("pasted", "")
    try:
        return make_response(_page(model_version, Case(pasted_texts(model_version, pasted))))
    except DataError as error:
        return make_response(_page(model_version, Case({}, refused_paste=error, pasted=pasted)), 400)


def _decide(model_version: ModelVersion, texts: Mapping[str, str]) -> Case:
    reference = texts.get(REFERENCE, "").strip()[:REFERENCE_LENGTH]
    try:
        row = parse_text(model_version, with_points(model_version, texts))
        answer = services().predictor.predict(model_version.model, [row], frame.asked("page", reference))
        return Case(texts, result_of(answer, row, reference))
    except InvalidInput as error:
        return Case(texts, problems=error.problems)
    except VouchError as error:
        return Case(texts, failure=error)


def _page(model_version: ModelVersion, case: Case) -> str:
    inputs = inputs_of(model_version, case.texts, case.problems, case.cautions)
    context = {"model_version": model_version, "case": case, "inputs": inputs, "problem_links": problem_links(inputs)}
    if frame.is_partial():
        return render_template("_predict_parts.html", **context)
    return render_template("predict.html", **context, groups=_grouped(inputs), examples=_examples(model_version))


def _grouped(inputs: tuple[Input, ...]) -> dict[str, list[Input]]:
    groups: dict[str, list[Input]] = {}
    for each in inputs:
        groups.setdefault(each.field.group or "Values", []).append(each)
    return groups


def _examples(model_version: ModelVersion) -> list[dict[str, Any]]:
    return [
        {"key": e.key, "title": e.title, "row": e.row, "texts": _texts(model_version, e.row)}
        for e in example_rows(services(), model_version)
    ]


def _example_texts(model_version: ModelVersion, key: str) -> dict[str, str]:
    texts = [example["texts"] for example in _examples(model_version) if example["key"] == key] if key else []
    return texts[0] if texts else {}


def _texts(model_version: ModelVersion, row: Mapping[str, Any]) -> dict[str, str]:
    return {field.name: as_text(row.get(field.name)) for field in model_version.fields}
