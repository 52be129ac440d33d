"""Few files, none too old, and no row lost or double, wherever the upkeep is cut short."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from common.files import locked
from common.records import upkeep
from common.records.engine import connect, facts_of, merged_names
from common.records.files import files_of_day
from common.records.reader import Reader
from common.records.upkeep import LOCK, Upkeep, look_after
from tests.support.web.logged import NOON, batch, hasty, minutes, put, read_all, strangers, visible

TOMORROW = NOON + timedelta(days=1)


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    hasty(monkeypatch)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "cells"


def tidy(base: Path, now: datetime = TOMORROW, retention_days: int = 90, grace_s: float = 600) -> None:
    look_after(base.parent, Upkeep(now, retention_days, grace_s))


def requests(base: Path) -> list[str]:
    return list(read_all(base)["request_id"].to_pylist())


def test_a_day_that_is_over_becomes_one_file_a_version(base: Path) -> None:
    for minute in range(0, 180, 20):
        put(base, batch(2, at=NOON + minutes(minute)))
    put(base, batch(1, at=NOON + minutes(1), version=2))
    before = read_all(base)
    tidy(base)
    assert [name.split("-")[:2] for name in visible(base)] == [["120100.000000", "v2"], ["144000.000000", "v1"]]
    assert read_all(base).equals(before)
    tidy(base)
    assert read_all(base).equals(before)


def test_what_only_pictures_have_stays(base: Path) -> None:
    for minute in (1, 2):
        put(base, batch(2, at=NOON + minutes(minute), strangeness=[0.25 * minute, 0.5 * minute]))
    tidy(base)
    assert len(visible(base)) == 1
    assert sorted(read_all(base)["strangeness"].to_pylist()) == [0.25, 0.5, 0.5, 1.0]


def test_of_today_only_hours_that_are_over_are_merged(base: Path) -> None:
    for minute in (0, 30, 60, 90, 120, 125):
        put(base, batch(1, at=NOON + minutes(minute)))
    before = read_all(base)
    tidy(base, now=NOON + minutes(130))
    assert [name[:4] for name in visible(base)] == ["1230", "1330", "1400", "1405"]
    assert read_all(base).equals(before)


def test_rows_of_a_merged_file_are_sorted_and_come_in_large_groups(base: Path) -> None:
    for minute in (3, 1, 2):
        put(base, batch(5, at=NOON + minutes(minute)))
    tidy(base)
    file = pq.ParquetFile(next(base.glob("date=*/*.parquet")))
    assert file.num_row_groups == 1
    assert file.read()["time"].to_pylist() == sorted(file.read()["time"].to_pylist())


def test_merged_files_become_no_larger_than_they_may(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for minute in range(6):
        put(base, batch(1, at=NOON + minutes(minute)))
    monkeypatch.setattr(upkeep, "MERGED_BYTES", 2 * next(base.glob("date=*/*")).stat().st_size + 10)
    tidy(base)
    assert len(visible(base)) == 3
    assert len(requests(base)) == 6


def test_late_rows_leave_a_large_file_alone(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = put(base, batch(1000, columns={"radius": np.random.default_rng(1).normal(size=1000)}))
    monkeypatch.setattr(upkeep, "MERGED_BYTES", large.stat().st_size - 10)
    for minute in (1, 2):
        put(base, batch(1, at=NOON + minutes(minute)))
    tidy(base)
    assert len(visible(base)) == 2
    assert large.name in visible(base)


def test_replaced_files_are_hidden_from_all_and_removed_after_a_while(base: Path) -> None:
    for minute in range(3):
        put(base, batch(1, at=NOON + minutes(minute)))
    tidy(base)
    assert len(strangers(base)) == 3
    assert all(Path(name).name.startswith(".") for name in strangers(base))
    tidy(base)
    assert len(strangers(base)) == 3, "a reader may still be at them"
    tidy(base, grace_s=0)
    assert strangers(base) == []
    assert len(requests(base)) == 3


@pytest.mark.parametrize("renames", range(6))
def test_cut_short_at_any_step_no_row_is_lost_or_double_and_the_next_round_completes(
    base: Path, renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in range(4):
        put(base, batch(2, at=NOON + minutes(minute)))
    before = read_all(base)
    left = iter(range(renames))

    def dying(really: Any) -> Any:
        def rename(*arguments: Any) -> Any:
            if next(left, None) is None:
                raise Killed
            return really(*arguments)

        return rename

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying(os.replace))
        patch.setattr(Path, "rename", dying(Path.rename))
        if renames < 5:
            with pytest.raises(Killed):
                tidy(base)
        else:
            tidy(base)
    assert read_all(base).equals(before)
    tidy(base)
    assert len(visible(base)) == 1
    assert read_all(base).equals(before)


def test_a_reader_that_listed_the_files_before_still_gets_every_row_once(base: Path) -> None:
    for minute in range(4):
        put(base, batch(1, at=NOON + minutes(minute)))
    expected = requests(base)
    reader = Reader(base)
    tidy(base)
    assert [name for table in reader.tables() for name in table["request_id"].to_pylist()] == expected

    reader = Reader(base)
    tables = reader.tables()
    first = next(tables)["request_id"].to_pylist()
    tidy(base, grace_s=0)
    assert first + [name for table in tables for name in table["request_id"].to_pylist()] == expected


def test_days_older_than_asked_for_are_removed(base: Path) -> None:
    for days in (0, 29, 30, 31):
        put(base, batch(1, at=NOON - timedelta(days=days)))
    tidy(base, now=NOON, retention_days=30)
    kept = ["date=2126-10-21", "date=2126-10-22", "date=2126-11-20"]
    assert sorted(path.name for path in base.glob("date=*")) == kept


def test_one_process_at_a_time_looks_after_a_model(base: Path) -> None:
    put(base, batch(1))
    put(base, batch(1, at=NOON + minutes(1)))
    with locked(base / LOCK, "busy"):
        tidy(base)
    assert len(visible(base)) == 2
    tidy(base)
    assert len(visible(base)) == 1


def test_late_rows_of_a_day_that_was_merged_are_merged_too(base: Path) -> None:
    for minute in range(3):
        put(base, batch(1, at=NOON + minutes(minute)))
    tidy(base)
    put(base, batch(1, at=NOON + minutes(1.5)))
    expected = requests(base)
    assert len(expected) == 4
    tidy(base)
    assert (len(visible(base)), requests(base)) == (1, expected)
    [file] = files_of_day(NOON.date(), base / "date=2126-11-20")
    assert len(merged_names(facts_of(connect(), [file]))) == 2


def test_a_file_that_cannot_be_read_stays_out_of_the_merge_and_does_not_stop_it(base: Path) -> None:
    paths = [put(base, batch(1, at=NOON + minutes(minute))) for minute in range(4)]
    paths[1].write_bytes(b"half a file")
    content = paths[2].read_bytes()
    paths[2].write_bytes(content[:4] + b"\xff" * 400 + content[404:])
    expected = requests(base)
    assert len(expected) == 2
    tidy(base)
    assert requests(base) == expected
    assert {path.name for path in paths[1:3]} <= {*visible(base)}
    assert len(visible(base)) == 3
