from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluation.baselines import best_of, compare, read_baselines, write_baselines
from components.table import Table
from components.tasks.classification import Classification
from components.tasks.rows import Rows
from config.settings import Settings

NAMES = ["Always the commonest class", "Logistic regression", "Gradient boosting", "Decision tree", "SVM (RBF kernel)"]


def settings(classes: tuple[str, ...] = ("B", "M"), at_least: float = 0.0, **evaluation: Any) -> Settings:
    metrics = ("auc", "recall", "accuracy", "example_count")
    data = {"source": "x.csv", "label": "y", "classes": classes}
    asked = {"metrics": metrics, "bootstrap_samples": 200, **evaluation}
    point = {"objective": "recall_at_least", "at_least": at_least} if at_least else None
    return Settings.model_validate({"name": "x", "data": data, "evaluation": asked, "operating_point": point})


def table(rows: int, seed: int, classes: int = 2, missing: float = 0.0) -> Table:
    """Return rows whose first number and only text both tell the class, and a number that says nothing."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, rows)
    numbers = np.stack([100 + 5.0 * true + rng.normal(0, 1, rows), rng.normal(0, 1e-6, rows)], axis=1)
    numbers[rng.random(numbers.shape) < missing] = np.nan
    texts = np.array([[f"=t{c if rng.random() < 0.9 else 9}"] for c in true], object)
    return Table(numbers, texts, true)


@pytest.mark.parametrize(("classes", "missing"), [(2, 0.0), (3, 0.0), (2, 0.3)], ids=["two", "three", "missing values"])
def test_every_plain_model_learns_what_is_plain(classes: int, missing: float) -> None:
    names = tuple("abc"[:classes])
    train, evaluation, test = (table(rows, seed, classes, missing) for seed, rows in enumerate((300, 80, 90)))
    found = compare(train, evaluation, test, settings(names))
    assert [b.name for b in found] == NAMES
    for baseline in found:
        metrics = {m.name: m for m in baseline.metrics}
        assert set(metrics) == {"auc", "recall", "accuracy"}
        if baseline.name == Classification.commonest:
            assert metrics["auc"].value == 0.5
            continue
        assert metrics["auc"].value > 0.93
        assert metrics["auc"].lower <= metrics["auc"].value <= metrics["auc"].upper
        assert (baseline.threshold is None) == (classes > 2)


def test_threshold_is_chosen_on_eval_for_the_target_recall() -> None:
    train, test = table(300, 0), table(90, 2)
    lax = compare(train, table(80, 1), test, settings(at_least=0.5))
    strict = compare(train, table(80, 1), test, settings(at_least=1.0))
    assert lax[1].threshold is not None
    assert strict[1].threshold is not None
    assert strict[1].threshold <= lax[1].threshold


def test_same_seed_gives_the_same_table() -> None:
    splits = table(300, 0), table(80, 1), table(90, 2)
    assert compare(*splits, settings()) == compare(*splits, settings())


def test_large_splits_are_sampled_and_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Classification.plain_models

    def fewer(self: Any, seed: int, gamma: float) -> Any:
        return [replace(model, most_rows=model.most_rows // 100) for model in whole(self, seed, gamma)]

    monkeypatch.setattr(Classification, "plain_models", fewer)
    found = compare(table(300, 0), table(80, 1), table(90, 2), settings())
    assert [b.fit_rows for b in found] == [200, 200, 200, 200, 50]


def test_class_without_a_train_row_is_never_called() -> None:
    train, others = table(300, 0, 2), table(90, 1, 3)
    found = compare(train, others, others, settings(("a", "b", "c")))
    assert [b.name for b in found] == NAMES


@pytest.mark.parametrize("where", ["train", "eval", "test"])
def test_nothing_is_compared_without_rows(where: str) -> None:
    splits = [table(0 if where == split else 60, 0) for split in ("train", "eval", "test")]
    train, evaluation, test = splits
    assert compare(train, evaluation, test, settings()) == ()


def test_nothing_is_compared_on_a_single_class() -> None:
    one = Table(np.zeros((5, 1)), np.zeros((5, 0), object), np.zeros(5, np.int64))
    assert compare(one, table(9, 0), table(9, 0), settings()) == ()


def test_a_constant_and_an_empty_column_do_no_harm() -> None:
    splits = [table(rows, 0) for rows in (200, 60, 60)]
    splits = [Table(t.numbers * [1, 0] + [0, np.nan], np.full((len(t.targets), 1), ""), t.targets) for t in splits]
    train, evaluation, test = splits
    assert len(compare(train, evaluation, test, settings())) == 5


def test_the_network_is_set_beside_them_on_the_same_rows(tmp_path: Path) -> None:
    train, evaluation, test = table(300, 0), table(80, 1), table(200, 2)
    rng = np.random.default_rng(0)
    yes = np.clip(0.5 + 0.2 * (2 * test.targets - 1) + rng.normal(0, 0.3, len(test.targets)), 0, 1)
    weak = Rows(test.targets, (yes >= 0.5).astype(int), np.stack([1 - yes, yes], axis=1), 1)
    found = compare(train, evaluation, test, settings(), weak)
    best = best_of(found)
    assert best is not None
    assert best.behind is not None
    assert best.name != Classification.commonest
    assert best.behind.upper < 0, "the weak network is clearly worse"
    write_baselines(found, tmp_path)
    assert read_baselines(tmp_path) == found


def test_a_margin_is_a_probability_before_its_loss_is_a_measure() -> None:
    splits = table(300, 0), table(80, 1), table(90, 2)
    asked = settings(metrics=("log_loss", "auc"), change_metric="log_loss", thresholds={})
    network = Rows(splits[2].targets, splits[2].targets, np.eye(2)[splits[2].targets], 1)
    by_name = {b.name: b for b in compare(*splits, asked, network)}
    svm, tree = by_name["SVM (RBF kernel)"], by_name["Decision tree"]
    assert svm.behind is not None
    assert svm.metric("log_loss").value < tree.metric("log_loss").value + 0.1  # type: ignore[union-attr]


def test_each_tells_which_rows_it_calls_what() -> None:
    test = table(90, 2, 3)
    for baseline in compare(table(300, 0, 3), table(80, 1, 3), test, settings(("a", "b", "c"))):
        assert np.array(baseline.confusion).sum(axis=1).tolist() == np.bincount(test.targets).tolist()
        right = np.trace(np.array(baseline.confusion)) / 90
        assert right == pytest.approx(baseline.metric("accuracy").value)  # type: ignore[union-attr]
