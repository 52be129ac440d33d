import numpy as np
import pyarrow as pa
import pytest

from components.data_gate.checks.losses_overlaps import group_overlaps, repeated_rows, row_overlaps
from config.data_settings import SplitSettings

TRAIN = {"a": [1.0, 2.0, 3.0], "b": ["x", None, "z"], "y": ["0", "1", "0"]}


def splits(**test):
    return {"train": TRAIN, "eval": {"a": [7.0], "b": ["x"], "y": ["1"]}, "test": test}


@pytest.mark.parametrize(
    ("a", "b", "y", "is_overlap"),
    [
        ([2.0, 9.0], [None, "z"], ["1", "1"], True),
        ([2.0, 9.0], [None, "z"], ["0", "0"], True),  # the label does not make it another row
        ([2.0, 9.0], ["x", "z"], ["1", "1"], False),
        ([5.0, 9.0], [None, "z"], ["1", "1"], False),
    ],
    ids=["copy", "copy-with-another-label", "other-text", "other-number"],
)
def test_a_row_in_two_splits(make_scan, make_block, a, b, y, is_overlap):
    data = splits(a=a, b=b, y=y)
    findings = row_overlaps(make_scan(data).content, ["a", "b"], SplitSettings())
    assert [s.kind for s in findings] == ["SPLIT_OVERLAP"] * is_overlap
    if is_overlap:
        assert "1 row of train have the same features as 1 row of test" in findings[0].text
        assert findings[0].where(make_block("train", data["train"])).tolist() == [False, True, False]
        assert findings[0].where(make_block("test", data["test"])).tolist() == [True, False]


def test_a_column_that_a_split_lacks_counts_as_missing(make_block, make_scan):
    train = {"a": [1.0], "b": pa.nulls(1).to_pylist(), "y": ["0"]}
    assert row_overlaps(
        make_scan({"train": train, "test": {"a": [1.0], "y": ["0"]}}).content, ["a", "b"], SplitSettings()
    )


@pytest.mark.parametrize(
    ("split", "usual"),
    [({}, None), ({"group_by": "p"}, "warn"), ({"by": "time", "time": "t"}, "warn"), ({"by": "row"}, "info")],
    ids=["content", "groups", "time", "row"],
)
def test_groups_and_days_that_look_alike_only_warn(make_scan, split, usual):
    content = make_scan(splits(a=[2.0], b=[None], y=["1"])).content
    assert [s.usual for s in row_overlaps(content, ["a"], SplitSettings.model_validate(split))] == [usual]


@pytest.mark.parametrize(("patient", "is_overlap"), [("p2", True), ("p9", False)])
def test_a_group_in_two_splits(make_scan, make_block, patient, is_overlap):
    data = {
        "train": {"a": [1.0, 2.0], "p": ["p1", "p2"], "y": ["0", "1"]},
        "test": {"a": [3.0, 4.0], "p": [patient, "p8"], "y": ["0", "1"]},
    }
    findings = group_overlaps(make_scan(data, group_by="p").groups, "p")
    assert [s.kind for s in findings] == ["GROUP_OVERLAP"] * is_overlap
    if is_overlap:
        assert findings[0].where(make_block("test", data["test"])).tolist() == [True, False]


def test_repeats_and_contradictions(make_scan, make_block):
    train = {"a": [1.0, 1.0, 2.0, 2.0, 3.0], "y": ["0", "0", "0", "1", "1"]}
    findings = {s.kind: s for s in repeated_rows(make_scan({"train": train}), ["a"], "y", is_number=False)}
    assert findings["DUPLICATE_ROWS"].details == {"train": 1}
    assert findings["CONTRADICTORY_LABELS"].details == {"rows": 2, "patterns": 1}
    assert findings["CONTRADICTORY_LABELS"].where(make_block("train", train)).tolist() == [
        False,
        False,
        True,
        True,
        False,
    ]


def test_distinct_rows_are_clean(make_scan):
    random = np.random.default_rng(0)
    data = {s: {"a": random.normal(size=500), "y": ["0", "1"] * 250} for s in ("train", "eval", "test")}
    scan = make_scan(data)
    assert repeated_rows(scan, ["a"], "y", is_number=False) == []
    assert row_overlaps(scan.content, ["a"], SplitSettings()) == []


def test_numbers_may_differ_where_the_features_are_equal(make_scan):
    scan = make_scan({"train": {"a": [1.0, 1.0, 2.0], "y": [1.0, 2.0, 3.0]}})
    assert {f.kind for f in repeated_rows(scan, ["a"], "y", is_number=True)} == set()
    assert {f.kind for f in repeated_rows(scan, ["a"], "y", is_number=False)} == {"CONTRADICTORY_LABELS"}
