"""Texts that a spreadsheet will not take for formulas (OWASP: CSV injection)."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

FORMULA = r"^[=+\-@\t\r]"
NUMBER = r"^[+-](?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"  # begins like a formula, and is not


def safe_text(text: str) -> str:
    """Return a text as it may stand in a CSV: with an apostrophe in front if a spreadsheet would calculate it."""
    return f"'{text}" if re.match(FORMULA, text) and not re.match(NUMBER, text) else text


def safe_texts(texts: Any) -> Any:
    """Return a column of texts, an Arrow array of any kind, as `safe_text` has each."""
    is_formula = pc.match_substring_regex(texts, FORMULA)
    if not pc.any(is_formula).as_py():
        return texts
    is_formula = pc.and_not(is_formula, pc.match_substring_regex(texts, NUMBER))
    return pc.if_else(is_formula, pc.binary_join_element_wise(pa.scalar("'"), texts, ""), texts)
