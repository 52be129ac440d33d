"""The nearest name to a misspelt one, and the marks that mean: missing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MISSING_CODE = -(2**63)  # of an integer code; exact as a double too. Numbers have NaN, text the empty text

NULL_TEXTS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")  # mean: missing, unless settings differ


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return which of `words` was probably meant, or None if nothing is near."""
    by_folded = {other.strip().casefold(): other for other in words}
    near = difflib.get_close_matches(word.strip().casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[near[0]] if near else None
