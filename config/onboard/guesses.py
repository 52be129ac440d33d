"""Rules of thumb for data nobody has described yet. Each returns its reason along with its answer."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from common.errors import ConfigError
from config.onboard.profile import FEW_VALUES, ID_SHARE, Column, Role

ID_NAME = re.compile(
    r"(^|[_\s.-])(id|uuid|guid)$|^(id|uuid|guid)([_\s.-]|$)|(?<=[a-z])(Id|ID)$|^(index|row|unnamed: ?0|no|nr)$", re.I
)
RARE = 0.2  # share of a class below which accuracy says little
ASK_FOR_RECALL = "{objective: recall_at_least, at_least: 0.95}."
MOST_PATTERNS = 500  # with more, the splits keep their weights to within a few points
SMALL_ROWS = 200  # with fewer, quantities may well look as if they were spread evenly
LEAST_DAYS = 3


def why_ignored(column: Column, role: Role | None) -> str | None:
    """Return why a column should be left out, or None. `role`: what the person said of it."""
    if role in ("id", "drop"):
        return {"id": "Given as an id.", "drop": "As given."}[role]
    values = column.rows - column.missing
    if not values:
        return "No row has a value."
    if column.distinct == 1:
        return f"Always the same value{f': {column.values[0]!r}' if column.values else ''}."
    if role is None:
        return _why_no_feature(column, values)
    return "Lists or records. Make columns of them to learn from them." if column.looks == "nested" else None


def _why_no_feature(column: Column, values: int) -> str | None:
    is_discrete = column.type != "float"
    looks_named = ID_NAME.search(column.name) is not None and is_discrete
    repeats = values - column.distinct
    reasons = (
        (
            looks_named and column.uniqueness >= 0.9 and repeats,
            f"An id, by its name; {repeats} of {values} rows repeat one. If those are of one person or thing, say "
            f"--group-by {shlex.quote(column.name)}, or they may stand in train and test both.",
        ),
        (looks_named and column.uniqueness >= 0.9, f"An id, by its name and {column.distinct} distinct values."),
        (
            looks_named and column.distinct > 20,
            "By its name an id that comes back: if its rows belong together, make it split.group_by: say "
            f"--group-by {shlex.quote(column.name)}.",
        ),
        (column.looks == "sequence", "Counts the rows."),
        (column.looks == "nested", "Lists or records. Make columns of them to learn from them."),
        (
            column.looks == "date",
            f"Dates. To learn from them, say --type {shlex.quote(column.name + '=date')}: they become year, month, "
            f"weekday and days. To test on the latest: --time {shlex.quote(column.name)}.",
        ),
        (
            column.looks == "decorated number",
            "Numbers written with signs or separators ($ % , '). Clean them to learn from them.",
        ),
        (
            column.looks == "prose",
            "Free text: the network reads numbers and categories. If these are categories: --feature "
            f"{shlex.quote(column.name)}.",
        ),
        (
            are_days(column) and (column.names_rows or column.is_even),
            f"Dates written in one{', ' if column.names_rows else ''}{column.names_rows}. To learn from them, say "
            f"--type {shlex.quote(column.name + '=date')}; to test on the latest, --time {shlex.quote(column.name)}.",
        ),
        (
            column.names_rows,
            f"Whole numbers {column.names_rows}, {column.distinct} distinct ones in {values} rows, like an id. "
            f"{_if_quantity(column)}",
        ),
        (
            column.is_even and column.rows >= SMALL_ROWS,
            f"{column.distinct} distinct values in {values} rows, spread evenly over their range, like an id. "
            f"{_if_quantity(column)}",
        ),
        (
            column.type == "text" and column.uniqueness >= ID_SHARE and column.distinct > 10,
            f"{column.distinct} distinct values in {values} rows, like an id. {_if_quantity(column)}",
        ),
        (
            column.type == "text" and column.distinct > FEW_VALUES and column.uniqueness > 0.5,
            f"Text with {column.distinct} distinct values in {values} rows: most of them would never be seen again.",
        ),
    )
    return next((why for holds, why in reasons if holds), None)


def _if_quantity(column: Column) -> str:
    what = "categories" if column.type == "text" else "a quantity"
    return f"If it is {what}: --feature {shlex.quote(column.name)}."


def are_days(column: Column) -> bool:
    """Return whether whole numbers are days as 20200131."""
    if column.type != "int" or column.distinct < LEAST_DAYS:
        return False
    if not 19000101 <= (column.minimum or 0) <= (column.maximum or 0) <= 21001231:
        return False
    sample = column.values or (f"{column.minimum:.0f}", f"{column.maximum:.0f}")
    return all(_is_day(text) for text in sample)


def _is_day(text: str) -> bool:
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return False
    return True


def deals_rows(copies: Sequence[int]) -> bool:
    """Return whether rows must be dealt one by one, given how often each different row of features is there.

    Equal rows go to one split else. As many rows as the squares of the copies weigh are as good as different.
    """
    rows = sum(copies)
    return rows**2 / sum(count**2 for count in copies) < min(MOST_PATTERNS, rows / 10)


def split_weights(rows: int) -> tuple[int, int, int]:
    """Return train, eval and test in percent: small files test on more, for at least some 30 rows."""
    if rows < 100:
        return 40, 20, 40
    return (50, 20, 30) if rows < 200 else (64, 16, 20)


def recipe(rows: int, *, is_number: bool) -> dict[str, Any]:
    """Return how to train by rows of the training split: enough steps on few rows, few passes over many.

    Numbers are predicted without batch normalization, beside which dropout shifts them (Li et al. 2019), and in smaller
    steps: on five folds of the diabetes table R² is 0.469 so, and 0.425 by the recipe of classes (ridge: 0.481).
    """
    table = ((700, 16, 200, 40), (10_000, 32, 100, 20), (100_000, 128, 50, 8), (1_000_000, 512, 20, 4))
    batch_size, epochs, patience = next((rest for most, *rest in table if rows < most), (1024, 10, 2))
    steps = {"learning_rate": 1e-3, "epochs": epochs, "batch_size": batch_size, "early_stopping_patience": patience}
    if is_number:
        return {"dropout": 0.2, "batch_normalization": False, **steps, "learning_rate": 3e-4}
    return {"dropout": 0.3, **steps}


def presence_floor(share: float, smallest_split: float) -> tuple[float, bool]:
    """Return the least share of values to insist on, and whether each split surely has at least one.

    Three standard deviations of the share in the smallest split, at least 0.1, below what was observed.
    """
    deviation = math.sqrt(share * (1 - share) / max(smallest_split, 1))
    return max(0.0, math.floor(100 * (share - max(0.1, 3 * deviation))) / 100), share * smallest_split >= 10


def choose_objective(classes: Mapping[str, int], wanted: str | None) -> tuple[str, str] | None:
    """Return what two classes' decision threshold is chosen for, `wanted` if given, and why; None with more classes."""
    if len(classes) != 2:
        if wanted:
            raise ConfigError("no decision threshold is chosen", got=f"{len(classes)} classes", wanted="two of them")
        return None
    if wanted:
        return wanted, "As given."
    rarest = min(classes, key=lambda text: classes[text])
    share = classes[rarest] / sum(classes.values())
    if share < RARE:
        return "f1", f"Only {share:.1%} are {rarest}: accuracy would be highest by never saying so."
    return "accuracy", f"No class is rare. If one mistake is the worse one, ask for a recall: {ASK_FOR_RECALL}"
