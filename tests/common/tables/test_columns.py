"""Texts that spreadsheets leave alone."""

from __future__ import annotations

import pyarrow as pa
import pytest

from common.tables.columns import safe_text, safe_texts

CASES = [
    ("=1", "'=1"),
    ("+A1", "'+A1"),
    ("-1+2", "'-1+2"),
    ("-1.5e-3", "-1.5e-3"),
    ("+.5", "+.5"),
    ("@a", "'@a"),
    ("\t=1", "'\t=1"),
    ("\r=1", "'\r=1"),
    ("a=1", "a=1"),
    ("", ""),
    ("'", "'"),
    ("1", "1"),
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=repr)
def test_what_could_be_a_formula_gets_an_apostrophe(text: str, expected: str) -> None:
    assert safe_text(text) == expected


@pytest.mark.parametrize(
    "make", [pa.array, lambda values: pa.chunked_array([values[:3], values[3:]])], ids=["array", "chunks"]
)
def test_a_column_gets_what_each_text_gets(make: object) -> None:
    texts, expected = [text for text, _ in CASES] + [None], [text for _, text in CASES] + [None]
    assert safe_texts(make(texts)).to_pylist() == expected  # type: ignore[operator]
