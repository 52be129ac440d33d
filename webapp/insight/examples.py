"""Rows to fill the form with in one click: a typical one of each class, and one that could be either."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from common.errors import VouchError
from webapp.insight.explain import Ask, asker
from webapp.insight.neighbours import Encoder
from webapp.models.catalog import ModelVersion
from webapp.models.sample import KEPT_VERSIONS, Sample, showcase_of
from webapp.services import Services

BORDERLINE = "borderline"
MOST_CLASSES = 12  # that get a button
PAUSE_S = 30.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A training row, its gaps left out. `key` names it in an address."""

    key: str
    title: str
    row: Mapping[str, Any]
    label: str


def example_rows(services: Services, model_version: ModelVersion) -> tuple[Example, ...]:
    """Return a typical row of each class and, where there is a threshold, the row whose probability is nearest to it.

    Nothing comes back for a version without a showcase. While the model server does not answer there is no borderline
    row. Raises DataError if the showcase is broken.
    """
    showcase = showcase_of(model_version)
    if showcase is None:
        return ()
    sample = showcase.train
    numbers = {
        f"typical-{label}": (f"Typical {model_version.called(label)}", i) for label, i in _typical(model_version)
    }
    borderline = _borderlines.find(model_version, sample, asker(services.predictor, model_version))
    if borderline is not None:
        numbers[BORDERLINE] = ("Borderline", borderline)
    return tuple(Example(key, title, sample.row(i), sample.labels[i]) for key, (title, i) in numbers.items())


@lru_cache(KEPT_VERSIONS)
def _typical(model_version: ModelVersion) -> list[tuple[str, int]]:
    """Return each class with the number of its row nearest the mean of the class; a row with gaps only if all have."""
    showcase = showcase_of(model_version)
    if showcase is None:
        return []
    sample = showcase.train
    encoded = Encoder.fit(model_version.fields, sample.columns).encode(sample.columns, len(sample))
    labels = np.array(sample.labels)
    gaps = np.array([len(model_version.fields) - len(sample.row(i)) for i in range(len(sample))])
    rows = []
    for label in model_version.classes[:MOST_CLASSES]:
        of_class = np.flatnonzero(labels == label)
        if len(of_class):
            distances = np.square(encoded[of_class] - encoded[of_class].mean(axis=0)).sum(axis=1)
            rows.append((label, int(of_class[np.lexsort((distances, gaps[of_class]))[0]])))
    return rows


class Borderlines:
    """The row nearest the threshold by version, asked of the model server once; after a failure not at once again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: WeakKeyDictionary[ModelVersion, int] = WeakKeyDictionary()
        self._again_at: WeakKeyDictionary[ModelVersion, float] = WeakKeyDictionary()

    def find(self, model_version: ModelVersion, sample: Sample, ask: Ask) -> int | None:
        """Return the row's number, None if there is no threshold or nobody answered."""
        if model_version.threshold is None or model_version.positive is None or not len(sample):
            return None
        if model_version not in self._found and self._clock() >= self._again_at.get(model_version, -math.inf):
            try:
                probabilities = ask({name: list(values) for name, values in sample.columns.items()})
                distances = np.abs(
                    probabilities[:, model_version.classes.index(model_version.positive)] - model_version.threshold
                )
                self._found[model_version] = int(np.argmin(distances))
            except VouchError as error:
                self._again_at[model_version] = self._clock() + PAUSE_S
                log.warning(
                    "no borderline example of %s %d: %s", model_version.model, model_version.version, error.what
                )
        return self._found.get(model_version)


_borderlines = Borderlines()
