"""The label of a table that nobody has described: its classes, and what must be done to its texts to get them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from common.errors import ConfigError, DataError
from common.text import NULL_TEXTS, counted, nearest, shortened
from config.onboard.profile import Column, RawTable

LEAST_ROWS_OF_CLASS = 5
MOST_CLASSES = 50
LEAST_QUANTITIES = 10  # so many numbers with fractions, and more, are rather amounts than codes
NA_SHARE = 0.1  # from here on, NA is rather the name of a class than a gap
OTHER = "other"
POSITIVE_WORDS = frozenset(
    {"1", "1.0", "yes", "ja", "oui", "true", "positive", "pos", "malignant", "disease", "diseased", "sick", "ill"}
    | {"cancer", "fraud", "fraudulent", "spam", "default", "defaulted", "churn", "churned", "died", "dead", "bad"}
    | {"abnormal", "defect", "defective", "fail", "failed", "failure", "anomaly", "attack"}
)
POSITIVE_LETTERS = {"m": "b", "y": "n", "t": "f", "p": "n"}  # a letter says something only beside its opposite
EVENT = "its probability is what the model reports"


@dataclass(frozen=True)
class Labels:
    """The classes with the rows of each, numbers in their order and texts in theirs, and how they came about."""

    classes: Mapping[str, int]
    label_map: Mapping[str, str]
    unlabelled: int
    merged_into: str | None
    notes: Mapping[str, Sequence[str]]  # sentences by setting
    number: Column | None = None  # what the label holds where it is a number


def is_quantity(column: Column) -> bool:
    """Return whether a label is rather a number to predict than a code of classes."""
    if column.type == "text":
        return False
    return column.distinct > MOST_CLASSES or (not column.is_whole and column.distinct > LEAST_QUANTITIES)


def read_numbers(raw: RawTable, column: Column) -> Labels:
    """Return what is to be learned of a label that is a number. Raises DataError if it cannot be learned."""
    if column.type == "text":
        odd = ", ".join(f"{text!r} ({raw.place(column.name, text)})" for text, _ in column.strange[:3])
        raise DataError(
            f"{raw.path}: {column.name!r} does not hold numbers",
            got=odd or next((repr(text) for text in raw.counts(column.name) if text.strip()), "nothing"),
            wanted="a number in every row",
            fix="correct them, or leave the cell empty: those rows are left out",
        )
    if column.distinct < 2:
        raise DataError(f"{raw.path}: every row has the same number in {column.name!r}", wanted="numbers to tell apart")
    notes: dict[str, list[str]] = {
        "data.task": [f"{column.distinct} numbers from {column.minimum:g} to {column.maximum:g}."]
    }
    if column.missing:
        rows = counted(column.missing, "row")
        notes["data.drop_unlabelled"] = [f"No number for {column.name!r} in {rows}: left out."]
    return Labels({}, {}, column.missing, None, notes, column)


def read_labels(raw: RawTable, label: str, given: Collection[str], given_map: Mapping[str, str]) -> Labels:
    """Return what is to be learned.

    `given` are classes though they usually mean missing, `given_map` says which labels are another class. Raises
    DataError if it cannot be learned, ConfigError if what is given does not fit it.
    """
    notes: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for text, count in raw.counts(label).items():
        counts[text.strip()] = counts.get(text.strip(), 0) + count
    label_map = _checked_map(given, given_map, counts, notes)
    counts = _mapped(counts, label_map)
    marks = [text for text in counts if text in NULL_TEXTS and text != "None" and text not in given]
    if "NA" in marks:
        _refuse_doubtful_na(raw, label, counts)
    if unlabelled := sum(counts.pop(text) for text in marks):
        shown = " or ".join(repr(text) if text else "nothing" for text in marks)
        place = min((raw.place(label, text) for text in raw.counts(label) if text.strip() in marks), key=len)
        notes["data.drop_unlabelled"] = [f"{shown} for {label!r} in {counted(unlabelled, 'row')} ({place}): left out."]
    _check_count(raw, label, counts)
    if spelt := {**_number_forms(counts), **_spellings(counts)}:
        told = ", ".join(f"{old!r} ({counted(counts[old], 'row')}) as {new!r}" for old, new in spelt.items())
        notes.setdefault("data.label_map", []).append(f"Taken for the same class: {told}.")
        label_map = {old: spelt.get(new, new) for old, new in label_map.items()} | spelt
        counts = _mapped(counts, spelt)
    if len(counts) < 2:
        raise DataError(
            f"{raw.path}: every row has the same label in {label!r}",
            got=next(iter(counts), "no label in any row"),
            wanted="at least two classes",
        )
    counts, merged_into = _merged(raw, label, counts, notes)
    ordered = {text: counts[text] for text in sorted(counts, key=lambda text: (_number(text) or 0.0, text))}
    return Labels(ordered, label_map, unlabelled, merged_into, notes)


def _checked_map(
    given: Collection[str], given_map: Mapping[str, str], counts: Mapping[str, int], notes: dict[str, list[str]]
) -> dict[str, str]:
    for text in (*given, *given_map):
        if text not in counts:
            near = nearest(text, [*counts])
            raise ConfigError(
                "no row has that label",
                got=repr(text),
                wanted=f"one of {shortened([*counts])}",
                fix=f"did you mean {near!r}?" if near else "",
            )
    if given_map:
        notes["data.label_map"] = ["As given."]
    return dict(given_map)


def _mapped(counts: Mapping[str, int], label_map: Mapping[str, str]) -> dict[str, int]:
    mapped: dict[str, int] = {}
    for text, count in counts.items():
        text = label_map.get(text, text)
        mapped[text] = mapped.get(text, 0) + count
    return mapped


def _refuse_doubtful_na(raw: RawTable, label: str, counts: Mapping[str, int]) -> None:
    """Raise DataError if NA is as common as a class would be."""
    if counts["NA"] < max(LEAST_ROWS_OF_CLASS, NA_SHARE * sum(counts.values())):
        return
    others = shortened([repr(text) for text in counts if text != "NA"])
    raise DataError(
        f"{raw.path}: 'NA' in {label!r} means missing as a rule, but here it may be a class (North America?)",
        got=f"{counts['NA']} of {raw.table.num_rows} rows hold 'NA'; the others {others}",
        wanted="to be told",
        fix="--class NA if it is a class; else leave those cells empty, and their rows are left out",
    )


def _check_count(raw: RawTable, label: str, counts: Mapping[str, int]) -> None:
    """Refuse more classes than anybody tells apart."""
    if len(counts) > MOST_CLASSES:
        raise DataError(
            f"{raw.path}: {label!r} has too many classes",
            got=len(counts),
            wanted=f"at most {MOST_CLASSES}",
            fix="merge rare ones (--map-label OLD=NEW), name another --label, or say --task regression of numbers",
        )


def _number_forms(counts: Mapping[str, int]) -> dict[str, str]:
    """Return the labels that are the same number as a shorter one, such as 1.0 beside 1."""
    forms: dict[float, list[str]] = {}
    for text in counts:
        if (number := _number(text)) is not None:
            forms.setdefault(number, []).append(text)
    return {text: min(texts, key=len) for texts in forms.values() for text in texts if text != min(texts, key=len)}


def _spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Return the labels that differ from a commoner one only by capitals or inner blanks."""
    forms: dict[str, list[str]] = {}
    for text in counts:
        forms.setdefault(" ".join(text.casefold().split()), []).append(text)
    commonest = {text: max(texts, key=lambda text: counts[text]) for texts in forms.values() for text in texts}
    return {text: common for text, common in commonest.items() if text != common}


