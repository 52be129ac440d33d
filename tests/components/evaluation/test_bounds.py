from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    roc_auc_score,
)

from bench.bounds import ClassTable, NumberTable, coverage
from components.evaluation.bounds import Metric, difference, evaluate
from components.tasks.rows import NumberRows, Rows

METRICS = ("auc", "average_precision", "precision", "recall", "specificity", "f1", "accuracy", "log_loss", "brier")


def binary(count: int, seed: int = 0, shift: float = 1.5, groups: np.ndarray | None = None) -> Rows:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 2, count)
    yes = 1 / (1 + np.exp(-rng.normal(shift * (2 * true - 1), 1.5)))
    return Rows(true, (yes >= 0.5).astype(int), np.stack([1 - yes, yes], axis=1), 1, groups)


def decided(confusion: list[list[int]], positive: int | None = None) -> Rows:
    """Rows with so many of each true (outer) and decided class."""
    cells = np.array(confusion)
    true, called = (np.repeat(index.ravel(), cells.ravel()) for index in np.indices(cells.shape))
    return Rows(true, called, np.eye(len(cells))[called], positive)


def bounds(rows: Rows, *metrics: str, **options: Any) -> dict[str, Metric]:
    return evaluate(rows, metrics or METRICS, **{"confidence": 0.95, "samples": 500, "seed": 1, **options})


def test_values_are_those_of_scikit_learn() -> None:
    rows = binary(3000)
    values = {name: bounded.value for name, bounded in bounds(rows, samples=2).items()}
    yes = rows.probabilities[:, 1]
    assert values["auc"] == pytest.approx(roc_auc_score(rows.true, yes))
    assert values["average_precision"] == pytest.approx(average_precision_score(rows.true, yes))
    assert values["log_loss"] == pytest.approx(log_loss(rows.true, yes))
    assert values["brier"] == pytest.approx(brier_score_loss(rows.true, yes))
    assert values["f1"] == pytest.approx(f1_score(rows.true, rows.decided))
    assert values["precision"] == pytest.approx(precision_score(rows.true, rows.decided))


def test_values_of_many_classes_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    true = rng.integers(0, 3, 900)
    scores = rng.normal(size=(900, 3)) + 2 * np.eye(3)[true]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    rows = Rows(true, probabilities.argmax(axis=1), probabilities)
    values = {name: bounded.value for name, bounded in bounds(rows, samples=2).items()}
    assert values["auc"] == pytest.approx(roc_auc_score(true, probabilities, multi_class="ovr"))
    assert values["log_loss"] == pytest.approx(log_loss(true, probabilities))
    assert values["f1"] == pytest.approx(f1_score(true, rows.decided, average="macro"))
    assert values["precision"] == pytest.approx(precision_score(true, rows.decided, average="macro"))
    assert values["accuracy"] == pytest.approx((rows.decided == true).mean())


def test_tied_scores_count_half() -> None:
    rows = Rows(np.array([0, 0, 1, 1]), np.zeros(4, int), np.array([[0.5, 0.5], [0.8, 0.2], [0.5, 0.5], [0.1, 0.9]]), 1)
    assert bounds(rows, "auc")["auc"].value == roc_auc_score([0, 0, 1, 1], [0.5, 0.2, 0.5, 0.9]) == 0.875


def test_a_class_that_is_never_called_has_precision_zero() -> None:
    """Else forgetting the rare class would be rewarded."""
    rows = Rows(np.array([0, 1, 1, 0, 2]), np.zeros(5, int), np.eye(3)[np.zeros(5, int)])
    expected = precision_score(rows.true, rows.decided, average="macro", zero_division=0)
    assert bounds(rows, "precision")["precision"].value == pytest.approx(expected)
    assert bounds(decided([[9, 0], [5, 0]], 1), "precision")["precision"] == Metric("precision", 0.0, 0.0, 1.0)


