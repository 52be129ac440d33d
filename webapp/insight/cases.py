"""A case among those the model was trained on: its nearest, a map, and rows to start from.

Rows become points: numbers in standard deviations from the mean, text and codes as a column for each common value.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import VouchError
from serving.repository.showcase import Sample
from webapp.insight.explain import asker, is_missing
from webapp.models.catalog import Field, ModelVersion
from webapp.models.sample import KEPT_VERSIONS, showcase_of
from webapp.services import Services

COMMON_VALUES = 20  # of a text feature that get a column of their own
FARTHEST = 10.0  # standard deviations; beyond, one odd value would hide all others
FEWEST_ROWS = 3
NEAREST = 5
BORDERLINE = "borderline"
THIRDS = ("low", "middle", "high")
MOST_CLASSES = 12  # that get a button
PAUSE_S = 30.0
log = logging.getLogger(__name__)
Floats = NDArray[np.float64]


def numbers_of(values: Sequence[Any]) -> Floats:
    return np.array([np.nan if is_missing(value) else float(value) for value in values], float)


@dataclass(frozen=True)
class Encoder:
    """What is needed to encode rows like those it was fitted to. Features that do not vary have no column."""

    scales: Mapping[str, tuple[float, float]]  # of a number: mean and standard deviation
    commons: Mapping[str, tuple[str, ...]]  # of text and codes: values

    @staticmethod
    def fit(fields: Sequence[Field], columns: Mapping[str, Sequence[Any]]) -> Encoder:
        scales, commons = {}, {}
        for field in fields:
            if field.kind == "numeric":
                numbers = numbers_of(columns[field.name])
                numbers = numbers[np.isfinite(numbers)]
                if len(numbers) and numbers.std() > 0:
                    scales[field.name] = (float(numbers.mean()), float(numbers.std()))
            else:
                counts = Counter(str(value) for value in columns[field.name] if not is_missing(value))
                commons[field.name] = tuple(value for value, _ in counts.most_common(COMMON_VALUES))
        return Encoder(scales, commons)

    def encode(self, columns: Mapping[str, Sequence[Any]], rows: int) -> Floats:
        """Return [rows, width]; a missing number stands at the mean, a missing or rare text nowhere."""
        parts = [self._number(name, columns[name]) for name in self.scales]
        for name, values in self.commons.items():
            texts = np.array([str(value) for value in columns[name]], object)
            parts += [(texts == value).astype(float) for value in values]
        return np.column_stack(parts) if parts else np.zeros((rows, 0))

    def _number(self, name: str, values: Sequence[Any]) -> Floats:
        mean, deviation = self.scales[name]
        near = np.clip(numbers_of(values), mean - FARTHEST * deviation, mean + FARTHEST * deviation)
        return np.nan_to_num((near - mean) / deviation, nan=0.0)


@dataclass(frozen=True)
class Neighbour:
    """A training row with its true label. `distance`: root mean square over all values, in standard deviations."""

    distance: float
    label: str


@dataclass(frozen=True, eq=False)
class Projection:
    """The plane. `points`: [rows, 2], `labels`: their true ones, `shares`: of the variance, along each axis.

    `kinds`: their classes, or thirds where the labels are numbers.
    """

    points: Floats
    labels: tuple[str, ...]
    kinds: tuple[str, ...]
    shares: tuple[float, float]
    encoder: Encoder
    encoded: Floats  # [rows, width]
    centre: Floats  # [width]
    axes: Floats  # [2, width]

    def project(self, row: Mapping[str, object]) -> tuple[float, float]:
        """Return where a row lies; what it lacks counts as missing."""
        x, y = (self._encode(row) - self.centre)[0] @ self.axes.T
        return float(x), float(y)

    def nearest(self, row: Mapping[str, object], most: int = NEAREST) -> list[Neighbour]:
        squares = np.square(self.encoded - self._encode(row)).sum(axis=1)
        distances = np.sqrt(squares / max(self.encoded.shape[1], 1))
        return [Neighbour(float(distances[i]), self.labels[i]) for i in np.argsort(distances, kind="stable")[:most]]

    def _encode(self, row: Mapping[str, object]) -> Floats:
        names = (*self.encoder.scales, *self.encoder.commons)
        return self.encoder.encode({name: [row.get(name)] for name in names}, 1)


@lru_cache(KEPT_VERSIONS)
def projection_of(model_version: ModelVersion) -> Projection | None:
    """Return a version's plane, None if it has no showcase or hardly a row in it. Raises DataError as the showcase."""
    showcase = showcase_of(model_version)
    if showcase is None or len(showcase.train) < FEWEST_ROWS:
        return None
    return _fit(model_version, showcase.train)