def _merged(
    raw: RawTable, label: str, counts: Mapping[str, int], notes: dict[str, list[str]]
) -> tuple[dict[str, int], str | None]:
    """Return the classes with the rare ones made one of them, and its name. Raises DataError if that is rare, too."""
    rare = {text: count for text, count in counts.items() if count < LEAST_ROWS_OF_CLASS}
    if not rare:
        return dict(counts), None
    other = next((text for text in counts if text.casefold() == OTHER), OTHER)
    common = {text: count for text, count in counts.items() if text not in rare and text != other}
    rows = sum(rare.values()) + (counts[other] if other in counts and other not in rare else 0)
    few = shortened([f"{text!r}: {count}" for text, count in rare.items()])
    if rows < LEAST_ROWS_OF_CLASS or not common:
        raise DataError(
            f"{raw.path}: classes in {label!r} with too few rows to be learned and tested",
            got=few,
            wanted=f"at least {LEAST_ROWS_OF_CLASS} each",
            fix="say which class they belong to (--map-label OLD=NEW), or take their rows out",
        )
    notes["data.merge_rare_classes"] = [
        f"Too few rows to be learned and tested apart ({few}): together they are {other!r}, {rows} rows. So is any "
        "class that turns up later."
    ]
    return {**common, other: rows}, other


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


def guess_positive(classes: Mapping[str, int]) -> tuple[str, str]:
    by_word = {text.strip().casefold(): text for text in classes}
    first, second = by_word
    if {_number(first), _number(second)} == {1.0, 2.0}:
        event = by_word[first] if _number(first) == 2.0 else by_word[second]
        other = next(text for text in classes if text != event)
        return (
            event,
            f"Guessed: please check. Where classes are coded 1 and 2, {event} is the event as a rule, and {EVENT}. "
            f"If it is {other} here: --positive {other}.",
        )
    for word, other in ((first, second), (second, first)):
        is_word = word in POSITIVE_WORDS and other not in POSITIVE_WORDS
        if is_word or POSITIVE_LETTERS.get(word) == other:
            return by_word[word], f"Guessed: {by_word[word]!r} says it. Its probability is what the model reports."
    rarer = min(reversed([*classes]), key=lambda text: classes[text])
    return (
        rarer,
        "Guessed: the rarer class. Its probability is what the model reports; change it if you ask for the other.",
    )
