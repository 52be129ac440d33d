from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy import stats

from monitoring.simulate.copula import Copula, Population

ROWS = 400


@pytest.fixture(scope="module")
def table() -> dict[str, list[Any]]:
    """Columns that go together: a length, an area, a whole number with ties, a kind, gaps where the length is large."""
    chance = np.random.default_rng(1)
    length = chance.lognormal(1, 0.4, ROWS)
    return {
        "length": [round(float(value), 2) for value in length],
        "area": [round(float(value), 1) for value in length**2 * chance.normal(1, 0.05, ROWS)],
        "count": [int(value) for value in np.round(length)],
        "kind": ["big" if value > 4 else "small" for value in length],
        "note": [None if value > 3.5 else 1.5 for value in length],
    }


@pytest.fixture(scope="module")
def drawn(table: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return Copula.of(table).draw(4000, np.random.default_rng(2))


def test_each_column_is_spread_as_it_was(table: dict[str, list[Any]], drawn: dict[str, list[Any]]) -> None:
    for name in ("length", "area"):
        assert stats.ks_2samp(table[name], drawn[name]).statistic < 0.06
    shares = {name: count / 4000 for name, count in Counter(drawn["kind"]).items()}
    assert shares == pytest.approx({name: n / ROWS for name, n in Counter(table["kind"]).items()}, abs=0.03)
    assert drawn["note"].count(None) / 4000 == pytest.approx(table["note"].count(None) / ROWS, abs=0.03)


def test_columns_go_together_as_they_did(table: dict[str, list[Any]], drawn: dict[str, list[Any]]) -> None:
    seen, made = (stats.spearmanr(rows["length"], rows["area"]).statistic for rows in (table, drawn))
    assert made == pytest.approx(seen, abs=0.05)
    long, gaps = np.array(drawn["length"]), np.array([value is None for value in drawn["note"]])
    assert long[gaps].mean() > long[~gaps].mean() + 1


def test_nothing_is_drawn_that_cannot_be(table: dict[str, list[Any]], drawn: dict[str, list[Any]]) -> None:
    for name in ("length", "area"):
        assert min(table[name]) <= min(drawn[name]) <= max(drawn[name]) <= max(table[name])
    assert set(drawn["count"]) <= set(table["count"])
    assert {type(value) for value in drawn["count"]} == {int}
    assert max(len(str(value).partition(".")[2]) for value in drawn["length"]) <= 2


def test_what_does_not_vary_stays_as_it_is() -> None:
    columns = {"constant": [2.5] * 5, "empty": [None] * 5, "one": ["a"] * 5}
    assert Copula.of(columns).draw(3, np.random.default_rng(1)) == {
        "constant": [2.5] * 3,
        "empty": [None] * 3,
        "one": ["a"] * 3,
    }


def test_a_single_row_can_be_drawn_from() -> None:
    assert Copula.of({"a": [1.5], "b": ["x"]}).draw(2, np.random.default_rng(1)) == {"a": [1.5, 1.5], "b": ["x", "x"]}


def test_classes_come_by_their_shares_or_by_those_that_are_asked() -> None:
    columns = {"x": [1.0] * 300 + [9.0] * 100}
    population = Population.of(columns, ["low"] * 300 + ["high"] * 100)
    drawn, labels = population.draw(2000, np.random.default_rng(3))
    assert labels.count("high") / 2000 == pytest.approx(0.25, abs=0.04)
    assert {(label, value) for label, value in zip(labels, drawn["x"], strict=True)} == {("low", 1.0), ("high", 9.0)}
    _, labels = population.draw(500, np.random.default_rng(3), {"high": 1.0})
    assert set(labels) == {"high"}


def test_the_same_chance_draws_the_same_rows(table: dict[str, list[Any]]) -> None:
    copula = Copula.of(table)
    assert copula.draw(50, np.random.default_rng(5)) == copula.draw(50, np.random.default_rng(5))
