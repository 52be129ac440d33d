"""The answer to one row, with all that a page shows about it; and the page of a row that was held out."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, TypeVar

from flask import Blueprint, Response, make_response, render_template, request
from markupsafe import Markup

from common.errors import VouchError
from serving.repository.showcase import Sample
from webapp import wording
from webapp.auth import asked_by, requires
from webapp.http.errors import page_with
from webapp.insight import charts
from webapp.insight.cases import Neighbour, kind_names, projection_of
from webapp.insight.explain import Explanation, asker, explain
from webapp.models.catalog import ModelVersion, prettified
from webapp.models.sample import showcase_of
from webapp.pages import frame
from webapp.predict.validation import check_rows
from webapp.services import services
from webapp.types import REFERENCE_LENGTH, Answer, Beside, Outcome, Role

blueprint = Blueprint("by_index", __name__)
CLOSE = 0.1  # of probability; within it a verdict is a close call
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """One answered row. What it is explained by is None, or empty, where it could not be had; the answer stands."""

    model_version: ModelVersion  # of the version that answered
    row: Mapping[str, Any]
    answer: Answer
    time: datetime
    explanation: Explanation | None
    neighbours: Sequence[Neighbour]
    gauge: Markup | None
    effects: Markup | None
    plane: Markup | None
    reference: str = ""
    beside: Beside | None = None

    @property
    def outcome(self) -> Outcome:
        return self.answer.outcomes[0]

    @property
    def ranking(self) -> list[tuple[str, float]]:
        return sorted(self.outcome.probabilities.items(), key=lambda pair: -pair[1])

    @property
    def because(self) -> str:
        """What the verdict rests on, such as: malignant 0.8%, threshold 63.0%; or 80 to 222 in 90.0% of cases."""
        model_version, threshold, interval = self.model_version, self.answer.threshold, self.outcome.interval
        if interval:
            lower, upper = wording.number(interval.lower), wording.number(interval.upper)
            return f"{lower} to {upper} in {wording.percent(model_version.promised or 0.0)} of cases"
        if model_version.positive is None:
            return wording.probability(self.outcome.score)
        probability = f"{model_version.called(model_version.positive)} {wording.probability(self.outcome.score)}"
        return probability if threshold is None else f"{probability}, threshold {wording.percent(threshold)}"

    @property
    def rival(self) -> str | None:
        """The class that a little more or less of probability would have had the model say."""
        label, probabilities = self.outcome.label, self.outcome.probabilities
        others = [name for name, _share in self.ranking if name != label]
        if not others:
            return None
        if self.model_version.positive and self.answer.threshold is not None:
            margin = abs(self.outcome.score - self.answer.threshold)
        else:
            margin = probabilities[label] - probabilities[others[0]]
        return others[0] if margin < CLOSE else None


def result_of(answer: Answer, row: Mapping[str, Any], reference: str = "") -> Result:
    """Return what there is to show about an answer with one row. `reference`: the asker's own name for it."""
    model_version = services().catalog.model_version(answer.model, answer.version)
    ask = asker(services().predictor, model_version)
    explanation = unless_it_fails("explanation", model_version, lambda: explain(model_version, row, ask))
    projection = unless_it_fails("projection", model_version, lambda: projection_of(model_version))
    effects = charts.waterfall(explanation, model_version.called(explanation.of)) if explanation else None
    plane, neighbours = None, []
    if projection:
        plane = charts.scatter(projection, projection.project(row), kind_names(model_version))
        neighbours = projection.nearest(row)
    beside = None
    if model_version.plain_models:
        columns = check_rows(model_version, [row]).columns
        beside = unless_it_fails(
            "plain models", model_version, lambda: services().predictor.beside(model_version, columns)[0]
        )
    gauge, time = _gauge(model_version, answer), datetime.now(timezone.utc)
    return Result(model_version, row, answer, time, explanation, neighbours, gauge, effects, plane, reference, beside)


def _gauge(model_version: ModelVersion, answer: Answer) -> Markup | None:
    """Return the probability of the positive class, or the number in its interval; None with many classes."""
    outcome, positive = answer.outcomes[0], model_version.positive
    if outcome.interval:
        return charts.span(outcome.score, outcome.interval, prettified(model_version.label), model_version.label_range)
    return charts.gauge(outcome.score, answer.threshold, model_version.called(positive)) if positive else None


def unless_it_fails(part: str, model_version: ModelVersion, make: Callable[[], T | None]) -> T | None:
    """Return a part of what is shown beside an answer; None where it cannot be had, for the answer stands."""
    try:
        return make()
    except VouchError as error:
        log.warning("no %s by %s %d: %s", part, model_version.model, model_version.version, error.what)
        return None


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
    model_version = frame.rows_version(model)
    showcase = showcase_of(model_version)
    if showcase is None or not len(showcase.test):
        return make_response(render_template("by_index.html", model_version=model_version, pick=None))
    pick = _pick(model_version, showcase.test, request.args.get("i", "0").strip())
    text = render_template("by_index.html", model_version=model_version, pick=pick)
    return page_with(text, pick.failure, 400 if pick.problem else 200)


def _pick(model_version: ModelVersion, sample: Sample, text: str) -> Pick:
    rows = len(sample)
    if not (text.isascii() and text.isdecimal()) or int(text[:9]) >= rows or len(text) > 9:
        return Pick(rows, text[:20], problem=f"must be a whole number from 0 to {wording.number(rows - 1)}")
    number, reference = int(text), request.args.get("reference", "").strip()[:REFERENCE_LENGTH]
    row = sample.row(number)
    pick = Pick(rows, text, number, truth=sample.labels[number], reference=reference)
    try:
        answer = services().predictor.predict(model_version.model, [row], asked_by("index", reference=reference))
        return replace(pick, result=result_of(answer, row, reference))
    except VouchError as error:
        return replace(pick, failure=error)
