"""The three types that a column may have, and what Arrow's many are to us."""

from __future__ import annotations

import re
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from common.errors import DataError

Dtype = Literal["int", "float", "string"]
DTYPES: tuple[Dtype, ...] = ("int", "float", "string")  # each holds those before it
ARROW_TYPES = {"int": pa.int64(), "float": pa.float64(), "string": pa.string()}
FLOAT32_LIMIT = 3.4028235677973366e38  # from here on, a number rounds to an infinite float32
FORMULA = r"^[=+\-@\t\r]"
NUMBER = r"^[+-](?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"  # begins like a formula, and is not


def dtype_of(name: str, arrow: Any) -> Dtype | None:
    """Return the narrowest of our types that holds a column of an Arrow type; None for nulls only.

    Raises DataError for nested types.
    """
    if pa.types.is_dictionary(arrow):
        return dtype_of(name, arrow.value_type)
    if pa.types.is_null(arrow):
        return None
    if pa.types.is_nested(arrow):
        raise DataError(
            f"column {name!r} holds lists or records",
            got=str(arrow),
            wanted="one value a row",
            fix="flatten it before, or leave it out",
        )
    if pa.types.is_integer(arrow):
        return "int"
    return "float" if pa.types.is_floating(arrow) or pa.types.is_decimal(arrow) else "string"


def decoded(column: Any) -> Any:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def as_texts(column: Any) -> Any:
    """Return a column as texts, whole numbers without a fraction whatever type they travelled in."""
    if pa.types.is_floating(column.type):
        # pandas turns whole numbers into floats where one is missing; how Arrow writes 1.0 depends on its version
        whole = pc.all(pc.equal(pc.floor(column), column)).as_py()
        texts = [None if v is None or v != v else str(int(v)) if whole else repr(v) for v in column.to_pylist()]
        column = pa.array(texts, pa.string())
    return pc.cast(column, pa.string())


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
