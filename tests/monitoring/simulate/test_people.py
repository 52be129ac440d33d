from __future__ import annotations

from monitoring.simulate.people import lied


def test_a_lie_is_another_class_or_the_low_for_the_high() -> None:
    assert lied(["a", "b", "c"], ["a", "b", "c"]) == ["c", "a", "b"]
    assert lied(["1.0", "2.5", "9.0"], []) == ["9.0", "7.5", "1.0"]
