from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy import stats

from monitoring.drift import measures
from serving.repository.drift_reference import Categories, Numbers


def normal(rows: int, seed: int, mean: float = 0.0) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).normal(mean, 1, rows))


@pytest.mark.parametrize("rows", [400, 1000])
def test_where_all_values_are_kept_statistic_and_distance_are_those_of_the_raw_rows(rows: int) -> None:
    trained, window = normal(rows, 1), normal(500, 2, 0.3)
    found = measures.compare_numbers(Numbers.of(trained), window)
    assert found.ks == pytest.approx(stats.ks_2samp(trained, window).statistic, abs=1 / rows)
    assert found.p_value == pytest.approx(stats.ks_2samp(trained, window, method="asymp").pvalue, rel=0.5)
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(trained, window), rel=0.02)


def test_of_many_rows_the_sketch_says_the_same() -> None:
    trained, window = normal(50_000, 1), normal(5_000, 2, 0.1)
    found = measures.compare_numbers(Numbers.of(trained), window)
    assert found.ks == pytest.approx(stats.ks_2samp(trained, window).statistic, abs=0.002)
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(trained, window), rel=0.05)


@pytest.mark.parametrize("shift", [-1.0, 1.0, 0.5])
def test_a_constant_that_changes_is_seen_in_full_on_either_side(shift: float) -> None:
    found = measures.compare_numbers(Numbers.of(np.full(300, 7.0)), np.full(200, 7.0 + shift))
    assert found.ks == 1.0
    assert found.p_value < 1e-6
    assert found.wasserstein == abs(shift)


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.0, 0.0, 0.0, 1.0]], ids=["halves", "quarters"])
def test_ties_that_stay_are_no_difference(values: list[float]) -> None:
    found = measures.compare_numbers(Numbers.of(np.array(values * 100)), np.sort(np.array(values * 50)))
    assert (found.ks, found.p_value, found.wasserstein) == (0.0, 1.0, 0.0)


def test_ties_that_move_are_as_far_as_they_moved() -> None:
    found = measures.compare_numbers(Numbers.of(np.array([0.0, 1.0] * 100)), np.full(50, 0.5))
    assert (found.ks, found.wasserstein) == (0.5, 0.5)


def test_what_lies_far_beyond_the_training_range_counts_by_how_far() -> None:
    window = np.array([0.0] * 90 + [1000.0] * 10)
    assert measures.compare_numbers(Numbers.of(np.array([0.0, 1.0])), window).wasserstein > 99


def test_a_float32_of_the_log_is_the_one_that_was_trained_on() -> None:
    tenths = np.float32(np.arange(1, 10) / 10)
    found = measures.compare_numbers(Numbers.of(tenths.astype(float)), tenths)
    assert found.ks == 0.0


def test_categories_are_compared_by_chi_squared_over_what_is_frequent_enough() -> None:
    trained = Categories(1000, 0, {"a": 600, "b": 400})
    found = measures.compare_categories(trained, {"a": 200, "b": 300})
    assert found.p_value == pytest.approx(stats.chi2_contingency([[600, 400], [200, 300]], correction=False).pvalue)
    assert (found.total_variation, found.largest) == pytest.approx((0.2, 0.2))


@pytest.mark.parametrize(
    ("counts", "window"),
    [
        ({"a": 1000}, {"a": 300}),
        ({f"v{i}": 1 for i in range(1000)}, {f"v{i}": 1 for i in range(300)}),
        ({"a": 998, "b": 1, "c": 1}, {"a": 299, "b": 1}),
    ],
    ids=["one value", "all different", "rare ones"],
)
def test_too_few_to_tell_is_no_difference(counts: dict[str, int], window: dict[str, int]) -> None:
    assert measures.compare_categories(Categories(1000, 0, counts), window).p_value > 0.1


def test_a_new_value_counts_by_itself() -> None:
    found = measures.compare_categories(Categories(1000, 0, {"a": 900, "b": 100}), {"a": 250, "z": 250})
    assert found.p_value < 1e-50
    assert found.total_variation == 0.5


def test_where_the_reference_has_others_a_new_value_may_be_one_of_them() -> None:
    found = measures.compare_categories(Categories(1000, 0, {"a": 500}, other=500), {"a": 250, "z": 250})
    assert (found.p_value, found.total_variation) == (1.0, 0.0)


