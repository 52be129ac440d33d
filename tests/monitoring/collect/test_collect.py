"""The next span from a log and its labels: what is taken, what is set aside, and what is never touched."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import ConfigError
from common.records.spans import synthetic_rows
from common.tables.splitting import Splitter
from tests.support.collecting import AT, Hospital


def test_labelled_rows_are_a_span_more_and_nothing_old_is_touched(hospital: Hospital) -> None:
    before = (hospital.data / "span-1" / "rows.csv").read_bytes()
    hospital.asked([(50.25, "c"), (60.0, None), (70.0, "a")], {0: "yes", 1: "no"})
    done = hospital.collect()
    assert done.exit_code == 0, done.output
    assert f"2 rows added: {hospital.data / 'span-2'}" in done.stdout
    assert hospital.new_rows() == [["id", "size", "kind", "outcome"], ["", "50.25", "c", "yes"], ["", "60.0", "", "no"]]
    assert (hospital.data / "span-1" / "rows.csv").read_bytes() == before
    assert (hospital.data / "span-2" / "rows.csv").read_bytes() == before


def test_each_row_says_where_it_comes_from_and_each_file_its_sum(hospital: Hospital) -> None:
    hospital.asked([(50.25, "c")], {0: "yes"}, who="bob")
    hospital.collect()
    folder = hospital.data / "span-2"
    [origin] = pq.read_table(folder / "_provenance.parquet").to_pylist()
    assert (origin["file"], origin["example"], origin["told_by"], origin["label"]) == (
        "collected-0002.csv",
        0,
        "bob",
        "yes",
    )
    assert (origin["predicted"], origin["version"], origin["is_synthetic"]) == (AT, 1, False)
    told = hospital.summary()
    assert (told["span"], told["before"], told["added"]) == (2, 1, 1)
    assert told["sha256"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("_provenance.parquet", "_set_aside.parquet", "collected-0002.csv", "rows.csv")
    }


def test_no_row_is_collected_twice(hospital: Hospital) -> None:
    hospital.asked([(50.0, "c")], {0: "yes"})
    assert hospital.collect().exit_code == 0
    again = hospital.collect()
    assert again.exit_code == 3
    assert "no new row to collect" in again.output
    hospital.asked([(51.0, "c")], {0: "no"}, at=AT + timedelta(hours=1))
    assert hospital.collect().exit_code == 0
    assert sorted(path.name for path in (hospital.data / "span-3").glob("*.csv")) == [
        "collected-0002.csv",
        "collected-0003.csv",
        "rows.csv",
    ]
    assert pq.read_table(hospital.data / "span-3" / "_provenance.parquet").num_rows == 2


@pytest.mark.parametrize(
    ("rows", "labels", "reasons"),
    [
        ([(50.0, "c"), (50.0, "c"), (61.0, "a")], {0: "yes", 1: "yes", 2: "no"}, {"equal to another": 1}),
        ([(50.0, "c"), (50.0, "c"), (61.0, "a")], {0: "yes", 1: "no", 2: "no"}, {"equal rows with other labels": 2}),
        ([(20.0, "a"), (61.0, "a")], {0: "no", 1: "no"}, {"an example already": 1}),
        ([(20.0, "a"), (61.0, "a")], {0: "yes", 1: "no"}, {"an example has another label": 1}),
        ([(40.0, None), (61.0, "a")], {0: "no", 1: "no"}, {"an example already": 1}),
        ([(500.0, "a"), (61.0, "a")], {0: "no", 1: "no"}, {"size lies outside the schema": 1}),
        ([(np.nan, "a"), (61.0, "a")], {0: "no", 1: "no"}, {"size is missing": 1}),
        ([(50.0, "z"), (61.0, "a")], {0: "no", 1: "no"}, {"kind has a value that the schema does not have": 1}),
        ([(50.0, "c"), (61.0, "a")], {0: "perhaps", 1: "no"}, {"a label that is no class": 1}),
    ],
    ids=["twice", "disagree", "known", "contradicts", "known gap", "range", "missing", "value", "class"],
)
def test_what_may_not_be_an_example_is_set_aside_and_shown(
    hospital: Hospital, rows: Any, labels: dict[int, str], reasons: dict[str, int]
) -> None:
    hospital.asked(rows, labels)
    done = hospital.collect()
    assert done.exit_code == 0, done.output
    assert hospital.summary()["set_aside"] == reasons
    assert all(f"{count} set aside: {reason}" in done.stdout for reason, count in reasons.items())
    aside = pq.read_table(hospital.data / "span-2" / "_set_aside.parquet").to_pylist()
    assert [row["reason"] for row in aside] == [reason for reason, count in reasons.items() for _ in range(count)]
    assert {row["told_by"] for row in aside} == {"ann"}


def test_no_user_fills_a_span_alone(hospital: Hospital) -> None:
    hospital.asked([(50.0 + i, "c") for i in range(5)], dict.fromkeys(range(5), "yes"), who="eve")
    hospital.asked([(70.0, "a")], {0: "no"}, at=AT + timedelta(hours=1), who="ann")
    hospital.collect("--most-per-user", "2")
    assert [row[1] for row in hospital.new_rows()[1:]] == ["50.0", "51.0", "70.0"]
    assert hospital.summary()["set_aside"] == {"too many of one user": 3}


def test_made_up_rows_are_taken_only_if_asked_for_and_never_into_test(hospital: Hospital) -> None:
    rows = [(round(50 + i / 10, 1), "c") for i in range(60)]
    hospital.asked(rows, dict.fromkeys(range(60), "yes"), reference="synthetic:none-1-0")
    assert "60 synthetic" in hospital.collect().output
    assert hospital.collect("--with-synthetic").exit_code == 0
    taken = [float(row[1]) for row in hospital.new_rows()[1:]]
    aside = hospital.summary()["set_aside"]["synthetic, and dealt to test"]
    assert len(taken) + aside == 60
    assert aside > 3
    settings = hospital.settings
    batch = pa.RecordBatch.from_pydict({"size": pa.array(taken, pa.float32()), "kind": ["c"] * len(taken)})
    splits = Splitter([*settings.split.weights.values()], "outcome", None, settings.split_seed).assign(batch)
    assert set(splits.tolist()) == {0, 1}
    assert hospital.summary()["synthetic"] == len(taken)


def test_in_a_table_of_few_kinds_equal_rows_are_rows(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, more="split: {by: row}")
    hospital.asked([(20.0, "a"), (20.0, "a")], {0: "yes", 1: "no"})
    assert hospital.collect().exit_code == 0
    assert len(hospital.new_rows()) == 3


def test_parquet_is_added_as_parquet_with_the_same_columns(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, "parquet")
    hospital.asked([(50.0, "c"), (20.0, "a")], {0: "yes", 1: "no"})
    assert hospital.collect().exit_code == 0
    added = pq.read_table(hospital.data / "span-2" / "collected-0002.parquet")
    assert added.to_pylist() == [{"size": 50.0, "kind": "c", "outcome": "yes", "id": None}]


def test_a_period_leaves_out_what_is_older_and_newer(hospital: Hospital) -> None:
    for hours in range(3):
        hospital.asked([(50.0 + hours, "c")], {0: "yes"}, at=AT + timedelta(hours=hours))
    hospital.collect(
        "--from", f"{AT + timedelta(hours=1):%Y-%m-%dT%H:%M}", "--to", f"{AT + timedelta(hours=2):%Y-%m-%dT%H:%M}"
    )
    assert [row[1] for row in hospital.new_rows()[1:]] == ["51.0"]


@pytest.mark.parametrize(
    "source",
    [
        "../data/rows.csv",
        "../data/span-{SPAN}/rows.csv",
        "../data/rows-{SPAN}*.csv",
        "../data/span-{SPAN}/v{VERSION}/*.csv",
    ],
)
def test_where_a_span_is_no_folder_of_files_it_says_what_is_wanted(tmp_path: Path, source: str) -> None:
    hospital = Hospital(tmp_path, source=source)
    done = hospital.collect()
    assert done.exit_code == 2
    assert "span-{SPAN}/*.csv" in done.output


@pytest.mark.parametrize("more", ["split: {group_by: id}", "split: {by: time, time: id}"], ids=["group", "time"])
def test_rows_that_are_dealt_by_what_the_log_has_not_are_refused(tmp_path: Path, more: str) -> None:
    hospital = Hospital(tmp_path, more=more)
    text = (hospital.config / "pipeline.yaml").read_text().replace("ignore: [id], ", "")
    (hospital.config / "pipeline.yaml").write_text(text)
    done = hospital.collect()
    assert done.exit_code == 2
    assert "'id', which the prediction log does not have" in done.output


def test_without_a_label_there_is_nothing_and_nothing_is_left_behind(hospital: Hospital) -> None:
    hospital.asked([(50.0, "c")], {})
    done = hospital.collect()
    assert done.exit_code == 3
    assert "no true label" in done.output
    assert sorted(path.name for path in hospital.data.iterdir()) == [".collect_lock", "span-1"]


def test_tfrecords_are_refused(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, "parquet")
    text = (hospital.config / "pipeline.yaml").read_text().replace("format: parquet", "format: tfrecord")
    (hospital.config / "pipeline.yaml").write_text(text)
    done = hospital.collect()
    assert done.exit_code == 2
    assert "csv or parquet" in done.output


def test_a_schema_is_a_must(hospital: Hospital) -> None:
    text = (hospital.config / "pipeline.yaml").read_text().replace("schema: schema.pbtxt\n", "")
    (hospital.config / "pipeline.yaml").write_text(text)
    assert hospital.collect().exit_code == ConfigError.exit_code


@pytest.fixture
def of_numbers(tmp_path: Path) -> Hospital:
    """One whose outcome is a number."""
    made = Hospital(tmp_path)
    was = 'type: BYTES presence { min_fraction: 1.0 } string_domain { value: "no" value: "yes" }'
    for name, old, new in (
        ("pipeline.yaml", "classes: [no, yes]", "task: regression"),
        ("schema.pbtxt", was, "type: FLOAT presence { min_fraction: 1.0 }"),
    ):
        text = (made.config / name).read_text()
        assert old in text
        (made.config / name).write_text(text.replace(old, new))
    (made.data / "span-1" / "rows.csv").write_text("id;size;kind;outcome\n1;20.0;a;7\n2;30.5;b;8.5\n")
    return made


def test_true_numbers_are_collected_for_a_model_that_predicts_numbers(of_numbers: Hospital) -> None:
    of_numbers.asked([(20.0, "a"), (50.25, "c"), (60.0, "a"), (61.0, "a")], {0: "7", 1: "12.5", 2: "many", 3: "9"})
    done = of_numbers.collect("--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["set_aside"] == {"an example already": 1, "a label that is no number": 1}
    assert of_numbers.new_rows()[1:] == [["", "50.25", "c", "12.5"], ["", "61.0", "a", "9"]]
    assert "no new row" in of_numbers.collect().output


def test_where_true_numbers_are_whole_no_other_is_cut_to_fit(of_numbers: Hospital) -> None:
    schema = of_numbers.config / "schema.pbtxt"
    schema.write_text(schema.read_text().replace('"outcome" type: FLOAT', '"outcome" type: INT'))
    of_numbers.asked([(50.0, "c"), (60.0, "a")], {0: "12.5", 1: "9"})
    assert of_numbers.collect().exit_code == 0
    assert of_numbers.summary()["set_aside"] == {"a label that is no whole number": 1}
    assert [row[-1] for row in of_numbers.new_rows()[1:]] == ["9"]


def test_how_many_rows_are_made_up_is_read_from_where_they_come_from(hospital: Hospital) -> None:
    """By this the data gate knows how large test can be."""
    assert synthetic_rows(hospital.data / "span-1") == 0
    hospital.asked([(50.0, "c")], {0: "yes"})
    hospital.asked(
        [(float(60 + i), "c") for i in range(9)],
        dict.fromkeys(range(9), "no"),
        reference="synthetic:x",
        at=AT + timedelta(hours=1),
    )
    hospital.collect("--with-synthetic")
    taken = hospital.summary()["synthetic"]
    assert 0 < taken < 10
    assert synthetic_rows(hospital.data / "span-2") == taken
