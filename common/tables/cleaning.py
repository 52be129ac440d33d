"""How the texts of a table become values: what a version's settings say of it, the same at every door."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from common.tables.columns import ARROW_TYPES, Dtype
from common.text import DECIMAL_COMMA, NULL_TEXTS

Decimal = Literal[".", ","]
Thousands = Literal[",", ".", " ", "'"]
CODE_LIKE = r"^0\d"  # 02139 is a code: as a number it would lose its zero
_CODE_STARTS = tuple(f"0{digit}" for digit in range(10))
WHOLE = r"^[-+]?\d+$"
PERCENT = r"\s*%$"
_SEPARATORS = {",": ",", ".": r"\.", " ": "[ \u00a0\u202f]", "'": "['\u2019]"}
_POINT_ZERO = r"^([-+]?\d+)\.0*$"
_PLUS = r"^\+"


@dataclass(frozen=True)
class Cleaning:
    """What is done to texts before they are values.

    `thousands` parts the digits of 1,234,567 in threes; `decimal` stands before a fraction; with `percent`, 12.5% is
    12.5. A text of `null_values` means: missing. `spellings` says by column what is written otherwise.
    """

    trim: bool = True
    decimal: Decimal = "."
    thousands: Thousands | None = None
    percent: bool = False
    null_values: tuple[str, ...] = NULL_TEXTS
    spellings: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False)

    @property
    def with_decimal_commas(self) -> Cleaning:
        """It, reading 1,5 as a number, too, where that can mean nothing else."""
        return self if self.thousands == "," else replace(self, decimal=",")

    @property
    def takes_points(self) -> bool:
        """Whether a number that Arrow reads as it stands is the one meant: 1.234 may be one thousand and more."""
        return self.thousands != "." and not self.null_numbers

    def of_labels(self, label: str, classes: Collection[str], label_map: Mapping[str, str]) -> Cleaning:
        """Return how labels are cleaned: a class may be called `None` or `NA`."""
        nulls = tuple(text for text in self.null_values if text not in classes)
        return Cleaning(trim=self.trim, null_values=nulls, spellings={label: label_map})

    def written(self, number: float | int) -> str:
        """Return a number as `number` reads it."""
        return str(number).replace(".", self.decimal)

    def texts(self, column: str, texts: Any) -> Any:
        """Return an Arrow array of texts as the values of a text column; null is missing."""
        if self.trim:
            texts = pc.utf8_trim_whitespace(texts)
        texts = respelt(texts, self.spellings.get(column, {}))
        return pc.if_else(pc.is_in(texts, value_set=self._nulls), pa.scalar(None, pa.string()), texts)

    def text(self, column: str, text: str) -> str:
        """Return one text as the value of a text column; the empty text is missing."""
        text = text.strip() if self.trim else text
        text = self.spellings.get(column, {}).get(text, text)
        return "" if text in self.null_values else text

    def numbers(self, texts: Any) -> Any:
        """Return an Arrow array of texts written as Arrow writes numbers; null is missing."""
        texts = pc.utf8_trim_whitespace(texts)
        texts = pc.if_else(pc.is_in(texts, value_set=self._trimmed_nulls), pa.scalar(None, pa.string()), texts)
        for pattern, separator, plain in self._rewritings:
            if separator:
                whole = pc.match_substring_regex(texts, pattern)
                texts = pc.if_else(whole, pc.replace_substring_regex(texts, separator, ""), texts)
            else:
                texts = pc.replace_substring_regex(texts, pattern, plain)
        return texts

    def number(self, text: str) -> str:
        """Return one text as Python writes a number, if it is one; the empty text is missing."""
        text = text.strip()
        if text in self.trimmed_nulls:
            return ""
        for pattern, separator, plain in self._rewritings:
            if not separator:
                text = re.sub(pattern, plain, text, flags=re.ASCII)
            elif re.search(pattern, text, re.ASCII):
                text = re.sub(separator, "", text)
        return text

    def typed(self, texts: Any, dtype: Dtype) -> Any:
        """Return an Arrow array of texts as numbers. Raises pyarrow.ArrowInvalid if one is none.

        3.0 is a whole number: pandas writes it so where another one is missing.
        """
        if (plain := self._plain(texts, dtype)) is not None:
            return plain
        numbers = self.numbers(texts)
        if dtype == "int":
            numbers = pc.replace_substring_regex(numbers, _POINT_ZERO, r"\1")
        return self.without_null_numbers(numbers.cast(ARROW_TYPES[dtype]))

    def without_null_numbers(self, numbers: Any) -> Any:
        """Return an Arrow array of numbers with those that mean missing, such as -999, as nulls."""
        if not self.null_numbers:
            return numbers
        nulls = pa.array(self.null_numbers, pa.float64())
        is_null = pc.is_in(numbers.cast(pa.float64(), safe=False), value_set=nulls)
        return pc.if_else(is_null, pa.scalar(None, numbers.type), numbers)

    @cached_property
    def null_numbers(self) -> tuple[float, ...]:
        """Those of `null_values` that are numbers."""
        texts = [text.strip() for text in self.null_values]
        return tuple(sorted({float(text) for text in texts if re.fullmatch(r"[-+]?\d+(\.\d+)?", text)}))

    def narrowest(self, texts: Any, at_least: Dtype | None = None) -> Dtype | None:
        """Return the narrowest type that all texts have, no narrower than `at_least`; None if all mean: missing.

        Whole numbers that begin with zero or are longer than 64 bits hold are texts: two of them would become one.
        """
        if at_least == "string" or not len(texts):
            return at_least
        if plain := self._plain_type(texts, at_least):
            return plain
        numbers = pc.drop_null(self.numbers(texts))
        if not len(numbers):
            return at_least
        if pc.any(pc.match_substring_regex(numbers, CODE_LIKE)).as_py():
            return "string"
        try:
            numbers.cast(pa.int64())
        except pa.ArrowInvalid:
            pass
        else:
            return at_least or "int"
        try:
            numbers.cast(pa.float64())
        except pa.ArrowInvalid:
            return "string"
        whole = numbers.filter(pc.match_substring_regex(numbers, WHOLE))
        try:
            whole.cast(pa.int64())
        except pa.ArrowInvalid:
            return "string"
        return "float"

    def _plain(self, texts: Any, dtype: Dtype) -> Any:
        """Return texts as numbers if each is written as Arrow writes one; else None. It saves most of the time."""
        if not self.takes_points:
            return None
        try:
            return texts.cast(ARROW_TYPES[dtype])
        except pa.ArrowInvalid:
            return None

    def _plain_type(self, texts: Any, at_least: Dtype | None) -> Dtype | None:
        """Return the narrowest type of texts that are all plain numbers, as `narrowest` has it; else None."""
        if any(pc.any(pc.starts_with(texts, start)).as_py() for start in _CODE_STARTS):
            return None
        if at_least != "float" and self._plain(texts, "int") is not None:
            return "int"
        numbers = self._plain(texts, "float")
        if numbers is None or pc.any(pc.is_nan(numbers)).as_py() or pc.max(pc.abs(numbers)).as_py() >= 2**63:
            return None
        return "float"

    @cached_property
    def _nulls(self) -> Any:
        return pa.array(sorted({*self.null_values, ""}), pa.string())

    @cached_property
    def trimmed_nulls(self) -> tuple[str, ...]:
        """What means missing among numbers, around which there may be blanks."""
        return tuple(sorted({"", *(text.strip() for text in self.null_values)}))

    @cached_property
    def _trimmed_nulls(self) -> Any:
        return pa.array(self.trimmed_nulls, pa.string())

    @cached_property
    def _rewritings(self) -> Sequence[tuple[str, str, str]]:
        """Pattern, separator, replacement: a text of the pattern loses its separators, or the pattern is replaced."""
        steps: list[tuple[str, str, str]] = [(PERCENT, "", "")] if self.percent else []
        if self.thousands:
            separator = _SEPARATORS[self.thousands]
            point = "[.,]" if self.thousands in (" ", "'") else _SEPARATORS["." if self.thousands == "," else ","]
            steps.append((rf"^[-+]?\d{{1,3}}({separator}\d{{3}})+({point}\d+)?$", separator, ""))
        steps += [(DECIMAL_COMMA, "", r"\1.\2")] if self.decimal == "," else []
        return (*steps, (_PLUS, "", ""))


def respelt(texts: Any, spellings: Mapping[str, str]) -> Any:
    """Return an Arrow array of texts with those that `spellings` lists written as it says."""
    written = texts
    for old, new in spellings.items():
        written = pc.if_else(pc.equal(texts, old), pa.scalar(new), written)
    return written
