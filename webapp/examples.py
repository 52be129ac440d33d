"""Rows to fill the form with in one click: a typical one of each class, and one that could be either."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from flask_babel import gettext as _

from config.errors import VouchError
from webapp.catalog import Card
from webapp.encoding import Encoder
from webapp.explain import Ask, asker
from webapp.services import Services
from webapp.showcase import Sample, showcase_of

BORDERLINE = "borderline"
MOST_CLASSES = 12  # that get a button
PAUSE_S = 30.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A training row, its gaps left out. `key` names it in an address; `title` is in the reader's language."""

    key: str
    title: str
    row: Mapping[str, Any]
    label: str


def example_rows(services: Services, card: Card) -> tuple[Example, ...]:
    """Return a typical row of each class and, where there is a threshold, the row whose probability is nearest to it.

    Nothing comes back for a version without a showcase. While the model server does not answer there is no borderline
    row. Raises DataError if the showcase is broken.
    """
    showcase = showcase_of(card)
    if showcase is None:
        return ()
    sample = showcase.train
    numbers = {
        f"typical-{label}": (_("Typical %(label)s", label=card.called(label)), i) for label, i in _typical(card, sample)
    }
    borderline = _borderlines.find(card, sample, asker(services.predictor, card))
    if borderline is not None:
        numbers[BORDERLINE] = (_("Borderline"), borderline)
    return tuple(Example(key, title, sample.row(i), sample.labels[i]) for key, (title, i) in numbers.items())


def _typical(card: Card, sample: Sample) -> list[tuple[str, int]]:
    """Return each class with the number of its row nearest the mean of the class; a row with gaps only if all have."""
    encoded = Encoder.fit(card.fields, sample.columns).encode(sample.columns, len(sample))
    labels = np.array(sample.labels)
    gaps = np.array([len(card.fields) - len(sample.row(i)) for i in range(len(sample))])
    found = []
    for label in card.classes[:MOST_CLASSES]:
        of_class = np.flatnonzero(labels == label)
        if len(of_class):
            distances = np.square(encoded[of_class] - encoded[of_class].mean(axis=0)).sum(axis=1)
            found.append((label, int(of_class[np.lexsort((distances, gaps[of_class]))[0]])))
    return found


class Borderlines:
    """The row nearest the threshold by version, asked of the model server once; after a failure not at once again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: WeakKeyDictionary[Card, int] = WeakKeyDictionary()
        self._again_at: WeakKeyDictionary[Card, float] = WeakKeyDictionary()

    def find(self, card: Card, sample: Sample, ask: Ask) -> int | None:
        """Return the row's number, None if there is no threshold or nobody answered."""
        if card.threshold is None or card.positive is None or not len(sample):
            return None
        if card not in self._found and self._clock() >= self._again_at.get(card, -math.inf):
            try:
                probabilities = ask({name: list(values) for name, values in sample.columns.items()})
                distances = np.abs(probabilities[:, card.classes.index(card.positive)] - card.threshold)
                self._found[card] = int(np.argmin(distances))
            except VouchError as error:
                self._again_at[card] = self._clock() + PAUSE_S
                log.warning("no borderline example of %s %d: %s", card.model, card.version, error.what)
        return self._found.get(card)


_borderlines = Borderlines()
