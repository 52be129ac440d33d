"""How numbers are written in a table that nobody has described: decimal commas, thousands, percent, odd texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from common.errors import DataError
from common.tables.cleaning import Cleaning, Decimal, Thousands
from common.text import counted
from config.onboard.profile import Column, RawTable, Role, look

# the first that makes most columns numbers is taken: 1,234 alone is rather a thousand than a decimal comma
WRITINGS: tuple[tuple[Decimal, Thousands | None], ...] = (
    (".", None),
    (".", ","),
    (",", None),
    (",", "."),
    (".", " "),
    (",", " "),
    (".", "'"),
)
UNCERTAIN = r"^[-+]?\d{1,3}[.,]\d{3}$"
MOST_NULLS_SHOWN = 6
Notes = dict[str, Sequence[str]]  # sentences by setting


@dataclass(frozen=True)
class Writing:
    """What was found out about how a table is written, with the sentences that say why."""

    cleaning: Cleaning
    notes: Notes


def guess_writing(raw: RawTable, columns: Sequence[str], cleaning: Cleaning) -> Writing:
    """Return how blanks, decimals, thousands and percent are written in some columns."""
    notes: Notes = {}
    if padded := _padded(raw):
        notes["data.trim"] = [padded]
    texts = {name: pc.drop_null(raw.texts(name)) for name in columns if _is_text(raw.table[name].type)}
    texts = {name: column.filter(pc.not_equal(pc.utf8_trim_whitespace(column), "")) for name, column in texts.items()}
    odd = {name: column for name, column in texts.items() if not _are_numbers(column, cleaning)}
    candidates = [
        replace(cleaning, decimal=decimal, thousands=thousands, percent=percent)
        for decimal, thousands in WRITINGS
        for percent in (False, True)
    ]
    scores = [sum(_are_numbers(column, candidate) for column in odd.values()) for candidate in candidates]
    chosen = candidates[scores.index(max(scores))]
    gained = [name for name, column in odd.items() if _are_numbers(column, chosen)]
    for key, is_used in _signs(chosen):
        evidence = [(name, text) for name in gained if (text := _first(odd[name], is_used)) is not None]
        if evidence:
            notes[key] = [_written(raw, evidence, odd)]
    if "data.thousands" in notes or "data.decimal" in notes:
        notes = _with_doubt(notes, [odd[name] for name in gained])
    return Writing(chosen, notes)


def _signs(chosen: Cleaning) -> Iterator[tuple[str, str]]:
    if chosen.decimal == ",":
        yield "data.decimal", ","
    if chosen.thousands:
        yield "data.thousands", chosen.thousands
    if chosen.percent:
        yield "data.percent", "%"


def _written(raw: RawTable, evidence: Sequence[tuple[str, str]], texts: Mapping[str, Any]) -> str:
    name, text = evidence[0]
    more = f"; {', '.join(repr(other) for other, _ in evidence[1:4])} too" if len(evidence) > 1 else ""
    rows = counted(len(texts[name]), "row")
    return f"{name!r} is written so in {rows}, such as {text!r} ({raw.place(name, text)}){more}."


def _with_doubt(notes: Notes, columns: Sequence[Any]) -> Notes:
    """Return the notes with a word of warning where each number could be read in another way too."""
    if any(not pc.all(pc.match_substring_regex(pc.utf8_trim_whitespace(c), UNCERTAIN)).as_py() for c in columns):
        return notes
    key = "data.thousands" if "data.thousands" in notes else "data.decimal"
    return {**notes, key: [*notes[key], "If that sign stands before a fraction instead, set data.decimal to it."]}


def _is_text(arrow: Any) -> bool:
    return pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or pa.types.is_dictionary(arrow)


def _are_numbers(texts: Any, cleaning: Cleaning) -> bool:
    """Return whether texts, whatever means missing left out, are numbers as `cleaning` reads them."""
    if cleaning.percent:
        is_percent = pc.match_substring(texts, "%")
        if pc.any(is_percent).as_py() and not pc.all(is_percent).as_py():
            return False  # is 0.5 half of a percent there, or of all?
    column = look("", texts, cleaning)
    return column.type != "text" and bool(len(texts))


def _first(texts: Any, sign: str) -> str | None:
    signs = [" ", "\u00a0", "\u202f"] if sign == " " else ["'", "\u2019"] if sign == "'" else [sign]
    hits = texts.filter(pc.match_substring_regex(texts, f"[{''.join(signs)}]"))
    return hits[0].as_py() if len(hits) else None


def _padded(raw: RawTable) -> str:
    """Return which texts have blanks around them, or nothing."""
    counts = {}
    for name in raw.table.column_names:
        if _is_text(raw.table[name].type):
            texts = raw.texts(name)
            padded = texts.filter(pc.match_substring_regex(texts, r"^\s+\S|\S\s+$"))
            if len(padded):
                counts[name] = (len(padded), padded[0].as_py())
    if not counts:
        return ""
    name, (_, text) = max(counts.items(), key=lambda pair: pair[1][0])
    total = sum(count for count, _ in counts.values())
    return f"Blanks stand around {counted(total, 'value')}, such as {text!r} in {name!r} ({raw.place(name, text)})."


def with_odd_texts(
    raw: RawTable, columns: Sequence[Column], cleaning: Cleaning, classes: Mapping[str, int], given: Sequence[str]
) -> Writing:
    """Return the cleaning with the texts that mean missing among numbers, and those that were given, in its list.

    Raises DataError if such a text is a class of the label, too.
    """
    notes: list[str] = []
    for column in columns:
        if both := [text for text in column.odd if text in classes]:
            raise DataError(
                f"{raw.path}: {column.name!r} holds numbers and {both[0]!r}, which is also a class of the label",
                fix="leave the cells empty where there is no number",
            )
    odd: dict[str, list[str]] = {}
    for column in columns:
        counts = raw.counts(column.name) if column.odd else {}
        for text in column.odd:
            rows = sum(count for written, count in counts.items() if written.strip() == text)
            odd.setdefault(text, []).append(f"{rows} times among the numbers of {column.name!r}")
    notes += [f"Added: {text!r}, {', '.join(where[:3])}." for text, where in list(odd.items())[:MOST_NULLS_SHOWN]]
    notes += [f"Added: {', '.join(map(repr, [*odd][MOST_NULLS_SHOWN:]))}."] if len(odd) > MOST_NULLS_SHOWN else []
    notes += [f"Added, as given: {', '.join(map(repr, given))}."] if given else []
    added = [text for text in (*sorted(odd), *given) if text not in cleaning.null_values]
    return Writing(
        replace(cleaning, null_values=(*cleaning.null_values, *added)), {"data.null_values": notes} if notes else {}
    )


def spellings(columns: Sequence[Column], raw: RawTable, cleaning: Cleaning) -> Writing:
    """Return the cleaning with categories that differ only by capitals or inner blanks written as the commonest is."""
    respelt: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for column in columns:
        if column.type != "text" or column.looks != "plain" or not column.values:
            continue
        counts = {pair["values"]: pair["counts"] for pair in _value_counts(raw, column.name, cleaning)}
        forms: dict[str, list[str]] = {}
        for text in column.values:
            if len(text) > 1:
                forms.setdefault(" ".join(text.casefold().split()), []).append(text)
        for texts in forms.values():
            commonest = max(texts, key=lambda text: counts[text])
            for text in texts:
                if text != commonest:
                    respelt.setdefault(column.name, {})[text] = commonest
                    rows = counted(counts[text], "row")
                    notes.append(f"{column.name!r}: {text!r}, {rows}, is read as {commonest!r}.")
    if not respelt:
        return Writing(cleaning, {})
    notes = [*notes[:MOST_NULLS_SHOWN], "Take out what is not the same."]
    return Writing(replace(cleaning, spellings=respelt), {"data.spellings": notes})


def _value_counts(raw: RawTable, name: str, cleaning: Cleaning) -> list[dict[str, Any]]:
    counted: list[dict[str, Any]] = pc.value_counts(cleaning.texts(name, raw.texts(name))).to_pylist()
    return counted


def look_at_all(
    raw: RawTable, names: Sequence[str], cleaning: Cleaning, roles: Mapping[str, Role]
) -> dict[str, Column]:
    return {name: look(name, raw.table[name], cleaning, roles.get(name)) for name in names}
