"""Dates as people write them: year, month and day in one of three orders, the month as digits or an English word."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import date
from typing import Literal

Order = Literal["ymd", "dmy", "mdy"]
# for whole texts, once words are replaced; TensorFlow must know them, too. A time of day may follow and is not read
_SIGN, _BEHIND = r"[-/. ,]{1,2}", r"(?:[T ].*)?"
_DAY_FIRST = rf"\s*(\d{{1,2}}){_SIGN}(\d{{1,2}}){_SIGN}(\d{{4}}|\d{{2}}){_BEHIND}\s*"
_SHORT = rf"\s*(\d{{1,2}}){_SIGN}(\d{{1,2}}){_SIGN}(\d{{2}}){_BEHIND}\s*"
PATTERNS: dict[Order, str] = {
    "ymd": rf"\s*(\d{{4}})[-/.]?(\d{{1,2}})[-/.]?(\d{{1,2}}){_BEHIND}\s*",
    "dmy": _DAY_FIRST,
    "mdy": _DAY_FIRST,
}
GROUPS: dict[Order, tuple[int, int, int]] = {"ymd": (1, 2, 3), "dmy": (3, 2, 1), "mdy": (3, 1, 2)}  # year, month, day
EXAMPLES: dict[Order, str] = {"ymd": "2026-11-30", "dmy": "30.11.2026", "mdy": "11/30/2026"}
FIRST_SHORT = 69  # years of two digits are 1969 to 2068, as POSIX has them
_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTHS = tuple((rf"(?i)\b{name}[a-z]*\.?", str(number)) for number, name in enumerate(_NAMES, start=1))


def is_date(text: str, order: Order) -> bool:
    parts = re.fullmatch(PATTERNS[order], _without_words(text))
    if not parts:
        return False
    year, month, day = (int(parts[group]) for group in GROUPS[order])
    try:
        date(full_year(year), month, day)
    except ValueError:
        return False
    return True


def full_year(year: int) -> int:
    return year if year >= 100 else year + (1900 if year >= FIRST_SHORT else 2000)


def has_short_years(texts: Collection[str]) -> bool:
    return any(re.fullmatch(_SHORT, _without_words(text)) for text in texts)


def orders_of(texts: Collection[str]) -> list[Order]:
    """Return the orders in which all texts are dates; two if no day is later than the twelfth.

    None where years of two digits seem to stand first, which cannot be told from days.
    """
    orders = [order for order in PATTERNS if all(is_date(text, order) for text in texts)]
    if _are_years_first(texts):
        return []
    if any(text.strip()[:1].isalpha() for text in texts):  # Jan 1, 2026
        return [order for order in orders if order != "dmy"]
    if any(text != _without_words(text) for text in texts):
        return [order for order in orders if order != "mdy"]
    return orders


def _are_years_first(texts: Collection[str]) -> bool:
    """Return whether all texts may be year, month and day, and the first part varies far less than the last."""
    parts = [re.fullmatch(_SHORT, _without_words(text)) for text in texts]
    if not all(found and int(found[2]) <= 12 and 1 <= int(found[3]) <= 31 for found in parts):
        return False
    first, last = ({found[group] for found in parts if found} for group in (1, 3))
    return 2 * len(first) <= len(last)


def _without_words(text: str) -> str:
    for word, number in MONTHS:
        text = re.sub(word, number, text)
    return text
