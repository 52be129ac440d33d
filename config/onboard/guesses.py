"""Rules of thumb for data nobody has described yet. Each returns its reason along with its answer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import ConfigError, DataError
from common.text import NULL_TEXTS, nearest
from config.onboard.profile import FEW_VALUES, Column, RawTable

POSITIVE_WORDS = frozenset(
    {"1", "1.0", "yes", "ja", "oui", "true", "positive", "pos", "malignant", "disease", "diseased", "sick", "ill"}
    | {"cancer", "fraud", "fraudulent", "spam", "default", "defaulted", "churn", "churned", "died", "dead", "bad"}
    | {"abnormal", "defect", "defective", "fail", "failed", "failure", "anomaly", "attack"}
)
POSITIVE_LETTERS = {"m": "b", "y": "n", "t": "f", "p": "n"}  # a letter says something only beside its opposite
ID_NAME = re.compile(
    r"(^|[_\s.-])(id|uuid|guid)$|^(id|uuid|guid)([_\s.-]|$)|(?<=[a-z])(Id|ID)$|^(index|row|unnamed: ?0|no|nr)$", re.I
)
ID_SHARE = 0.99  # data_gate.id_uniqueness: what the data gate would stop at
RARE = 0.2  # share of a class below which accuracy says little
ASK_FOR_RECALL = "{objective: recall_at_least, at_least: 0.95}."
MOST_CLASSES = 50
MOST_PATTERNS = 500  # with more, the splits keep their weights to within a few points
LEAST_ROWS_OF_CLASS = 5


def guess_positive(classes: Mapping[str, int]) -> tuple[str, str]:
    by_word = {text.strip().casefold(): text for text in classes}
    first, second = by_word
    for word, other in ((first, second), (second, first)):
        is_word = word in POSITIVE_WORDS and other not in POSITIVE_WORDS
        if is_word or POSITIVE_LETTERS.get(word) == other:
            return by_word[word], f"Guessed: {by_word[word]!r} says it. Its probability is what the model reports."
    rarer = min(reversed([*classes]), key=lambda text: classes[text])
    return (
        rarer,
        "Guessed: the rarer class. Its probability is what the model reports; change it if you ask for the other.",
    )


def why_ignored(column: Column, is_given: bool) -> str | None:
    """Return why a column should be left out, or None."""
    is_discrete = column.type != "float"
    looks_named = ID_NAME.search(column.name) is not None and is_discrete
    values = column.rows - column.missing
    reasons = (
        (is_given, "Given as an id."),
        (not values, "No row has a value."),
        (column.distinct == 1, f"Always the same value{f': {column.values[0]!r}' if column.values else ''}."),
        (looks_named and column.uniqueness >= 0.9, f"An id, by its name and {column.distinct} distinct values."),
        (
            looks_named and column.distinct > 20,
            "By its name an id that comes back: if its rows belong together, make it split.group_by.",
        ),
        (column.looks == "sequence", "Counts the rows."),
        (column.looks == "nested", "Lists or records. Make columns of them to learn from them."),
        (
            column.looks == "date",
            "Dates. To learn from them, make a number of them (age in days, month). To test on the latest: --time.",
        ),
        (
            column.looks == "decorated number",
            "Numbers written with signs or separators ($ % , '). Clean them to learn from them.",
        ),
        (column.looks == "prose", "Free text: the network reads numbers and categories."),
        (
            is_discrete and column.uniqueness >= ID_SHARE and column.distinct > 10,
            f"{column.distinct} distinct values in {values} rows, like an id. A quantity is better described as FLOAT.",
        ),
        (
            column.type == "text" and column.distinct > FEW_VALUES and column.uniqueness > 0.5,
            f"Text with {column.distinct} distinct values in {values} rows: most of them would never be seen again.",
        ),
    )
    return next((why for holds, why in reasons if holds), None)


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


def training(rows: int) -> dict[str, Any]:
    """Return optimizer settings by rows of the training split: enough steps on few rows, few passes over many."""
    table = ((700, 16, 200, 40), (10_000, 32, 100, 20), (100_000, 128, 50, 8), (1_000_000, 512, 20, 4))
    batch_size, epochs, patience = next((rest for most, *rest in table if rows < most), (1024, 10, 2))
    return {"learning_rate": 1e-3, "epochs": epochs, "batch_size": batch_size, "early_stopping_patience": patience}


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


def read_classes(raw: RawTable, label: str) -> dict[str, int]:
    """Return rows by class, numbers in their order and texts in theirs.

    Raises DataError if the label cannot be learned.
    """
    counts = raw.counts(label)
    marks = [text for text in counts if text in NULL_TEXTS and text != "None"]
    if marks:
        unlabelled = sum(counts[text] for text in marks)
        raise DataError(
            f"{raw.path}: rows without a label in {label!r}",
            got=f"{unlabelled} of {raw.table.num_rows} hold {', '.join(map(repr, marks))}, which mean: missing",
            wanted="a class in every row",
            fix="label them or take them out; a class needs another name than those",
        )
    numbers = [_number(text) for text in counts]
    is_numeric = None not in numbers
    has_fractions = is_numeric and any(number != int(number) for number in numbers if number is not None)
    if is_numeric and (len(counts) > MOST_CLASSES or (has_fractions and len(counts) > 10)):
        raise DataError(
            f"{raw.path}: {label!r} looks like a quantity; predicting those (regression) is not supported",
            got=f"{len(counts)} distinct numbers",
            wanted="classes",
            fix="make classes of it (low, middle, high), or name another --label",
        )
    if len(counts) > MOST_CLASSES:
        raise DataError(
            f"{raw.path}: {label!r} has too many classes",
            got=len(counts),
            wanted=f"at most {MOST_CLASSES}",
            fix="merge rare ones, or name another --label",
        )
    if len(counts) < 2:
        raise DataError(
            f"{raw.path}: every row has the same label in {label!r}",
            got=next(iter(counts)),
            wanted="at least two classes",
        )
    forms: dict[str, list[str]] = {}
    for text in counts:
        forms.setdefault(text.strip().casefold(), []).append(text)
    if alike := [texts for texts in forms.values() if len(texts) > 1]:
        raise DataError(
            f"{raw.path}: classes in {label!r} differ only by spaces or capitals",
            got=", ".join(map(repr, alike[0])),
            fix="write them alike",
        )
    if rare := {text: count for text, count in counts.items() if count < LEAST_ROWS_OF_CLASS}:
        few = [f"{text!r}: {count}" for text, count in rare.items()]
        raise DataError(
            f"{raw.path}: classes in {label!r} with too few rows to be learned and tested",
            got=shortened(few),
            wanted=f"at least {LEAST_ROWS_OF_CLASS} each",
            fix="merge them, or drop the rows",
        )
    return {text: counts[text] for text in sorted(counts, key=lambda text: (_number(text) or 0.0, text))}


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*[-+]?\d+(\.\d*)?\s*", text) else None


def choose_positive(classes: Mapping[str, int], wanted: str | None) -> tuple[str | None, str]:
    """Return the positive class of two, given or guessed, and the reason. Raises ConfigError."""
    if wanted is None:
        return guess_positive(classes) if len(classes) == 2 else (None, "")
    if len(classes) != 2:
        raise ConfigError("--positive is for two classes only", got=f"{len(classes)} classes", fix="leave it out")
    if wanted not in classes:
        near = nearest(wanted, [*classes])
        raise ConfigError(
            "--positive is not a class of the label",
            got=wanted,
            wanted=f"one of {shortened([*classes])}",
            fix=f"did you mean {near!r}?" if near else "",
        )
    return wanted, "As given."


def shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" … and {len(names) - 20} more" if len(names) > 20 else "")
