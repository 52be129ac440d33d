"""What is wanted, newest first, by reading as little as needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from common.records import engine
from common.records import files as log_files
from common.records import reader as reader_module
from common.records.reader import Filters, Reader
from tests.support.web.logged import NOON, batch, hasty, minutes, put, read_all
from webapp.types import RequestInfo


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    hasty(monkeypatch)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "cells"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were looked into."""
    names: list[str] = []
    really = engine._whole

    def noting(path: Path) -> Any:
        names.append(path.name)
        return really(path)

    monkeypatch.setattr(engine, "_whole", noting)
    return names


def asked(request_id: str, who: str = "ann") -> RequestInfo:
    return RequestInfo(request_id, who, "page")


def found(base: Path, **wanted: Any) -> list[str]:
    return list(read_all(base, Filters(**wanted))["request_id"].to_pylist())


def test_files_of_several_workers_come_as_one_stream_newest_first(base: Path) -> None:
    chance = np.random.default_rng(1)
    at = [NOON + timedelta(seconds=float(s)) for s in chance.uniform(0, 90_000, 20)]
    for moment in at:
        put(base, batch(int(chance.integers(1, 4)), at=moment))
    times = read_all(base)["time"].to_pylist()
    assert times == sorted(times, reverse=True)
    assert {*times} == {*at}


def test_rows_of_one_request_are_in_order(base: Path) -> None:
    put(base, batch(5))
    assert read_all(base)["row"].to_pylist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "dcba"),
        ({"who": "bob"}, "b"),
        ({"label": "M"}, "d"),
        ({"version": 2}, "c"),
        ({"request_id": "a"}, "a"),
        ({"start": NOON + minutes(10)}, "dcb"),
        ({"end": NOON + minutes(10)}, "a"),
        ({"row": 1}, ""),
        ({"start": NOON + minutes(10), "end": NOON + minutes(24 * 60)}, "cb"),
        ({"text": "BO"}, "b"),
        ({"text": "jakar"}, "c"),
        ({"text": "."}, ""),
        ({"who": "nobody"}, ""),
        ({"who": "ann", "version": 1, "label": "M"}, "d"),
        ({"who": "bob", "label": "M"}, ""),
    ],
    ids=str,
)
def test_filters(base: Path, wanted: dict[str, Any], expected: str) -> None:
    put(base, batch(1, asked=asked("a")))
    put(base, batch(1, at=NOON + minutes(10), asked=asked("b", "bob")))
    put(base, batch(1, at=NOON + minutes(20), asked=asked("c"), version=2, columns={"city": ["Jakarta"]}))
    put(base, batch(1, at=NOON + minutes(24 * 60), asked=asked("d"), labels=["M"]))
    assert "".join(found(base, **wanted)) == expected


def test_features_of_all_versions_are_there_and_types_that_differ_become_one_that_holds_both(base: Path) -> None:
    put(base, batch(1, columns={"radius": [1.5], "code": [1.0]}))
    put(base, batch(1, at=NOON + minutes(1), version=2, columns={"code": ["x"], "city": ["Bandung"]}))
    rows = log_files.inputs(read_all(base)).to_pylist()
    assert rows == [{"code": "x", "city": "Bandung", "radius": None}, {"code": "1.0", "city": None, "radius": 1.5}]


