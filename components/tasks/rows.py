"""What a model said of some rows, beside what is true: what every metric and every comparison is taken from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]
AnyRows = TypeVar("AnyRows", bound="Answered")


@dataclass(frozen=True)
class Answered(ABC):
    """The `[rows]` true and decided labels. What else a model said is up to the kind of label."""

    true: NDArray[Any]
    decided: NDArray[Any]

    def __len__(self) -> int:
        return len(self.true)

    @property
    @abstractmethod
    def grouping(self) -> Indices | None:
        """The number, from 0, of the group that each row belongs to; None where each is its own."""

    @property
    def unit(self) -> Indices:
        """The group of each row, or the row itself."""
        return np.arange(len(self)) if self.grouping is None else self.grouping

    def some(self, units: int, rng: np.random.Generator) -> Flags | None:
        """Return which rows are those of so many groups (or rows) at random, None if there are no more."""
        known = np.unique(self.unit)
        return None if len(known) <= units else np.isin(self.unit, rng.choice(known, units, replace=False))

    def of(self: AnyRows, chosen: Flags | Indices | None) -> AnyRows:
        """Return the chosen rows, or those in this order; all for None."""
        if chosen is None:
            return self
        columns = {key: value[chosen] for key, value in vars(self).items() if isinstance(value, np.ndarray)}
        if self.grouping is not None:
            columns["groups"] = np.unique(self.grouping[chosen], return_inverse=True)[1]
        return replace(self, **columns)

    def in_order(self: AnyRows) -> AnyRows:
        """Return all rows in an order that does not depend on how they came."""
        columns = [value for value in vars(self).values() if isinstance(value, np.ndarray)]
        keys = [key for column in columns for key in (column.T if column.ndim > 1 else [column])]
        return self.of(np.lexsort(keys[::-1]))

    @abstractmethod
    def flawless(self: AnyRows) -> AnyRows:
        """Return the rows as a model that makes no mistake would have answered them."""


@dataclass(frozen=True)
class Rows(Answered):
    """Of class indices: with `[rows, classes]` probabilities.

    `positive` is the class that binary metrics are about, None with more classes: then they are averages over the
    classes that have rows.
    """

    true: Indices
    decided: Indices
    probabilities: NDArray[np.floating[Any]]
    positive: int | None = None
    groups: Indices | None = None
    strangeness: NDArray[np.floating[Any]] | None = None  # of pictures, where the model tells it

    @property
    def grouping(self) -> Indices | None:
        return self.groups

    @property
    def ranked(self) -> Sequence[int]:
        """The classes that metrics are about: the positive one, or each that has rows."""
        return np.unique(self.true).tolist() if self.positive is None else (self.positive,)

    @property
    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """The rows by true (outer) and decided class."""
        counts = np.zeros((self.probabilities.shape[1],) * 2, np.int64)
        np.add.at(counts, (self.true, self.decided), 1)
        return tuple(tuple(int(n) for n in row) for row in counts)

    def flawless(self) -> Rows:
        certain = np.eye(self.probabilities.shape[1])[self.true]
        return replace(self, decided=self.true, probabilities=certain)


@dataclass(frozen=True)
class NumberRows(Answered):
    """Of numbers: decided is what was predicted, and between `[rows]` lower and upper the true value is promised."""

    true: Floats
    decided: Floats
    lower: Floats
    upper: Floats
    groups: Indices | None = None

    @property
    def grouping(self) -> Indices | None:
        return self.groups

    @property
    def errors(self) -> Floats:
        """By how much each prediction is too high."""
        return np.asarray(self.decided - self.true)

    def flawless(self) -> NumberRows:
        return replace(self, decided=self.true)
