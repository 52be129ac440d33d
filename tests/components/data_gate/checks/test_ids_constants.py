import uuid

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.data_gate.checks.ids_constants import coarse_floats, constant_features, id_features, text_uniqueness
from serving.repository.contents import Statistics

RANDOM = np.random.default_rng(7)
ROWS = 364

IDS = {
    "a counter": ("n", np.arange(ROWS) + 1),
    "a counter with gaps, as after splitting": ("n", np.sort(RANDOM.choice(569, ROWS, replace=False))),
    "a shuffled counter": ("n", RANDOM.permutation(ROWS)),
    "a falling number": ("n", -np.cumsum(RANDOM.integers(1, 10**9, ROWS))),
    "wide numbers called id": ("patient_id", RANDOM.choice(10**9, ROWS, replace=False)),
    "uuids": ("n", [str(uuid.UUID(int=int(v))) for v in RANDOM.integers(0, 2**62, ROWS)]),
    "texts with a few missing": ("n", [None if i % 50 == 0 else f"case {i}" for i in range(ROWS)]),
}
NO_IDS = {
    "floats": ("id", RANDOM.normal(size=ROWS)),
    "a code": ("n", RANDOM.integers(0, 50, ROWS)),
    "ages in days": ("n", RANDOM.normal(15000, 3000, ROWS).astype(int)),
    "amounts": ("n", RANDOM.lognormal(8, 1, ROWS).astype(int)),
    "categories": ("n", RANDOM.choice(["a", "b"], ROWS)),
    "towns": ("n", [f"town {v}" for v in RANDOM.integers(0, 300, ROWS)]),
    "too few rows to say": ("n", np.arange(49)),
    "nothing": ("n", [None] * ROWS),
}


@pytest.mark.parametrize(("name", "values"), IDS.values(), ids=IDS.keys())
def test_an_id_is_found(name, values):
    assert [s.kind for s in id_features({name: pa.array(values)}, 0.99, {})] == ["ID_FEATURE"]


@pytest.mark.parametrize(("name", "values"), NO_IDS.values(), ids=NO_IDS.keys())
def test_what_describes_a_row_is_no_id(name, values):
    assert "ID_FEATURE" not in [s.kind for s in id_features({name: pa.array(values)}, 0.99, {})]


def test_a_wide_integer_is_only_a_possible_id():
    wide = pa.array(RANDOM.choice(10**9, ROWS, replace=False))
    assert [s.kind for s in id_features({"n": wide}, 0.99, {})] == ["POSSIBLE_ID"]


def test_text_that_repeats_outside_the_sample_is_no_id():
    names = pa.array([f"customer {i}" for i in range(ROWS)])
    assert id_features({"n": names}, 0.99, {"n": 0.4}) == []


def test_honest_data_hold_no_id(mixed):
    assert id_features({name: column for name, column in mixed.items() if name != "y"}, 0.99, {}) == []


@pytest.mark.parametrize("load", [load_breast_cancer, load_iris])
def test_real_data_hold_no_id(load):
    data = load().data.astype(np.float32)
    assert id_features({str(i): pa.array(column) for i, column in enumerate(data.T)}, 0.99, {}) == []


def number(name: str, least: float, most: float, missing: int = 0, present: int = 10, nans: int = 0):
    feature = statistics_pb2.FeatureNameStatistics(type=statistics_pb2.FeatureNameStatistics.FLOAT)
    feature.path.step.append(name)
    feature.num_stats.min, feature.num_stats.max = least, most
    feature.num_stats.common_stats.num_missing, feature.num_stats.common_stats.num_non_missing = missing, present
    feature.num_stats.histograms.add(num_nan=nans)
    return feature


def words(name: str, *values: str, missing: int = 0, present: int = 10):
    feature = statistics_pb2.FeatureNameStatistics(type=statistics_pb2.FeatureNameStatistics.STRING)
    feature.path.step.append(name)
    feature.string_stats.unique = len(values)
    for value in values:
        feature.string_stats.top_values.add(value=value)
    feature.string_stats.common_stats.num_missing = missing
    feature.string_stats.common_stats.num_non_missing = present
    return feature


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        (number("x", 3, 3), "'x' is 3 in every row"),
        (number("x", 0, 0), "'x' is 0 in every row"),
        (number("x", 0, 0, missing=10, present=0), "'x' is missing in every row"),
        (words("x", "a"), "'x' is 'a' in every row"),
        (number("x", 3, 4), None),
        (number("x", 3, 3, missing=1), None),
        (number("x", 3, 3, nans=1), None),
        (words("x", "a", "b"), None),
        (words("x", "a", missing=1), None),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_constants(feature, said):
    statistics = Statistics(10, {"x": feature})
    findings = constant_features(statistics, ["x"])
    assert [s.kind for s in findings] == (["CONSTANT_FEATURE"] if said else [])
    assert said is None or said in findings[0].text
    assert constant_features(statistics, ["other"]) == []


def test_uniqueness_of_text_comes_from_the_statistics():
    statistics = Statistics(10, {"x": words("x", "a", "b"), "n": number("n", 0, 1)})
    assert text_uniqueness(statistics) == {"x": 0.2}


@pytest.mark.parametrize(
    ("least", "most", "deviation", "is_told"),
    [
        (1_700_000_000.0, 1_700_086_400.0, 24_941.0, False),  # a day in seconds: 128 apart
        (1_700_000_000.0, 1_700_000_128.0, 40.0, True),
        (1_700_000_000.0, 1_700_000_000.0, 0.0, True),  # all of them one number
        (5.0, 5.0, 0.0, False),
        (0.1, 900.0, 200.0, False),
        (-1e-3, 1e-3, 1e-4, False),
    ],
)
def test_floats_far_from_zero_that_hardly_differ_are_told(least, most, deviation, is_told):
    column = statistics_pb2.FeatureNameStatistics(type=statistics_pb2.FeatureNameStatistics.FLOAT)
    column.num_stats.min, column.num_stats.max, column.num_stats.std_dev = least, most, deviation
    found = coarse_floats(Statistics(10, {"x": column}), ["x", "absent"])
    assert [finding.kind for finding in found] == ["PRECISION_LOST"] * is_told
    column.type = statistics_pb2.FeatureNameStatistics.INT
    assert coarse_floats(Statistics(10, {"x": column}), ["x"]) == []