def test_a_page_opens_only_the_files_of_the_days_that_can_hold_it(base: Path, opened: list[str]) -> None:
    for day in range(20):
        put(base, batch(10, at=NOON - timedelta(days=day)))
    reader = Reader(base)
    assert next(reader.tables())["row"].to_pylist() == list(range(10))
    assert len(opened) <= 3, "one for its schema, and the newest day's"


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The files of each query."""
    asked: list[Sequence[str]] = []
    really = engine.answer_from

    def noting(paths: Sequence[str], ask: Any) -> Any:
        asked.append(paths)
        return really(paths, ask)

    for module in (engine, reader_module):
        monkeypatch.setattr(module, "answer_from", noting)
    return asked


def test_a_thousand_small_files_are_paged_in_few_queries_and_rows_are_read_from_few_files(
    base: Path, queries: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "TABLE_ROWS", 50)
    for number in range(1000):
        put(base, batch(1, at=NOON + timedelta(seconds=number)))
    first = next(Reader(base).tables())["time"].to_pylist()
    assert first == [NOON + timedelta(seconds=number) for number in range(999, 949, -1)]
    assert [len(paths) for paths in queries] == [1, 64, 64, 50], "schema, what is merged, how many when, the page"
    queries.clear()
    last = next(Reader(base).tables(skip=975))["time"].to_pylist()
    assert last == [NOON + timedelta(seconds=number) for number in range(24, -1, -1)]
    counted = [files for files in (64, 128, 256, 512, 1000) for _ in ("what is merged", "how many when")]
    assert [len(paths) for paths in queries] == [1, *counted, 38], "as many again as all, in a few steps"


def test_rows_of_one_second_in_more_files_than_are_looked_at_first_come_once_and_in_order(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "FIRST_FILES", 2)
    times = [NOON + timedelta(milliseconds=100 * number) for number in range(25)]
    for number, at in enumerate(times):
        put(base, batch(1, at=at, asked=asked(f"r{number}")))
    rows = [time for table in Reader(base).tables() for time in table["time"].to_pylist()]
    assert rows == times[::-1]


def spoil_footer(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def spoil_tail(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20] + b"x" * 16 + b"PAR1")


def spoil_rows(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 400 + content[404:])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "spoil",
    [spoil_footer, spoil_tail, spoil_rows, Path.unlink, empty],
    ids=["no footer", "footer of rubbish", "rows of rubbish", "gone", "empty"],
)
def test_a_file_that_cannot_be_read_is_left_out_and_told_of_once(
    base: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    for minute in range(3):
        path = put(base, batch(2, at=NOON + minutes(minute), asked=asked("abc"[minute])))
    spoil(path)
    for _ in range(2):
        assert found(base) == ["b", "b", "a", "a"]
    assert len([r for r in caplog.records if path.name in r.getMessage()]) == path.exists()


def test_files_of_before_a_column_was_there_are_read_with_nothing_in_it(base: Path) -> None:
    path = put(base, batch(1, asked=RequestInfo("old", "ann", "page")))
    pq.write_table(pq.read_table(path, partitioning=None).drop(["reference"]), path)
    put(base, batch(1, at=NOON + minutes(1), asked=RequestInfo("new", "ann", "page", reference="bed 7")))
    rows = read_all(base).select(["request_id", "reference"]).to_pylist()
    assert rows == [{"request_id": "new", "reference": "bed 7"}, {"request_id": "old", "reference": None}]
    assert found(base, text="BED") == ["new"]


@pytest.mark.parametrize(
    "wanted",
    [
        {"version": 2},
        {"start": NOON + minutes(10)},
        {"start": NOON + minutes(24 * 60)},
        {"end": NOON - minutes(24 * 60)},
    ],
    ids=str,
)
def test_files_that_cannot_pass_stay_closed(base: Path, opened: list[str], wanted: dict[str, Any]) -> None:
    for minute in range(12):
        put(base, batch(1, at=NOON + minutes(minute)))
    put(base, batch(1, at=NOON - timedelta(days=2)))
    found(base, **wanted)
    assert len(set(opened)) <= 3


def test_reading_stops_when_its_time_is_over_and_says_how_far_it_came(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in range(10):
        put(base, batch(1, at=NOON + minutes(minute)))
    monkeypatch.setattr(reader_module, "TABLE_ROWS", 1)
    reader = Reader(base, deadline_s=time.monotonic() + 60)
    assert len(list(reader.tables())) == 10
    assert reader.stopped_at is None
    reader = Reader(base, deadline_s=0)
    assert list(reader.tables()) == []
    assert reader.stopped_at == NOON + minutes(9)


def test_without_a_log_there_is_nothing(base: Path) -> None:
    assert found(base) == []


def test_what_lies_about_is_left_alone(base: Path) -> None:
    path = put(base, batch(1))
    (path.parent / ".120000.000000-v1-1-1.parquet.77").write_bytes(b"half a fi")
    (path.parent / "notes.txt").write_text("hello")
    (base / "date=tomorrow").mkdir()
    assert len(found(base)) == 1


def test_columns_are_read_of_all_rows_that_pass_a_few_files_at_a_time(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "PORTION_BYTES", 1)
    for minute, version in enumerate([1, 2, 1]):
        put(base, batch(3, at=NOON + minutes(minute), version=version))
    tables = list(Reader(base, Filters(version=1)).columns(["version", "input.radius"]))
    assert [table.to_pydict() for table in tables] == 2 * [{"version": [1, 1, 1], "input.radius": [10.0, 15.0, 20.0]}]


def test_columns_of_a_file_that_is_damaged_are_left_out(base: Path) -> None:
    for minute in range(3):
        path = put(base, batch(1, at=NOON + minutes(minute), asked=asked("abc"[minute])))
    spoil_rows(path)
    assert [table.to_pydict() for table in Reader(base).columns(["request_id"])] == [{"request_id": ["b", "a"]}]