def test_rare_values_that_a_small_reference_lacks_are_no_drift() -> None:
    """Put together they were: in 4 of 100 clean windows this was a finding."""
    chance = np.random.default_rng(8)

    def drawn(rows: int) -> Counter[str]:
        return Counter(map(str, chance.zipf(1.6, rows).clip(1, 60)))

    p_values = [
        measures.compare_categories(Categories.of(drawn(364).elements()), drawn(500)).p_value for _ in range(300)
    ]
    assert np.mean(np.array(p_values) < 0.01) <= 0.02


def test_a_share_is_compared_with_one_that_is_a_sample_too() -> None:
    assert measures.compare_shares(1, 500, 0, 500) == 1.0
    assert measures.compare_shares(25, 500, 0, 500) < 1e-6
    assert measures.compare_shares(475, 500, 500, 500) == measures.compare_shares(25, 500, 0, 500)
    assert measures.compare_shares(0, 500, 25, 500, only_more=True) == 1.0


@pytest.mark.parametrize("share", [0.002, 0.05, 0.5])
def test_equal_shares_are_called_different_no_more_often_than_promised(share: float) -> None:
    chance = np.random.default_rng(7)
    p_values = [
        measures.compare_shares(chance.binomial(300, share), 300, chance.binomial(400, share), 400) for _ in range(400)
    ]
    assert np.mean(np.array(p_values) < 0.05) <= 0.075


def test_of_many_p_values_few_may_be_false() -> None:
    assert measures.significant([0.001, 0.9, 0.02, 0.5], 0.05).tolist() == [True, False, True, False]
    assert measures.significant([0.04, 0.04], 0.05).tolist() == [True, True]
    assert measures.significant([], 0.05).tolist() == []


@pytest.mark.parametrize("constant", [False, True])
def test_bins_hold_all_rows_once(constant: bool) -> None:
    trained = np.full(50, 3.0) if constant else normal(400, 1)
    window = np.sort(np.concatenate([trained, [trained[0] - 9, trained[-1] + 9]]))
    shares, seen = measures.binned(Numbers.of(trained), window)
    assert shares.sum() == pytest.approx(1)
    assert seen.sum() == pytest.approx(1)
    assert (shares[0], shares[-1]) == (0, 0)
    assert (seen[0], seen[-1]) == pytest.approx((1 / len(window), 1 / len(window)))


def test_the_divergence_goes_from_nothing_to_one() -> None:
    same, other = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.0, 1.0])
    assert measures.jensen_shannon(same, same) == 0
    assert measures.jensen_shannon(same, other) == pytest.approx(1)


def test_the_median_is_that_of_the_rows() -> None:
    assert measures.quantile(Numbers.of(np.array([1.0, 2.0, 2.0, 9.0])), 0.5) == 2.0


CONFUSION = {"no": {"no": 90, "yes": 10}, "yes": {"no": 5, "yes": 45}}


def test_how_frequent_the_classes_are_is_told_from_the_decisions() -> None:
    decided = {"no": 0.3 * 90 + 0.7 * 10, "yes": 0.3 * 10 + 0.7 * 90}  # 30 % no, 70 % yes
    assert measures.true_shares(CONFUSION, decided) == pytest.approx({"no": 0.3, "yes": 0.7})


@pytest.mark.parametrize(
    ("confusion", "decided"),
    [
        ({"no": {"no": 50, "yes": 50}, "yes": {"no": 50, "yes": 50}}, {"no": 50, "yes": 50}),
        (CONFUSION, {}),
        ({"no": {}, "yes": {}}, {"no": 1}),
    ],
    ids=["a coin", "nothing decided", "no test rows"],
)
def test_where_the_decisions_say_nothing_no_share_is_told(confusion: Any, decided: Any) -> None:
    assert measures.true_shares(confusion, decided) == {}


def test_a_class_without_test_rows_is_left_out() -> None:
    assert measures.true_shares(
        {**CONFUSION, "rare": {"no": 0, "yes": 0, "rare": 0}}, {"no": 95, "yes": 55}
    ).keys() == {"no", "yes"}