SHAPES = {
    "balanced": (ClassTable(114, (0.6, 0.4), 1.8), ("auc", "accuracy", "log_loss", "brier")),
    "rare": (ClassTable(100, (0.9, 0.1), 2.5), ("auc", "accuracy", "recall", "f1")),
    "three unequal classes": (ClassTable(100, (0.8, 0.15, 0.05), 2.5), ("recall", "precision", "f1")),
    "rows in groups": (ClassTable(104, (0.6, 0.4), 1.5, of_each_group=4, alike=0.9), ("auc", "accuracy", "recall")),
    "losses of groups": (ClassTable(104, (0.6, 0.4), 1.5, of_each_group=4, alike=0.5), ("log_loss", "brier")),
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_a_bound_keeps_its_promise(shape: str) -> None:
    """Of 300 samples at least 92 of 100 bounds hold: 95 are promised, and 93 are measured by `bench.bounds`."""
    table, metrics = SHAPES[shape]
    kept = coverage(table, metrics, draws=300, samples=200)
    assert all(share >= 0.92 for share in kept.values()), kept


@pytest.mark.slow
def test_what_a_sample_s_average_precision_is_too_good_by_is_taken_off() -> None:
    """A bound of hardly any confidence lies below the truth in half of the samples; the value itself in fewer."""
    table, metric = ClassTable(100, (0.6, 0.4), 1.2), "average_precision"
    truth = bounds(table.draw(np.random.default_rng(2**32), 100_000), metric, samples=2)[metric].value
    found = [
        bounds(table.draw(np.random.default_rng(seed)), metric, confidence=0.5001, samples=100)[metric]
        for seed in range(300)
    ]
    assert sum(one.lower <= truth for one in found) >= 0.5 * len(found)
    assert sum(one.value <= truth for one in found) < 0.5 * len(found)


def test_rows_of_a_group_say_less_than_as_many_by_themselves() -> None:
    """Each row stands four times: the bounds are those of a quarter of the rows, or wider."""
    few = binary(60, 4)
    again = np.repeat(np.arange(60), 4)
    copies = Rows(few.true[again], few.decided[again], few.probabilities[again], 1)
    grouped = Rows(copies.true, copies.decided, copies.probabilities, 1, again)
    for metric in METRICS:
        lone, naive, honest = (bounds(rows, metric)[metric] for rows in (few, copies, grouped))
        assert honest.value == pytest.approx(lone.value)
        assert honest.upper - honest.lower >= 0.9 * (lone.upper - lone.lower), metric
        assert naive.upper - naive.lower < 0.7 * (honest.upper - honest.lower), metric


def test_no_error_seen_is_not_no_error_possible() -> None:
    bounded = bounds(decided([[60, 0], [0, 40]], 1), "accuracy", "auc")
    assert bounded["accuracy"].value == bounded["auc"].value == 1.0
    assert bounded["accuracy"].lower == pytest.approx(0.05 ** (1 / 100)), (
        "the exact bound of no failure (rule of three)"
    )
    assert 0.9 < bounded["auc"].lower < 1.0


def test_groups_without_an_error_say_as_much_as_there_are_groups() -> None:
    rows = decided([[60, 0], [0, 40]], 1)
    grouped = Rows(rows.true, rows.decided, rows.probabilities, 1, np.arange(100) // 4)
    assert bounds(grouped, "accuracy")["accuracy"].lower <= 0.05 ** (1 / 25)


def test_fewer_rows_give_a_lower_bound() -> None:
    few, many = (bounds(binary(count), "auc")["auc"] for count in (60, 6000))
    assert few.value - few.lower > 3 * (many.value - many.lower)


def test_of_very_many_rows_some_are_redrawn_and_all_count(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = binary(4000)
    whole = bounds(rows, "auc")["auc"]
    monkeypatch.setattr("components.evaluation.bounds.MOST_REDRAWN", 500)
    thinned = bounds(rows, "auc")["auc"]
    assert thinned.value == whole.value
    assert thinned.value - thinned.lower == pytest.approx(whole.value - whole.lower, rel=0.3)


@pytest.mark.parametrize("only", [0, 1], ids=["no-positives", "no-negatives"])
def test_an_undefined_metric_is_nan(only: int) -> None:
    rows = binary(50)
    bounded = bounds(Rows(np.full(50, only), rows.decided, rows.probabilities, 1), "auc", "recall", "specificity")
    assert np.isnan(bounded["auc"].value)
    assert np.isnan(bounded["auc"].lower)
    assert np.isnan(bounded["specificity" if only else "recall"].lower)


def test_a_class_without_rows_leaves_the_averages_to_the_others() -> None:
    rows = Rows(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), np.eye(3)[[0, 0, 1, 0]])
    assert bounds(rows, "recall")["recall"].value == pytest.approx(0.75)
    assert not np.isnan(bounds(rows, "auc")["auc"].value)


def test_no_rows_give_no_numbers() -> None:
    bounded = bounds(Rows(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), 1))
    assert all(np.isnan(bound.lower) for bound in bounded.values())


def test_of_a_loss_the_upper_bound_must_stay_below_what_is_asked() -> None:
    loss, area = Metric("log_loss", 0.2, 0.1, 0.3, asked=0.25), Metric("auc", 0.9, 0.8, 0.95, asked=0.85)
    assert loss.is_met is area.is_met is False
    assert Metric("log_loss", 0.2, 0.1, 0.3, asked=0.3).is_met
    assert loss.goodness > Metric("log_loss", 0.4, 0.3, 0.5).goodness


@pytest.mark.parametrize("metric", ["log_loss", "brier"])
def test_a_model_that_is_sure_of_everything_is_not_vouched_for_by_its_own_losses(metric: str) -> None:
    """A hundred rows without a mistake leave room for 3 % of them; all losses equal, the bound was the value."""
    true = np.arange(100) % 2
    sure = Rows(true, true, np.where(np.eye(2)[true] == 1, 1 - 1e-6, 1e-6), 1)
    bounded = evaluate(sure, [metric], confidence=0.95, samples=200, seed=0)[metric]
    assert bounded.value < 1e-5
    cost = {"log_loss": -np.log(1e-6), "brier": 1.0}[metric]
    assert bounded.upper == pytest.approx((1 - 0.05 ** (1 / 100)) * cost, rel=0.01)


def numbers(rows: int, seed: int, noise: float = 1.0, groups: bool = False) -> NumberRows:
    rng = np.random.default_rng(seed)
    predicted = rng.normal(0, 2, rows)
    of_group = np.arange(rows) // 4 if groups else None
    error = rng.normal(0, noise, rows) if of_group is None else rng.normal(0, noise, rows // 4 + 1)[of_group]
    return NumberRows(predicted + error, predicted, predicted - 2, predicted + 2, of_group)


def test_errors_of_numbers_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    rows = numbers(300, 0)
    found = evaluate(rows, ["rmse", "mae", "r2"], confidence=0.95, samples=200, seed=0)
    assert found["rmse"].value == pytest.approx(root_mean_squared_error(rows.true, rows.decided))
    assert found["mae"].value == pytest.approx(mean_absolute_error(rows.true, rows.decided))
    assert found["r2"].value == pytest.approx(r2_score(rows.true, rows.decided))
    assert all(metric.lower < metric.value < metric.upper for metric in found.values())
    assert (found["rmse"].goodness, found["r2"].goodness) == (-found["rmse"].value, found["r2"].value)


@pytest.mark.parametrize("rows", [60, 300])
@pytest.mark.parametrize("groups", [False, True], ids=["rows", "groups"])
def test_bounds_of_errors_hold_as_often_as_they_say(rows: int, groups: bool) -> None:
    truth = {"rmse": 1.0, "mae": np.sqrt(2 / np.pi), "r2": 0.8}
    draws, misses = 150, dict.fromkeys(truth, 0)
    for seed in range(draws):
        found = evaluate(numbers(rows, seed, groups=groups), [*truth], confidence=0.95, samples=150, seed=seed)
        for name, value in truth.items():
            worse = found[name].upper < value if name != "r2" else found[name].lower > value
            misses[name] += worse
    assert all(count <= draws * 0.05 + 3.5 * np.sqrt(draws * 0.05 * 0.95) for count in misses.values()), misses


@pytest.mark.parametrize("errors", ["skewed", "growing"])
def test_bounds_of_uneven_errors_hold_too(errors: Any) -> None:
    """Without an unseen error the bound of RMSE holds in 0.90 and 0.88 of draws."""
    held = coverage(NumberTable(100, errors), ["rmse", "r2"], draws=300, samples=200)
    assert min(held.values()) >= 0.915, held


def test_labels_that_are_all_alike_have_no_r2() -> None:
    rows = replace(numbers(50, 0), true=np.ones(50))
    assert np.isnan(evaluate(rows, ["r2"], confidence=0.95, samples=10, seed=0)["r2"].value)


def test_a_flawless_model_of_numbers() -> None:
    found = evaluate(numbers(50, 0).flawless(), ["rmse", "r2"], confidence=0.95, samples=10, seed=0)
    assert (found["rmse"].value, found["r2"].lower) == (0.0, 1.0)


def test_two_models_of_numbers_are_compared_in_pairs() -> None:
    good = numbers(400, 1)
    bad = replace(good, decided=good.decided + np.random.default_rng(0).normal(0, 0.5, 400))
    for metric in ("rmse", "mae", "r2"):
        gap = difference(good, bad, metric, confidence=0.95, samples=300, seed=0)
        assert 0 < gap.lower < gap.value < gap.upper
        assert difference(good, good, metric, confidence=0.95, samples=50, seed=0).value == 0
