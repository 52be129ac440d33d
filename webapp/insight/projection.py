"""A case among the training rows: which are nearest to it, and a map by their two principal components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from webapp.insight.encoding import Encoder, Floats
from webapp.models.catalog import ModelVersion
from webapp.models.sample import KEPT_VERSIONS, Sample, showcase_of

FEWEST_ROWS = 3
NEAREST = 5


@dataclass(frozen=True)
class Neighbour:
    """A training row with its true label. `distance`: root mean square over all values, in standard deviations."""

    distance: float
    label: str


@dataclass(frozen=True, eq=False)
class Projection:
    """The plane. `points`: [rows, 2], `labels`: their true classes, `shares`: of the variance, along each axis."""

    points: Floats
    labels: tuple[str, ...]
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
        """Return the training rows nearest to a row, the nearest first."""
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
    axes *= _signs((encoded - centre) @ axes.T, sample.labels, model_version.positive or model_version.classes[-1])
    first, second = variances / max(float((strengths**2).sum()), 1e-12)
    points = (encoded - centre) @ axes.T
    return Projection(points, sample.labels, (float(first), float(second)), encoder, encoded, centre, axes)


def _signs(points: Floats, labels: tuple[str, ...], right: str) -> Floats:
    """Return [2, 1] of 1 or -1 that put a class to the right and above: an axis' own direction is arbitrary."""
    of_class = points[np.array(labels) == right]
    side = of_class.mean(axis=0) if len(of_class) else points[0]
    return np.where(side < 0, -1.0, 1.0)[:, None]
