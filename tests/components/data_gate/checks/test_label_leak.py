import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer, load_iris

from components.data_gate.checks.label_leak import (
    _folds,
    balanced_accuracy,
    bound_of_tree,
    encode,
    label_leaks,
    positions,
    predict_by_tree,
    tenths,
)

ROWS = 400


def leaks(sample: dict, threshold: float = 0.995) -> dict[str, float]:
    return {s.feature: s.details["balanced_accuracy"] for s in label_leaks(sample, "y", threshold, seed=1)}


def labels_of(sample: dict) -> np.ndarray:
    return (sample["y"].to_numpy(zero_copy_only=False) == "yes").astype(int)


def text(values) -> pa.Array:
    return pa.array(values, pa.string())


PLANTED = {
    "an exact copy": lambda y, random: text(["yes" if v else "no" for v in y]),
    "a renamed copy": lambda y, random: text(["malignant" if v else "benign" for v in y]),
    "an integer copy": lambda y, random: pa.array(y),
    "a float copy": lambda y, random: pa.array(y.astype(np.float32) * 7 - 3),
    "a threshold": lambda y, random: pa.array((random.random(len(y)) + 2 * y).astype(np.float32)),
    "a band": lambda y, random: pa.array(
        np.where(y, 4 + random.random(len(y)), 5.5 * (np.arange(len(y)) % 2) + 3 * random.random(len(y)))
    ),
    "finer categories": lambda y, random: text([f"{v}{random.integers(9)}" for v in y]),
    "a parity": lambda y, random: pa.array(2 * random.integers(0, 20, len(y)) + y),
    "filled in for one class only": lambda y, random: pa.array([float(i) if v else None for i, v in enumerate(y)]),
    "a copy in the first third of the rows": lambda y, random: text(
        [str(v) if i < ROWS // 3 else None for i, v in enumerate(y)]
    ),
    "a threshold where there is a value": lambda y, random: pa.array(
        [v + random.random() / 2 if i % 3 else None for i, v in enumerate(y)]
    ),
    "infinite for one class": lambda y, random: pa.array(np.where(y, np.inf, random.random(len(y))).astype(np.float32)),
    "integers too large for float32": lambda y, random: pa.array(2**40 + 2 * np.arange(len(y)) % 50 * 10**6 + y),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_leak_is_found_and_nothing_else(mixed, plant):
    sample = {**mixed, "leak": plant(labels_of(mixed), np.random.default_rng(5))}
    assert leaks(sample) == {"leak": pytest.approx(1.0, abs=0.005)}


def test_honest_features_are_no_leak(mixed):
    assert leaks(mixed) == {}


@pytest.mark.parametrize("load", [load_breast_cancer, load_iris])
def test_real_data_are_clean(load):
    data = load()
    sample = {name: pa.array(data.data[:, i].astype(np.float32)) for i, name in enumerate(data.feature_names)}
    assert leaks({**sample, "y": text(data.target.astype(str))}) == {}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a nearly perfect feature", lambda y: np.where(np.arange(len(y)) % 20 == 0, 1 - y, y)),
        ("an id", lambda y: np.arange(len(y))),
        ("a constant", lambda y: np.zeros(len(y), int)),
    ],
)
def test_below_the_threshold_is_no_leak(mixed, name, values):
    assert leaks({**mixed, name: pa.array(values(labels_of(mixed)))}) == {}


def test_the_threshold_is_the_settings(mixed):
    noisy = pa.array(np.where(np.arange(ROWS) % 20 == 0, 1 - labels_of(mixed), labels_of(mixed)))
    assert leaks({**mixed, "noisy": noisy}, threshold=0.9) == {"noisy": pytest.approx(0.95, abs=0.01)}


def kind_of(values, labels) -> list[str]:
    sample = {"x": pa.array(values), "y": text(np.asarray(labels).astype(str))}
    return [finding.kind for finding in label_leaks(sample, "y", 0.995, seed=1)]


