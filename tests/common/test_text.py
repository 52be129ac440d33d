from __future__ import annotations

from common.text import nearest


def test_nearest_finds_a_slip_and_nothing_else() -> None:
    assert nearest("Diagnossis", ["radius", "diagnosis"]) == "diagnosis"
    assert nearest(" B ", ["a", "b"]) == "b"
    assert nearest("xyz", ["radius", "diagnosis"]) is None
