"""Ways in which the world moves: rows and true labels as they would come then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from common.errors import DataError
from common.text import nearest
from monitoring.simulate.copula import Population

Columns = dict[str, list[Any]]
POOL = 20  # rows drawn for each that is kept, where rows are chosen


@dataclass(frozen=True)
class Table:
    """What rows are drawn from: the training rows' population, and which of its columns are what.

    `optional` columns may be missing, `closed` ones have no other values than those seen.
    """

    population: Population
    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    optional: frozenset[str]
    values: Mapping[str, tuple[Any, ...]]  # of categories, the most frequent first


@dataclass(frozen=True)
class Shift:
    """`kind` is one of `SHIFTS`; `column` is what it is about, if not the first that fits."""

    kind: str
    size: float
    column: str = ""


def draw(table: Table, shift: Shift, rows: int, chance: np.random.Generator) -> tuple[Columns, list[str]]:
    """Return shifted columns and true labels. Raises DataError where the table has nothing that could shift so."""
    return SHIFTS[shift.kind](table, shift, rows, chance)


def _clean(table: Table, shift: Shift, rows: int, chance: np.random.Generator) -> tuple[Columns, list[str]]:
    return table.population.draw(rows, chance)


def _covariate(table: Table, shift: Shift, rows: int, chance: np.random.Generator) -> tuple[Columns, list[str]]:
    """Choose among many rows those that are high in a number, whose normal score's mean moves by the size.

    Rows keep their labels, so that what a row means stays as it was.
    """
    name = _chosen(table.numbers, shift, "number")
    columns, labels = table.population.draw(POOL * rows, chance)
    values = np.array([np.nan if value is None else float(value) for value in columns[name]])
    present = np.flatnonzero(~np.isnan(values))
    if len(np.unique(values[present])) < 2:
        raise DataError(
            f"{name} never varies, so that no row is higher in it than another", fix="name another --column"
        )
    scores = np.zeros(len(values))
    scores[present] = stats.norm.ppf((stats.rankdata(values[present]) - 0.5) / len(present))
    weights = np.exp(np.clip(shift.size * scores, -30, 30))
    kept = chance.choice(len(labels), rows, p=weights / weights.sum())
    return {column: [cells[i] for i in kept] for column, cells in columns.items()}, [labels[i] for i in kept]


def _prior(table: Table, shift: Shift, rows: int, chance: np.random.Generator) -> tuple[Columns, list[str]]:
    """Make the rarest class more frequent: its odds times two to the power of the size."""
    if table.population.is_number:
        raise DataError("a prior shift needs classes, and the model predicts numbers", fix="choose another --shift")
    shares = table.population.shares
    rare = min(shares, key=lambda label: shares[label])
    odds = shares[rare] / (1 - shares[rare]) * 2**shift.size if shares[rare] < 1 else np.inf
    share = odds / (1 + odds) if np.isfinite(odds) else 1.0
    others = {label: each * (1 - share) / (1 - shares[rare]) for label, each in shares.items() if label != rare}
    return table.population.draw(rows, chance, {**others, rare: share})


def _concept(table: Table, shift: Shift, rows: int, chance: np.random.Generator) -> tuple[Columns, list[str]]:
    """Let a share of the rows above the median of a number belong to the next class; the rows look as before.

    Where a number is predicted, theirs is one standard deviation more.
    """
    name = _chosen(table.numbers, shift, "number")
    columns, labels = table.population.draw(rows, chance)
    values = np.array([np.nan if value is None else float(value) for value in columns[name]])
    is_moved = (values > np.nanmedian(values)) & (chance.random(rows) < shift.size)
    if table.population.is_number:
        true = np.array(labels, float)
        return columns, [str(v) for v in np.where(is_moved, true + true.std(), true).tolist()]
    classes = [*table.population.shares]
    following = dict(zip(classes, [*classes[1:], classes[0]], strict=True))
    return columns, [following[label] if moved else label for label, moved in zip(labels, is_moved, strict=True)]


def _category(table: Table, shift: Shift, rows: int, chance: np.random.Generator) -> tuple[Columns, list[str]]:
    """Call a share of a category's values by the name of the next."""
    fitting = [name for name in table.categories if len(table.values[name]) > 1]
    name = _chosen(fitting, shift, "category of two values or more")
    columns, labels = table.population.draw(rows, chance)
    values = table.values[name]
    following = dict(zip(values, [*values[1:], values[0]], strict=True))
    is_moved = chance.random(rows) < shift.size
    moved = [following.get(value, value) if m else value for value, m in zip(columns[name], is_moved, strict=True)]
    return {**columns, name: moved}, labels


def _missing(table: Table, shift: Shift, rows: int, chance: np.random.Generator) -> tuple[Columns, list[str]]:
    """Lose a share of a column's values, of one that the schema lets be missing."""
    fitting = [name for name in (*table.numbers, *table.categories) if name in table.optional]
    name = _chosen(fitting, shift, "column that may be missing")
    columns, labels = table.population.draw(rows, chance)
    is_lost = chance.random(rows) < shift.size
    kept = [None if lost else value for value, lost in zip(columns[name], is_lost, strict=True)]
    return {**columns, name: kept}, labels


SHIFTS: dict[str, Callable[[Table, Shift, int, np.random.Generator], tuple[Columns, list[str]]]] = {
    "none": _clean,
    "covariate": _covariate,
    "prior": _prior,
    "concept": _concept,
    "category": _category,
    "missing": _missing,
}
SHARES = ("concept", "category", "missing")  # of which the size is a share of the rows


def _chosen(fitting: Sequence[str], shift: Shift, what: str) -> str:
    if not fitting:
        raise DataError(f"a {shift.kind} shift needs a {what}, and the model has none", fix="choose another --shift")
    if not shift.column:
        return fitting[0]
    if shift.column not in fitting:
        near = nearest(shift.column, fitting)
        raise DataError(
            f"{shift.column!r} is no {what} of the model",
            wanted=", ".join(fitting),
            fix=f"did you mean {near!r}?" if near else "name another --column",
        )
    return shift.column
