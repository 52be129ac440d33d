"""The answer to one row, with all that a page shows about it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from markupsafe import Markup

from common.errors import VouchError
from webapp.insight import charts
from webapp.insight.explain import Explanation, asker, explain
from webapp.insight.projection import projection_of
from webapp.models.catalog import ModelVersion
from webapp.pages import wording
from webapp.services import services
from webapp.types import Answer, Outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Charts:
    """A result's pictures; those that could not be had are None."""

    gauge: Markup | None
    effects: Markup | None
    plane: Markup | None


@dataclass(frozen=True)
class Result:
    """One answered row. `explanation` is None where it could not be had; the answer stands without."""

    model_version: ModelVersion  # of the version that answered
    row: Mapping[str, Any]
    answer: Answer
    time: datetime
    explanation: Explanation | None
    charts: Charts

    @property
    def outcome(self) -> Outcome:
        """What the model says of the row."""
        return self.answer.outcomes[0]

    @property
    def ranking(self) -> list[tuple[str, float]]:
        """The classes, the likeliest first."""
        return sorted(self.outcome.probabilities.items(), key=lambda pair: -pair[1])


def result_of(answer: Answer, row: Mapping[str, Any]) -> Result:
    """Return what there is to show about an answer with one row."""
    model_version = services().catalog.model_version(answer.model, answer.version)
    probability = answer.outcomes[0].probability
    gauge = (
        charts.gauge(probability, answer.threshold, model_version.called(model_version.positive))
        if model_version.positive
        else None
    )
    explanation = _explanation(model_version, row)
    effects = charts.effect_bars(explanation, model_version.called(explanation.of)) if explanation else None
    return Result(
        model_version,
        row,
        answer,
        datetime.now(timezone.utc),
        explanation,
        Charts(gauge, effects, _plane(model_version, row)),
    )


def _explanation(model_version: ModelVersion, row: Mapping[str, Any]) -> Explanation | None:
    try:
        return explain(model_version, row, asker(services().predictor, model_version))
    except VouchError as error:
        log.warning("no explanation by %s %d: %s", model_version.model, model_version.version, error.what)
        return None


def _plane(model_version: ModelVersion, row: Mapping[str, Any]) -> Markup | None:
    try:
        plane = projection_of(model_version)
    except VouchError as error:
        log.warning("no projection for %s %d: %s", model_version.model, model_version.version, error.what)
        return None
    return charts.scatter(plane, plane.project(row), wording.named_classes(model_version)) if plane else None
