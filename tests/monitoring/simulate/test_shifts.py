from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import DataError
from monitoring.simulate.copula import Population
from monitoring.simulate.shifts import SHIFTS, Shift, Table, draw
from monitoring.simulate.source import read_table
from serving.repository.layout import SHOWCASE
from tests.support.web.models import make_version, patients

ROWS = 1500


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_version(tmp_path_factory.mktemp("shifts"), patients(), 1)


@pytest.fixture(scope="module")
def table(version: Path) -> Table:
    return read_table(version)


def drawn(table: Table, kind: str, size: float, column: str = "") -> tuple[dict[str, list[Any]], list[str]]:
    return draw(table, Shift(kind, size, column), ROWS, np.random.default_rng(4))


def mean(values: list[Any]) -> float:
    return float(np.mean([value for value in values if value is not None]))


@pytest.mark.parametrize("kind", [*SHIFTS])
def test_every_shift_gives_rows_of_the_model_with_labels(table: Table, kind: str) -> None:
    columns, labels = drawn(table, kind, 0.5)
    assert set(columns) == set(patients().columns)
    assert {len(values) for values in columns.values()} == {ROWS} == {len(labels)}
    assert set(labels) == {"no", "yes"}
    assert {type(value) for value in columns["ward"]} == {int}, "a code stays a code"
    assert set(columns["ward"]) <= {0, 1, 2, 3}


def test_without_a_shift_rows_are_like_the_training_rows(table: Table) -> None:
    columns, labels = drawn(table, "none", 1.0)
    assert mean(columns["pressure"]) == pytest.approx(mean(list(patients().columns["pressure"])), abs=3)
    assert labels.count("yes") / ROWS == pytest.approx(0.5, abs=0.05)


def test_covariates_move_by_standard_deviations_and_rows_mean_what_they_meant(table: Table) -> None:
    clean, truth = drawn(table, "none", 1.0)
    moved, labels = drawn(table, "covariate", 1.0, "pressure")
    spread = np.std(clean["pressure"])
    assert (mean(moved["pressure"]) - mean(clean["pressure"])) / spread == pytest.approx(1.0, abs=0.25)
    ill, ill_moved = (
        mean([label == "yes" for value, label in zip(columns["pressure"], told, strict=True) if 130 < value < 140])
        for columns, told in ((clean, truth), (moved, labels))
    )
    assert ill_moved == pytest.approx(ill, abs=0.12)


def test_the_prior_moves_by_doublings_of_the_odds(table: Table) -> None:
    _, labels = drawn(table, "prior", 2.0)
    assert max(Counter(labels).values()) / ROWS == pytest.approx(0.8, abs=0.04)


def test_a_concept_changes_labels_and_nothing_else(table: Table) -> None:
    clean, truth = drawn(table, "none", 1.0)
    columns, labels = drawn(table, "concept", 1.0, "pressure")
    assert columns == clean
    high = np.array(columns["pressure"]) > np.median(columns["pressure"])
    assert [a != b for a, b in zip(labels, truth, strict=True)] == high.tolist()


def test_a_category_is_called_by_another_name(table: Table) -> None:
    clean, _ = drawn(table, "none", 1.0)
    columns, _ = drawn(table, "category", 1.0, "smoker")
    assert [a != b for a, b in zip(columns["smoker"], clean["smoker"], strict=True)] == [True] * ROWS
    assert set(columns["smoker"]) == {"yes", "no"}


def test_values_go_missing_where_the_schema_lets_them(table: Table) -> None:
    columns, _ = drawn(table, "missing", 0.5)
    assert columns["cholesterol"].count(None) / ROWS == pytest.approx(0.55, abs=0.05)
    assert all(None not in values for name, values in columns.items() if name != "cholesterol")


@pytest.mark.parametrize(
    ("kind", "column", "said"),
    [
        ("covariate", "presure", "did you mean 'pressure'"),
        ("covariate", "smoker", "no number of the model"),
        ("category", "age", "no category"),
        ("missing", "age", "no column that may be missing"),
    ],
)
def test_a_column_that_cannot_shift_so_is_told(table: Table, kind: str, column: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        drawn(table, kind, 0.5, column)


def test_a_model_without_such_a_column_is_told(table: Table) -> None:
    bare = Table(table.population, table.numbers, (), frozenset(), {})
    with pytest.raises(DataError, match="needs a category of two values or more"):
        drawn(bare, "category", 0.5)


def test_a_number_that_never_varies_cannot_be_moved(table: Table) -> None:
    from monitoring.simulate.copula import Population

    constant = Table(Population.of({"x": [1.0] * 20}, ["a", "b"] * 10), ("x",), (), frozenset(), {})
    with pytest.raises(DataError, match="x never varies"):
        drawn(constant, "covariate", 1.0)


def test_a_version_without_training_rows_is_told(tmp_path: Path) -> None:
    folder = make_version(tmp_path, patients(), 1)
    (folder / SHOWCASE).unlink()
    with pytest.raises(DataError, match="carries too few training rows"):
        read_table(folder)


def homes() -> Table:
    rng = np.random.default_rng(0)
    area = rng.uniform(40, 200, 400).round(1)
    columns = {"area": area.tolist(), "floor": rng.integers(0, 9, 400).tolist()}
    prices = (3 * area + rng.normal(0, 10, 400)).round(2).tolist()
    return Table(Population.of_numbers(columns, prices), ("area", "floor"), (), frozenset(), {})


def test_numbers_are_drawn_with_the_rows_that_they_go_with() -> None:
    columns, labels = draw(homes(), Shift("none", 0.0), 500, np.random.default_rng(1))
    assert set(columns) == {"area", "floor"}
    prices = np.array([float(label) for label in labels])
    assert np.corrcoef(columns["area"], prices)[0, 1] > 0.95
    assert abs(prices.mean() - 360) < 20


def test_a_concept_of_numbers_moves_some_of_them() -> None:
    clean, moved = (
        np.array([float(v) for v in draw(homes(), Shift(kind, 0.8), 500, np.random.default_rng(2))[1]])
        for kind in ("none", "concept")
    )
    assert 30 < moved.mean() - clean.mean() < 90


def test_numbers_have_no_rarest_class() -> None:
    with pytest.raises(DataError, match="needs classes"):
        draw(homes(), Shift("prior", 1.0), 10, np.random.default_rng(0))
