"""What is wanted, newest first, by reading as little as needed."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.records import files as log_files
from common.records.files import LogFile
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
    """The names of the files that were opened."""
    names: list[str] = []
    really = LogFile.open

    def noting(file: LogFile) -> Any:
        names.append(file.name)
        return really(file)

    monkeypatch.setattr(LogFile, "open", noting)
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
    assert rows == [{"code": "x", "city": "Bandung", "radius": None}, {"code": "1", "city": None, "radius": 1.5}]


def test_a_page_opens_only_the_files_that_can_hold_it(base: Path, opened: list[str]) -> None:
    for minute in range(20):
        put(base, batch(10, at=NOON + minutes(minute)))
    reader = Reader(base)
    assert next(reader.tables())["row"].to_pylist() == list(range(10))
    assert len(opened) <= 3, "one for its schema, the newest, and the next to see that it is older"


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


def test_reading_stops_when_its_time_is_over_and_says_how_far_it_came(base: Path) -> None:
    for minute in range(10):
        put(base, batch(1, at=NOON + minutes(minute)))
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
