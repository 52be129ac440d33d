"""One row of the held-out test split: its values, what the model says of it, and what is true."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from flask import Blueprint, Response, make_response, render_template, request

from common.errors import VouchError
from webapp import wording
from webapp.auth import requires
from webapp.http.errors import answer_vouch_error
from webapp.models.catalog import ModelVersion
from webapp.models.sample import Sample, showcase_of
from webapp.pages import frame
from webapp.pages.result import Result, result_of
from webapp.services import services
from webapp.types import REFERENCE_LENGTH, Role

blueprint = Blueprint("by_index", __name__)


@dataclass(frozen=True)
class Pick:
    """A row of the test sample, as asked for: `text` is what was typed, `problem` what is wrong with it."""

    rows: int
    text: str
    number: int = 0
    problem: str = ""
    result: Result | None = None
    truth: str = ""
    reference: str = ""
    failure: VouchError | None = None

    @property
    def others(self) -> dict[str, int]:
        last = self.rows - 1
        return {
            "previous": max(self.number - 1, 0),
            "next": min(self.number + 1, last),
            "random": secrets.randbelow(self.rows),
        }


@blueprint.get("/by-index/<model>")
@requires(Role.VIEWER)
def page(model: str) -> Response:
    """Show row `i`, or without one the first."""
    model_version = frame.form_version(model)
    showcase = showcase_of(model_version)
    if showcase is None or not len(showcase.test):
        return make_response(render_template("by_index.html", model_version=model_version, pick=None))
    pick = _pick(model_version, showcase.test, request.args.get("i", "0").strip())
    if pick.failure is None:
        return make_response(
            render_template("by_index.html", model_version=model_version, pick=pick), 400 if pick.problem else 200
        )
    response = answer_vouch_error(pick.failure)  # its status and headers, on a page that leads on
    response.set_data(render_template("by_index.html", model_version=model_version, pick=pick))
    return response


def _pick(model_version: ModelVersion, sample: Sample, text: str) -> Pick:
    rows = len(sample)
    if not (text.isascii() and text.isdecimal()) or int(text[:9]) >= rows or len(text) > 9:
        return Pick(rows, text[:20], problem=f"must be a whole number from 0 to {wording.number(rows - 1)}")
    number, reference = int(text), request.args.get("reference", "").strip()[:REFERENCE_LENGTH]
    row = sample.row(number)
    pick = Pick(rows, text, number, truth=sample.labels[number], reference=reference)
    try:
        answer = services().predictor.predict(model_version.model, [row], frame.asked("index", reference))
        return replace(pick, result=result_of(answer, row, reference))
    except VouchError as error:
        return replace(pick, failure=error)
