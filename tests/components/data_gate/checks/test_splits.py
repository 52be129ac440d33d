"""How the splits came out: sizes, classes, columns without values; and how seldom it is said of right ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.data_gate.checks.splits import class_shares, features_set_aside, split_sizes, splits_without_values
from components.data_gate.scan import Columns, Scan
from config.data_settings import SplitSettings
from serving.repository.contents import Statistics

SHARES = (0.64, 0.16, 0.20)
NAMES = ("train", "eval", "test")


def columns(classes: tuple[str, ...] = ("no", "yes"), **options: Any) -> Columns:
    split = SplitSettings.model_validate(options.pop("split", {}))
    return Columns(label="y", classes=classes, left_out=frozenset({"y", "g"}), split=split, **options)


@pytest.fixture
def counted(make_scan: Callable[..., Scan]) -> Callable[..., Scan]:
    """Scan splits that hold so many rows of each class: `train={"no": 10}`."""

    def go(patterns: int = 10**6, **splits: dict[str, int]) -> Scan:
        labels = {split: [name for name, n in by_class.items() for _ in range(n)] for split, by_class in splits.items()}
        values = {
            split: {"x": [float(i % patterns) for i in range(len(ys))], "y": ys} for split, ys in labels.items() if ys
        }
        return make_scan(values)

    return go


def kinds(findings: list[Any]) -> list[tuple[str, str, str | None]]:
    return [(finding.kind, *finding.splits, finding.usual) for finding in findings]


def test_a_table_of_few_different_rows_is_told_with_its_cure(counted: Callable[..., Scan]) -> None:
    """titanic: 12 different rows of features, 506 / 180 / 630 of 1316 where 842 / 211 / 263 were asked."""
    scan = counted(12, train={"no": 157, "yes": 349}, eval={"no": 80, "yes": 100}, test={"no": 542, "yes": 88})
    [sizes] = split_sizes(scan, columns())
    assert (sizes.kind, sizes.usual) == ("SPLIT_OFF_WEIGHTS", "error")
    assert "test has 630 of 1316 rows (48%, asked 20%)" in sizes.text
    assert sizes.cure == "There are 12 different rows of features, and equal ones go to one split: set split.by: row"
    shares = class_shares(scan, columns())
    assert {(s.kind, s.splits) for s in shares} >= {
        ("CLASS_SHARE_DIFFERS", ("train",)),
        ("CLASS_SHARE_DIFFERS", ("test",)),
    }
    assert "Class 'yes' is 14.0% of test and 40.8% of all rows" in next(
        s.text for s in shares if s.splits == ("test",) and s.details["class"] == "yes"
    )


def test_groups_too_large_to_be_shared_out(counted: Callable[..., Scan]) -> None:
    scan = counted(train={"no": 196, "yes": 196}, eval={"no": 2, "yes": 2}, test={"no": 2, "yes": 2})
    [sizes] = split_sizes(scan, columns(split={"group_by": "g"}))
    assert sizes.usual == "error"
    assert "Some groups of 'g' are too large" in sizes.cure


def test_shares_a_little_off_only_warn(counted: Callable[..., Scan]) -> None:
    scan = counted(train={"no": 500, "yes": 500}, eval={"no": 110, "yes": 110}, test={"no": 250, "yes": 250})
    assert [s.usual for s in split_sizes(scan, columns())] == [None]


@pytest.mark.parametrize(("synthetic", "told"), [(0, ["error"]), (1500, [])], ids=["all of them real", "most made up"])
def test_made_up_rows_do_not_make_the_splits_crooked(
    counted: Callable[..., Scan], synthetic: int, told: list[str]
) -> None:
    """320 / 80 / 100 real rows, and 1200 / 300 made-up ones of which test gets none."""
    scan = counted(train={"no": 760, "yes": 760}, eval={"no": 190, "yes": 190}, test={"no": 50, "yes": 50})
    assert [s.usual for s in split_sizes(scan, columns(), synthetic)] == told


def test_made_up_rows_hide_no_crooked_test(counted: Callable[..., Scan]) -> None:
    scan = counted(train={"no": 760, "yes": 760}, eval={"no": 190, "yes": 190}, test={"no": 15, "yes": 15})
    assert [s.usual for s in split_sizes(scan, columns(), 1500)] == ["error"]


def test_no_model_can_do_without_a_class_in_train_or_of_two_in_test(counted: Callable[..., Scan]) -> None:
    full = {"no": 40, "yes": 40, "maybe": 0}
    scan = counted(train=full | {"maybe": 2}, eval=full, test=full)
    three = class_shares(scan, columns(("maybe", "no", "yes")))
    assert kinds(three) == [("CLASS_ABSENT", "eval", None), ("CLASS_ABSENT", "test", None)]
    assert three[1].text.startswith("test has no row of class 'maybe', of which there are 2 in all")
    absent = class_shares(counted(train={"no": 9}, eval={"no": 9, "yes": 9}, test={"no": 9}), columns())
    assert [kind for kind in kinds(absent) if kind[0] == "CLASS_ABSENT"] == [
        ("CLASS_ABSENT", "train", "error"),
        ("CLASS_ABSENT", "test", "error"),
    ]


def test_rows_dealt_one_by_one_are_hardly_ever_spoken_of() -> None:
    """1,000 tables each; more in docs/gates.md. What is promised is one in a thousand for each check."""
    rng = np.random.default_rng(7)
    alarms = {"sizes": 0, "shares": 0}
    for _ in range(1000):
        rows = int(rng.integers(60, 1500))
        share = float(rng.uniform(0.03, 0.5))
        dealt = rng.choice(3, rows, p=SHARES)
        labels = (rng.random(rows) < share).astype(np.uint64)
        scan = scan_of_labels(dealt, labels)
        alarms["sizes"] += bool(split_sizes(scan, columns()))
        alarms["shares"] += any(s.kind == "CLASS_SHARE_DIFFERS" for s in class_shares(scan, columns()))
    assert alarms["sizes"] <= 4
    assert alarms["shares"] <= 4


def scan_of_labels(dealt: Any, labels: Any) -> Scan:
    import pyarrow as pa

    from common.tables.splitting import row_hashes

    hashes = row_hashes(pa.RecordBatch.from_pydict({"y": ["no", "yes"]}), ["y"])
    content = {name: np.flatnonzero(dealt == i).astype(np.uint64) for i, name in enumerate(NAMES)}
    by_split = {name: hashes[labels[dealt == i]] for i, name in enumerate(NAMES)}
    return Scan(content, by_split, {}, not_finite={}, sample={})  # type: ignore[arg-type]


def statistics(**missing: int) -> Statistics:
    """Statistics of 10 rows: of each column, in how many it is missing."""
    by_name = {}
    for name, count in missing.items():
        column = statistics_pb2.FeatureNameStatistics()
        column.num_stats.common_stats.num_non_missing = 10 - count
        by_name[name] = column
    return Statistics(10, by_name)


def test_a_column_that_is_empty_in_one_split_is_told() -> None:
    """Such a column left the model, unsaid, where the schema was inferred from all splits."""
    by_split = {"train": statistics(x=0, sparse=8, late=10), "eval": statistics(x=0, sparse=10, late=1, g=10)}
    by_split["test"] = statistics(x=0, late=0)
    findings = {(f.feature, *f.splits): f.text for f in splits_without_values(by_split, columns())}
    assert set(findings) == {("sparse", "eval"), ("sparse", "test"), ("late", "train")}
    assert findings["late", "train"].endswith("the model cannot learn from it")


def test_what_an_inferred_schema_sets_aside_is_told() -> None:
    schema = schema_pb2.Schema()
    for name, stage in (("x", schema_pb2.UNKNOWN_STAGE), ("old", schema_pb2.DEPRECATED), ("g", schema_pb2.DEPRECATED)):
        schema.feature.add(name=name, lifecycle_stage=stage)
    inferred, curated = columns(has_schema=False), columns()
    assert [f.feature for f in features_set_aside(inferred.set_aside(schema), inferred)] == ["old"]
    assert features_set_aside(curated.set_aside(schema), curated) == []
