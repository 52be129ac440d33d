"""What a person should look at before the first run: said on the screen and in the file, and decided by nobody."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from common.tables.cleaning import Cleaning
from common.text import counted
from config.onboard.guesses import are_days
from config.onboard.profile import ID_SHARE, Column, RawTable, Role

# numbers that stand for: not measured
SENTINELS = frozenset({-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, 99.0, 999.0, 9999.0, 99999.0})
LEAST_SENTINELS = 2
PERSON = re.compile(
    r"^(first|last|given|family|middle|sur|fore|full|maiden|christian|patient|customer|client|user)?[ _.-]?names?$"
    r"|^(first|last|surname|forename|e-?mail|phone|telephone|mobile|address|street|ssn|nachname|vorname|prenom|nom)$"
    r"|(^|[ _.-])(e-?mail|phone|address)([ _.-]|$)|(?<=[a-z])Name$",
    re.IGNORECASE,
)
LEAST_PEOPLE = 5
SENTENCE_WORDS = 3.5
SHOWN = 3


def look_out(
    raw: RawTable, columns: Sequence[Column], cleaning: Cleaning, roles: Mapping[str, Role]
) -> dict[str, list[str]]:
    """Return what to look at in the columns that are features, by column."""
    hints = {c.name: [*_hints(raw, c, cleaning)] for c in columns if c.name not in roles}
    return {name: sentences for name, sentences in hints.items() if sentences}


def _hints(raw: RawTable, column: Column, cleaning: Cleaning) -> Iterator[str]:
    shown = repr(column.name)
    if column.strange:
        yield _strange(raw, column)
    if column.type == "text" and PERSON.search(column.name.strip()) and column.distinct >= LEAST_PEOPLE:
        yield (
            f"{shown} says by its name who somebody is ({column.distinct} values): the model would learn it and pages "
            f"show it. {_say('drop', column)} leaves it out."
        )
    elif column.type == "text" and column.words >= SENTENCE_WORDS:
        yield (
            f"{shown} holds sentences ({column.words:.1f} words on average), each taken for a category. If people "
            f"wrote them, {_say('drop', column)}."
        )
    if column.type == "text":
        return
    if (sentinel := _sentinel(raw, column, cleaning)) is not None:
        text, count, low, high = sentinel
        yield (
            f"{shown} is {text} in {counted(count, 'row')} ({raw.place(column.name, text)}), and from {low:g} to "
            f"{high:g} in all others. If that means missing, say --null {text}, or add '{text}' to data.null_values."
        )
    if are_days(column):
        yield (
            f"{shown} reads as dates written in one ({column.minimum:.0f}): as quantities they leap at the end of each "
            f"month. {_say('type', column, '=date')} makes year, month, weekday and days of them."
        )
    elif column.type == "int" and column.uniqueness >= ID_SHARE and column.distinct > 10:
        yield f"{shown} differs in every row; it is read as a quantity. If it names the row, {_say('id', column)}."


def _say(option: str, column: Column, more: str = "") -> str:
    return f"--{option} {shlex.quote(column.name + more)}"


def _strange(raw: RawTable, column: Column) -> str:
    total = column.rows - column.missing
    rows = sum(count for _, count in column.strange)
    listed = ", ".join(f"{text!r} ({count} times)" for text, count in column.strange[:SHOWN])
    more = f" and {len(column.strange) - SHOWN} other texts" if len(column.strange) > SHOWN else ""
    first = column.strange[0][0]
    return (
        f"{column.name!r} is a number in {total - rows} of {total} rows, but also {listed}{more}, first in "
        f"{raw.place(column.name, first)}: so all of it is read as text. To read numbers, clean the file, or let such "
        f"texts mean missing: {_say('type', column, '=numeric')}, or --null {shlex.quote(first)} for each."
    )


def _sentinel(raw: RawTable, column: Column, cleaning: Cleaning) -> tuple[str, int, float, float] | None:
    """Return a number far outside all others that comes back, as written, how often, and the others' range."""
    extremes = [value for value in (column.minimum, column.maximum) if value in SENTINELS]
    if not extremes:
        return None
    numbers = np.asarray(cleaning.typed(raw.texts(column.name), "float"), np.float64)
    for value in extremes:
        others = numbers[(numbers != value) & np.isfinite(numbers)]
        count = int((numbers == value).sum())
        if not len(others) or count < LEAST_SENTINELS:
            continue
        low, high = float(others.min()), float(others.max())
        gap = low - value if value < low else value - high
        if gap > max(high - low, 1.0) or (value < 0 <= low and abs(value) > 9):
            texts = raw.texts(column.name)
            return texts[int(np.flatnonzero(numbers == value)[0])].as_py().strip(), count, low, high
    return None
