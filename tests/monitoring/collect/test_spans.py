"""Spans on the disk: whole or not there, withdrawn, and rid of what is to be forgotten."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from common.errors import DataError
from config.schema import model_features, read_schema
from monitoring.collect.examples import examples_of
from monitoring.collect.spans import Spans
from tests.support.collecting import AT, Hospital


def test_a_span_appears_whole_or_not_at_all(hospital: Hospital) -> None:
    spans = Spans.of(hospital.settings.data.source)

    def fail(staged: Path) -> Any:
        assert (staged / "rows.csv").is_file()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        spans.add(fail)
    assert spans.numbers() == [1]
    assert [path.name for path in hospital.data.iterdir()] == ["span-1"]
    (hospital.data / ".incoming-span-2-killed").mkdir()
    with spans.adding():
        assert not (hospital.data / ".incoming-span-2-killed").exists()


def test_spans_are_found_by_their_number_whatever_its_width(tmp_path: Path) -> None:
    for name in ("span-0009", "span-0010", "span-x", "other-0099"):
        (tmp_path / name).mkdir()
    spans = Spans.of(tmp_path / "span-{SPAN:4}" / "*.csv")
    assert (spans.numbers(), spans.folder(11).name) == ([9, 10], "span-0011")
    with pytest.raises(DataError, match="there is no span"):
        Spans.of(tmp_path / "none" / "span-{SPAN}" / "*.csv").newest()


def test_a_withdrawn_span_is_out_of_sight_and_its_rows_are_collected_again(hospital: Hospital) -> None:
    hospital.asked([(50.0, "c"), (51.0, "a")], {0: "yes", 1: "no"})
    assert hospital.collect().exit_code == 0
    spans = Spans.of(hospital.settings.data.source)
    spans.withdraw(1)  # not the newest
    assert spans.numbers() == [1, 2]
    spans.withdraw(2)
    spans.withdraw(2)
    assert (spans.numbers(), [*spans.withdrawn()]) == ([1], [2])
    assert hospital.collect().exit_code == 0
    assert spans.numbers() == [1, 3]  # the number is not given again
    assert len(hospital.new_rows(3)) == 3
    assert hospital.summary(3)["before"] == 1


def test_rows_of_a_span_with_wrong_labels_come_again_with_the_right_ones(hospital: Hospital) -> None:
    hospital.asked([(50.0, "c")], {0: "yes"}, who="mallory")
    assert hospital.collect().exit_code == 0
    hospital.watched.label(AT, {0: "no"})
    assert hospital.collect().exit_code == 3, "it was collected before"
    assert hospital.told("withdraw", "1").exit_code == 3, "that one was put there"
    assert hospital.told("withdraw", "2").exit_code == 0
    assert hospital.told("withdraw", "2").exit_code == 3
    assert hospital.collect().exit_code == 0
    assert hospital.new_rows(3)[1:] == [["", "50.0", "c", "no"]]


def test_the_first_span_cannot_be_withdrawn(hospital: Hospital) -> None:
    spans = Spans.of(hospital.settings.data.source)
    spans.withdraw(1)
    assert spans.numbers() == [1]


@pytest.fixture(params=["csv", "parquet"])
def collected(request: pytest.FixtureRequest, tmp_path: Path) -> Hospital:
    """Three spans, in which rows of two cases were collected and set aside."""
    hospital = Hospital(tmp_path, request.param)
    for hour, case in enumerate(["bed 7", "bed 8"]):
        at = AT + timedelta(hours=hour)
        rows = [(50.0 + hour, "c"), (60.0 + hour, "a"), (20.0, "a")]
        hospital.asked(rows, {0: "yes", 1: "no", 2: "no"}, at=at, reference=case)
        assert hospital.collect("--dvc").exit_code == 0
    return hospital


def sizes(hospital: Hospital, span: int) -> list[float]:
    """The sizes in a span's collected rows."""
    settings = hospital.settings
    features = model_features(read_schema(hospital.config / "schema.pbtxt"), settings)
    files = sorted((hospital.data / f"span-{span}").glob(f"collected-*.{settings.data.format}"))
    examples = examples_of(settings, features)
    return [float(cells[0]) for path in files for cells, _ in examples.contents(path)]


def test_on_request_a_reference_is_taken_out_of_every_span(collected: Hospital) -> None:
    assert sizes(collected, 3) == [50.0, 60.0, 51.0, 61.0]
    done = collected.forget("bed 7")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == ["span 2: 3 rows taken out", "span 3: 3 rows taken out"]
    assert (sizes(collected, 2), sizes(collected, 3)) == ([], [51.0, 61.0])
    for span, version in ((2, 2), (3, 2)):
        folder, summary = collected.data / f"span-{span}", collected.summary(span)
        assert summary["version"] == version
        assert summary["sha256"].keys() == {path.name for path in folder.iterdir()} - {"_span.json"}
        for name in ("_provenance.parquet", "_set_aside.parquet"):
            assert "bed 7" not in pq.read_table(folder / name)["reference"].to_pylist()
    assert [row["example"] for row in pq.read_table(collected.data / "span-3" / "_provenance.parquet").to_pylist()] == [
        0,
        1,
    ]
    assert collected.forget("bed 7").exit_code == 3, "nothing is left of it"
    assert collected.forget("bed 8").exit_code == 0
    assert collected.summary(3)["forgotten"] == 6


def test_a_rewriting_that_was_killed_between_its_renames_loses_nothing(collected: Hospital) -> None:
    folder = collected.data / "span-3"
    folder.rename(collected.data / ".replaced-span-3")
    with Spans.of(collected.settings.data.source).adding():
        assert sizes(collected, 3) == [50.0, 60.0, 51.0, 61.0]
    shutil.copytree(folder, collected.data / ".replaced-span-3")
    with Spans.of(collected.settings.data.source).adding():
        assert not (collected.data / ".replaced-span-3").exists()


def test_who_is_to_be_forgotten_is_in_no_withdrawn_span_either(hospital: Hospital) -> None:
    hospital.asked([(50.0, "c")], {0: "yes"}, reference="bed 7")
    hospital.collect()
    Spans.of(hospital.settings.data.source).withdraw(2)
    assert hospital.forget("bed 7").exit_code == 0
    assert Spans.of(hospital.settings.data.source).withdrawn() == {}
