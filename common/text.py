"""Words and numbers as people write them: counts, nearest names, decimal commas, marks that mean missing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

MISSING_CODE = -(2**63)  # of an integer code; exact as a double too. Numbers have NaN, text the empty text

NULL_TEXTS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")  # mean: missing, unless settings differ
DECIMAL_COMMA = r"^\s*([+-]?[0-9]+),([0-9]+(?:[eE][+-]?[0-9]+)?)\s*$"


def with_point(text: str) -> str:
    """Return `12,76` as `12.76`; what has several commas, or a point too, as it is: nobody knows what it means."""
    return re.sub(DECIMAL_COMMA, r"\1.\2", text)


def counted(count: int, noun: str) -> str:
    """Return how many of what, such as 1 row or 2,000 rows."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shortened(names: Sequence[str]) -> str:
    """Return names in a row, of many the first twenty and how many more there are."""
    return ", ".join(names[:20]) + (f" … and {len(names) - 20} more" if len(names) > 20 else "")


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return which of `words` was probably meant, or None if nothing is near."""
    by_folded = {other.strip().casefold(): other for other in words}
    near = difflib.get_close_matches(word.strip().casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[near[0]] if near else None
