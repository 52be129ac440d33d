"""One case: a form with the model's fields, what the model says of it, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from config.errors import VouchError
from webapp.auth import requires
from webapp.catalog import Card
from webapp.errors import answer_vouch_error
from webapp.examples import example_rows
from webapp.pages import frame
from webapp.pages.inputs import Input, as_text, inputs_of, problem_links
from webapp.pages.result import Result, result_of
from webapp.records import Caution, Problem, Role
from webapp.services import services
from webapp.validation import InvalidInput, parse_text

blueprint = Blueprint("predict", __name__)
blueprint.record_once(lambda state: frame.init_app(state.app))  # all pages have it, and this is the first


@dataclass(frozen=True)
class Case:
    """What became of a form: a result, or what is wrong with its values, or why there is no answer at all."""

    texts: Mapping[str, str]
    result: Result | None = None
    problems: tuple[Problem, ...] = ()
    failure: VouchError | None = None

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """What is unusual about the values."""
        return self.result.outcome.cautions if self.result else ()


@blueprint.get("/")
@requires(Role.VIEWER)
def home() -> AnyResponse:
    """Go to the form of the default model."""
    model = services().catalog.default(services().settings.model)
    return redirect(url_for(".page", model=model, lang=request.args.get("lang")))


@blueprint.route("/predict/<model>", methods=["GET", "POST"])
@requires(Role.VIEWER)
def page(model: str) -> Response:
    """Show the form, and after it was sent what came of it."""
    card = frame.form_card(model)
    if request.method == "GET":
        return make_response(_page(card, Case(_example_texts(card, request.args.get("example", "")))))
    case = _decide(card, request.form)
    if case.failure is None:
        return make_response(_page(card, case), 400 if case.problems else 200)
    response = answer_vouch_error(case.failure)  # its status and headers, on the page that keeps the values
    response.set_data(_page(card, case))
    return response


def _decide(card: Card, texts: Mapping[str, str]) -> Case:
    try:
        row = parse_text(card, texts)
        answer = services().predictor.predict(card.model, [row], frame.asked("page"))
        return Case(texts, result_of(answer, row))
    except InvalidInput as error:
        return Case(texts, problems=error.problems)
    except VouchError as error:
        return Case(texts, failure=error)


def _page(card: Card, case: Case) -> str:
    inputs = inputs_of(card, case.texts, case.problems, case.cautions)
    told = {"card": card, "case": case, "inputs": inputs, "problem_links": problem_links(inputs)}
    if frame.is_partial():
        return render_template("_predict_parts.html", **told)
    return render_template("predict.html", **told, groups=_grouped(inputs), examples=_examples(card))


def _grouped(inputs: tuple[Input, ...]) -> dict[str, list[Input]]:
    found: dict[str, list[Input]] = {}
    for each in inputs:
        found.setdefault(each.field.group or _("Values"), []).append(each)
    return found


def _examples(card: Card) -> list[dict[str, Any]]:
    return [
        {"key": example.key, "title": example.title, "texts": _texts(card, example.row)}
        for example in example_rows(services(), card)
    ]


def _example_texts(card: Card, key: str) -> dict[str, str]:
    found = [example["texts"] for example in _examples(card) if example["key"] == key] if key else []
    return found[0] if found else {}


def _texts(card: Card, row: Mapping[str, Any]) -> dict[str, str]:
    return {field.name: as_text(row.get(field.name)) for field in card.fields}
