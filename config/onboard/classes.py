"""Read the classes of a label column and refuse what cannot be learned as classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from common.errors import ConfigError, DataError
from common.text import NULL_TEXTS, nearest
from config.onboard.guesses import guess_positive
from config.onboard.profile import RawTable

MOST_CLASSES = 50
LEAST_ROWS_OF_CLASS = 5


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
    """Return names on one line, twenty at most."""
    return ", ".join(names[:20]) + (f" … and {len(names) - 20} more" if len(names) > 20 else "")