@pytest.mark.parametrize(("flipped", "kinds"), [(0.002, ["LABEL_LEAK"]), (0.01, ["POSSIBLE_LEAK"]), (0.06, [])])
def test_near_copies_are_told_in_a_band_below_the_leak(flipped, kinds):
    labels = np.arange(2000) % 2
    flips = np.random.default_rng(1).permutation(2000) < flipped * 2000
    assert kind_of(np.where(flips, 1 - labels, labels), labels) == kinds


@pytest.mark.parametrize("spread", [0.0, 0.5], ids=["by its values", "by a tree"])
def test_one_missed_row_of_a_rare_class_hides_no_leak(spread):
    """Ten of 2,000 rows are positive: the balanced accuracy falls to 0.95, where an honest feature may well be."""
    labels = (np.arange(2000) < 10).astype(int)
    values = np.where(np.arange(2000) == 4, 0, labels) + spread * np.random.default_rng(2).random(2000)
    assert kind_of(values, labels) == ["POSSIBLE_LEAK"]


def test_copies_are_called_copies(mixed):
    (finding,) = label_leaks({**mixed, "c": pa.array(labels_of(mixed))}, "y", 0.995, seed=1)
    assert finding.details["is_copy"]
    assert "'c' is a copy of 'y'" in finding.text


def test_ten_classes_by_a_number():
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 2000)
    sample = {
        "leak": pa.array((labels + random.random(2000) / 2).astype(np.float32)),
        "fair": pa.array((labels + random.normal(size=2000)).astype(np.float32)),
        "y": text(labels.astype(str)),
    }
    assert [*leaks(sample)] == ["leak"]


@pytest.mark.parametrize("counts", [(400, 0), (396, 4), (3, 3)], ids=str)
def test_too_few_rows_of_a_class_say_nothing(counts):
    labels = np.repeat([0, 1], counts)
    assert leaks({"x": pa.array(labels), "y": text(labels.astype(str))}) == {}


def test_the_screen_never_hides_what_the_tree_finds(mixed):
    labels = encode(mixed["y"])
    random = np.random.default_rng(2)
    for spread in (0.01, 0.05, 0.1, 0.3, 1.0):
        column = pa.array(labels + random.normal(scale=spread, size=ROWS))
        codes = encode(column)
        predicted = predict_by_tree(positions(column), labels, _folds(labels, random))
        assert balanced_accuracy(predicted, labels) <= bound_of_tree(codes, labels) + 0.01


def test_the_same_seed_gives_the_same_scores(mixed):
    sample = {**mixed, "noisy": pa.array(np.where(np.arange(ROWS) % 20 == 0, 1 - labels_of(mixed), labels_of(mixed)))}
    assert leaks(sample, 0.6) == leaks(sample, 0.6)


def test_positions_keep_order_and_gaps_and_set_the_odd_apart():
    column = pa.array([2**60 + 5, 2**60, None, 2**60 + 1])
    assert positions(column).tolist() == [5, 0, -10, 1]
    odd = pa.array([1.0, float("inf"), float("-inf"), float("nan"), None, 3.0], from_pandas=False)
    assert positions(odd).tolist() == [0, 4, -2, 6, -4, 2]
    assert positions(pa.array([None, None], pa.int64())).tolist() == [-2, -2]


def test_a_leak_of_a_number_is_found_and_an_honest_feature_is_none() -> None:
    rng = np.random.default_rng(0)
    y = rng.gamma(2.0, 100.0, 3000)
    sample = {
        "copy": pa.array((y * 1.19).astype(np.float32)),
        "with_tax": pa.array((y + 7.0).astype(np.float32)),
        "honest": pa.array((y + rng.normal(0, 60, 3000)).astype(np.float32)),
        "noise": pa.array(rng.normal(size=3000).astype(np.float32)),
        "y": pa.array(y.astype(np.float32)),
    }
    found = {finding.feature: finding.kind for finding in label_leaks(sample, "y", 0.995, seed=1)}
    assert found == {"copy": "LABEL_LEAK", "with_tax": "LABEL_LEAK"}


def test_tenths_keep_equal_numbers_together() -> None:
    ranks = np.array([0, 0, 0, 0, 0, 0, 1, 2, 3, 4, -1])
    assert tenths(ranks).tolist() == [3] * 6 + [6, 7, 8, 9, -1]
