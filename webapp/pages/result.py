"""The answer to one row, with all that a page shows about it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from markupsafe import Markup

from config.errors import VouchError
from webapp import charts, wording
from webapp.catalog import Card
from webapp.explain import Explanation, asker, explain
from webapp.projection import projection_of
from webapp.records import Answer, Outcome
from webapp.services import services

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

    card: Card  # of the version that answered
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
    card = services().catalog.card(answer.model, answer.version)
    probability = answer.outcomes[0].probability
    gauge = charts.gauge(probability, answer.threshold, card.called(card.positive)) if card.positive else None
    explanation = _explanation(card, row)
    effects = charts.effect_bars(explanation, card.called(explanation.of)) if explanation else None
    return Result(card, row, answer, datetime.now(timezone.utc), explanation, Charts(gauge, effects, _plane(card, row)))


def _explanation(card: Card, row: Mapping[str, Any]) -> Explanation | None:
    try:
        return explain(card, row, asker(services().predictor, card))
    except VouchError as error:
        log.warning("no explanation by %s %d: %s", card.model, card.version, error.what)
        return None


def _plane(card: Card, row: Mapping[str, Any]) -> Markup | None:
    try:
        plane = projection_of(card)
    except VouchError as error:
        log.warning("no projection for %s %d: %s", card.model, card.version, error.what)
        return None
    return charts.scatter(plane, plane.project(row), wording.named_classes(card)) if plane else None
