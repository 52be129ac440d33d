"""How numbers and shares are written."""

from __future__ import annotations

import pytest

from webapp import wording


@pytest.mark.parametrize(
    ("effect", "digits", "told"), [(0.123, 1, "+12.3"), (-0.0012, 2, "−0.12"), (0.0001, 1, "0.0"), (-0.00001, 1, "0.0")]
)
def test_effects_have_a_sign_unless_they_are_none(effect: float, digits: int, told: str) -> None:
    assert wording.points(effect, digits) == told


@pytest.mark.parametrize(
    ("share", "told"), [(0.0, "0.0%"), (0.00001, "< 0.1%"), (0.5, "50.0%"), (0.99996, "> 99.9%"), (1.0, "100.0%")]
)
def test_a_share_is_not_rounded_to_all_or_nothing(share: float, told: str) -> None:
    assert wording.percent(share) == told


@pytest.mark.parametrize(("value", "told"), [(0.0, "< 0.1%"), (0.5, "50.0%"), (1.0, "> 99.9%")])
def test_no_probability_is_a_certainty(value: float, told: str) -> None:
    assert wording.probability(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [(13.6543, "13.65"), (0.118421, "0.1184"), (1234567.0, "1,234,567"), (-0.00001234, "-1.234e-05"), (0.0, "0")],
)
def test_numbers_are_told_with_four_digits(value: float, told: str) -> None:
    assert wording.number(value) == told


@pytest.mark.parametrize(
    ("what", "told"),
    [("first", "first release"), ("canary 10%", "canary 10%"), ("rollback", "rolled back"), ("new", "new")],
)
def test_changes_are_told_in_words(what: str, told: str) -> None:
    assert wording.change(what) == told
