"""Rows as points: numbers in standard deviations from the mean, text and codes as a column for each common value."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.text import MISSING_CODE
from webapp.models.catalog import Field

COMMON_VALUES = 20  # of a text feature that get a column of their own
FARTHEST = 10.0  # standard deviations; beyond, one odd value would hide all others
Floats = NDArray[np.float64]


def is_missing(value: object) -> bool:
    """Return whether a value is one of those that stand for none: null, NaN, empty text, the code for it."""
    return value is None or value == "" or value == MISSING_CODE or (isinstance(value, float) and math.isnan(value))


def numbers_of(values: Sequence[Any]) -> Floats:
    """Return a column of numbers, [rows], with NaN for missing ones."""
    return np.array([np.nan if is_missing(value) else float(value) for value in values], float)


@dataclass(frozen=True)
class Encoder:
    """What is needed to encode rows like those it was fitted to. Features that do not vary have no column."""

    scales: Mapping[str, tuple[float, float]]  # of a number: mean and standard deviation
    commons: Mapping[str, tuple[str, ...]]  # of text and codes: values

    @staticmethod
    def fit(fields: Sequence[Field], columns: Mapping[str, Sequence[Any]]) -> Encoder:
        """Return the encoder of some rows."""
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