def _fit(model_version: ModelVersion, sample: Sample) -> Projection:
    encoder = Encoder.fit(model_version.fields, sample.columns)
    encoded = encoder.encode(sample.columns, len(sample))
    centre = encoded.mean(axis=0)
    _, strengths, directions = np.linalg.svd(encoded - centre, full_matrices=False)
    variances, axes = np.zeros(2), np.zeros((2, len(centre)))  # a single feature spans no plane
    variances[: len(strengths)], axes[: len(directions)] = strengths[:2] ** 2, directions[:2]
    kinds = kinds_of(model_version, sample)
    axes *= _signs((encoded - centre) @ axes.T, kinds, model_version.positive or [*kind_names(model_version)][-1])
    first, second = variances / max(float((strengths**2).sum()), 1e-12)
    points = (encoded - centre) @ axes.T
    return Projection(points, sample.labels, kinds, (float(first), float(second)), encoder, encoded, centre, axes)


def kind_names(model_version: ModelVersion) -> dict[str, str]:
    """Return what cases are told apart by, each with its name for people: classes, or thirds of a number's cases."""
    if model_version.predicts_numbers:
        return {third: f"{third} {model_version.label}" for third in THIRDS}
    return {label: model_version.called(label) for label in model_version.classes}


def kinds_of(model_version: ModelVersion, sample: Sample) -> tuple[str, ...]:
    if not model_version.predicts_numbers:
        return sample.labels
    numbers = np.array([float(label) for label in sample.labels])
    return tuple(THIRDS[i] for i in np.digitize(numbers, np.quantile(numbers, [1 / 3, 2 / 3])))


def _signs(points: Floats, labels: tuple[str, ...], right: str) -> Floats:
    """Return [2, 1] of 1 or -1 that put a class to the right and above: an axis' own direction is arbitrary."""
    of_class = points[np.array(labels) == right]
    side = of_class.mean(axis=0) if len(of_class) else points[0]
    return np.where(side < 0, -1.0, 1.0)[:, None]


@dataclass(frozen=True)
class Example:
    """A training row, its gaps left out. `key` names it in an address."""

    key: str
    title: str
    row: Mapping[str, Any]
    label: str


def example_rows(services: Services, model_version: ModelVersion) -> tuple[Example, ...]:
    """Return a typical row of each class, or third of numbers, and the row nearest to the threshold if there is one.

    Nothing comes back for a version without a showcase. While the model server does not answer there is no borderline
    row. Raises DataError if the showcase is broken.
    """
    showcase = showcase_of(model_version)
    if showcase is None:
        return ()
    sample = showcase.train
    numbers = {
        f"typical-{kind}": (f"Typical {kind_names(model_version)[kind]}", i) for kind, i in _typical(model_version)
    }
    borderline = _borderline(services, model_version, sample)
    if borderline is not None:
        numbers[BORDERLINE] = ("Borderline", borderline)
    return tuple(Example(key, title, sample.row(i), sample.labels[i]) for key, (title, i) in numbers.items())


@lru_cache(KEPT_VERSIONS)
def _typical(model_version: ModelVersion) -> list[tuple[str, int]]:
    """Return each kind with the number of its row nearest the mean of the kind; a row with gaps only if all have."""
    showcase = showcase_of(model_version)
    if showcase is None:
        return []
    sample = showcase.train
    encoded = Encoder.fit(model_version.fields, sample.columns).encode(sample.columns, len(sample))
    labels = np.array(kinds_of(model_version, sample))
    gaps = np.array([len(model_version.fields) - len(sample.row(i)) for i in range(len(sample))])
    rows = []
    for label in [*kind_names(model_version)][:MOST_CLASSES]:
        of_class = np.flatnonzero(labels == label)
        if len(of_class):
            distances = np.square(encoded[of_class] - encoded[of_class].mean(axis=0)).sum(axis=1)
            rows.append((label, int(of_class[np.lexsort((distances, gaps[of_class]))[0]])))
    return rows


def _borderline(services: Services, model_version: ModelVersion, sample: Sample) -> int | None:
    """Return the number of the row nearest the threshold; None without one, or while nobody answers.

    The model server is asked once a version; after a failure not at once again.
    """
    positive, threshold = model_version.positive, model_version.threshold
    if threshold is None or positive is None or not len(sample):
        return None

    def find(known: int | None) -> int | None:
        if known is not None:
            return known
        try:
            probabilities = asker(services.predictor, model_version)({n: list(v) for n, v in sample.columns.items()})
        except VouchError as error:
            log.warning("no borderline example of %s %d: %s", model_version.model, model_version.version, error.what)
            return None
        return int(np.argmin(np.abs(probabilities[:, model_version.classes.index(positive)] - threshold)))

    return services.kept.get(("borderline", model_version), find, PAUSE_S)
