from __future__ import annotations

import pytest

from tests.support.mutants import mutants


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("x = a < b", ["x = a <= b"]),
        ("x = a == b in c", ["x = a != b in c", "x = a == b not in c"]),
        ("x = a and b", ["x = a or b"]),
        ("f(on=True)", ["f(on=False)"]),
        ("def f():\n    return a", ["def f():\n    return None"]),
        ("if a:\n    b", ["if not a:\n    b"]),
        ("@d(frozen=True)\nclass A:\n    x = 1", []),
    ],
)
def test_one_thing_is_turned_in_each(source: str, wanted: list[str]) -> None:
    assert [text for _, text in mutants(source)] == wanted
