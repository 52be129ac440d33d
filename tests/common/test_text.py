from __future__ import annotations

import pytest

from common.text import counted, nearest


def test_nearest_finds_a_slip_and_nothing_else() -> None:
    assert nearest("Diagnossis", ["radius", "diagnosis"]) == "diagnosis"
    assert nearest(" B ", ["a", "b"]) == "b"
    assert nearest("xyz", ["radius", "diagnosis"]) is None


@pytest.mark.parametrize(("count", "told"), [(0, "0 rows"), (1, "1 row"), (2000, "2,000 rows")])
def test_what_is_counted_is_in_the_plural_but_for_one(count: int, told: str) -> None:
    assert counted(count, "row") == told
