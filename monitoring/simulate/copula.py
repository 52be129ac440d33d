"""Rows drawn like a table's, by a Gaussian copula for each class.

Each column is a normal score: of its rank for a number, of the middle of its share for a category, and whether it is
missing is a column of its own. What is drawn keeps the ranks' correlations and takes its values from the column itself,
so no number lies beyond those seen and none has more digits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

MOST_DECIMALS = 9
LABEL = "\0label"  # no column is called so
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Number:
    """`values` are sorted. Where most occur more than once only these are drawn, else also what lies between."""

    values: Floats
    is_whole: bool
    is_tied: bool
    decimals: int

    @staticmethod
    def of(values: Sequence[float]) -> Number:
        ordered = np.sort(np.asarray(values, np.float64))
        is_whole = all(isinstance(value, int) for value in values)
        decimals = max((len(f"{value!r}".partition(".")[2]) for value in values), default=0)
        return Number(ordered, is_whole, 2 * len(np.unique(ordered)) < len(ordered), min(decimals, MOST_DECIMALS))

    def scores(self, values: Sequence[float]) -> Floats:
        return np.asarray(stats.norm.ppf((stats.rankdata(values) - 0.5) / len(values)))

    def draw(self, quantiles: Floats) -> list[Any]:
        places = np.clip(quantiles * len(self.values) - 0.5, 0, len(self.values) - 1)
        if self.is_tied:
            drawn = self.values[np.round(places).astype(int)]
        else:
            drawn = np.interp(places, np.arange(len(self.values)), self.values).round(self.decimals)
        return drawn.round().astype(int).tolist() if self.is_whole else drawn.tolist()


@dataclass(frozen=True)
class Category:
    """Each value and the share of the rows up to it, the most frequent first."""

    names: tuple[Any, ...]
    up_to: Floats

    @staticmethod
    def of(values: Sequence[Any]) -> Category:
        counts = Counter(values).most_common()
        shares = np.cumsum([count for _, count in counts]) / len(values)
        return Category(tuple(name for name, _ in counts), shares)

    def scores(self, values: Sequence[Any]) -> Floats:
        middles = np.diff(self.up_to, prepend=0.0) / -2 + self.up_to
        by_name = dict(zip(self.names, stats.norm.ppf(middles), strict=True))
        return np.array([by_name[value] for value in values])

    def draw(self, quantiles: Floats) -> list[Any]:
        places = np.minimum(np.searchsorted(self.up_to, quantiles, "right"), len(self.names) - 1)
        return [self.names[place] for place in places]


@dataclass(frozen=True)
class Copula:
    """Draws rows of some columns. `gaps`: for each column that has any, whether a value is missing."""

    columns: Mapping[str, Number | Category]
    gaps: Mapping[str, Category]
    loadings: Floats  # [columns and gaps, same]: standard normals times this have the correlations of the scores

    @staticmethod
    def of(columns: Mapping[str, Sequence[Any]], codes: Collection[str] = ()) -> Copula:
        """Fit one to columns; None is missing. Texts and `codes` are categories, all else numbers."""
        marginals: dict[str, Number | Category] = {}
        gaps: dict[str, Category] = {}
        scores = []
        for name, values in columns.items():
            present = [value for value in values if value is not None]
            if present:
                is_category = name in codes or isinstance(present[0], str)
                marginals[name] = Category.of(present) if is_category else Number.of(present)
                of_column = np.zeros(len(values))  # the middle, where there is no value
                of_column[[value is not None for value in values]] = marginals[name].scores(present)
                scores.append(of_column)
            else:
                marginals[name] = Category((None,), np.ones(1))
                scores.append(np.zeros(len(values)))
        for name, values in columns.items():
            is_missing = [value is None for value in values]
            if any(is_missing) and not all(is_missing):
                gaps[name] = Category.of(is_missing)
                scores.append(gaps[name].scores(is_missing))
        return Copula(marginals, gaps, _loadings(np.array(scores)))

    def draw(self, rows: int, chance: np.random.Generator) -> dict[str, list[Any]]:
        scores = chance.standard_normal((rows, len(self.loadings))) @ self.loadings.T
        quantiles = iter(stats.norm.cdf(scores).T)
        drawn = {name: column.draw(next(quantiles)) for name, column in self.columns.items()}
        for name, gap in self.gaps.items():
            is_missing = gap.draw(next(quantiles))
            drawn[name] = [None if gone else value for gone, value in zip(is_missing, drawn[name], strict=True)]
        return drawn


@dataclass(frozen=True)
class Population:
    """The classes of a table, each with its share and its copula; of numbers one, the labels among its columns."""

    shares: Mapping[str, float]
    copulas: Mapping[str, Copula]
    is_number: bool = False

    @staticmethod
    def of(columns: Mapping[str, Sequence[Any]], labels: Sequence[str], codes: Collection[str] = ()) -> Population:
        counts = Counter(labels)
        copulas = {}
        for label in sorted(counts):
            of_class = [i for i, each in enumerate(labels) if each == label]
            rows = {name: [values[i] for i in of_class] for name, values in columns.items()}
            copulas[label] = Copula.of(rows, codes)
        return Population({label: counts[label] / len(labels) for label in copulas}, copulas)

    @staticmethod
    def of_numbers(
        columns: Mapping[str, Sequence[Any]], labels: Sequence[float], codes: Collection[str] = ()
    ) -> Population:
        return Population({"": 1.0}, {"": Copula.of({**columns, LABEL: labels}, codes)}, is_number=True)

    def draw(
        self, rows: int, chance: np.random.Generator, shares: Mapping[str, float] | None = None
    ) -> tuple[dict[str, list[Any]], list[str]]:
        """Return columns and labels of so many rows, by these shares of the classes, if not by their own."""
        wanted = self.shares if shares is None else shares
        names = [*self.copulas]
        numbers = chance.choice(len(names), rows, p=[wanted.get(name, 0.0) for name in names])
        drawn = {name: copula.draw(rows, chance) for name, copula in self.copulas.items()}
        first = next(iter(drawn.values()))
        columns = {column: [drawn[names[n]][column][i] for i, n in enumerate(numbers)] for column in first}
        if self.is_number:
            return columns, [str(label) for label in columns.pop(LABEL)]
        return columns, [names[n] for n in numbers]


def _loadings(scores: Floats) -> Floats:
    """Return a root of the correlations of `[columns, rows]` scores; what does not vary goes with nothing."""
    varies = scores.std(axis=1) > 0
    correlations = np.eye(len(scores))
    if scores.shape[1] > 1 and varies.sum() > 1:
        correlations[np.ix_(varies, varies)] = np.corrcoef(scores[varies])
    values, vectors = np.linalg.eigh(correlations)
    return np.asarray(vectors * np.sqrt(np.clip(values, 0.0, None)))
