"""The prediction log takes everything, waits for nothing and loses only what it says it lost."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.records.files import META, inputs
from common.text import MISSING_CODE
from tests.support.web.logged import NOON, Counted, batch, hasty, log_settings, minutes, strangers, visible
from webapp.predict.log_writer import FLUSH_ROWS, PredictionLog

Logs = Callable[..., tuple[PredictionLog, Counted, Path]]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    hasty(monkeypatch)


@pytest.fixture
def make_log(webapp_root: Path, tmp_path: Path) -> Iterator[Logs]:
    """Make logs that write under tmp_path; returned with their drop counter and the folder of `cells`."""
    made = []

    def make(**given: Any) -> tuple[PredictionLog, Counted, Path]:
        if not (tmp_path / "serving").exists():
            (tmp_path / "serving").symlink_to(webapp_root / "serving")
        settings, drops = log_settings(tmp_path, **given), Counted()
        made.append(PredictionLog(settings, drops))
        return made[-1], drops, settings.predictions / "cells"

    yield make
    for log in made:
        log.close()


def test_a_prediction_is_in_a_file_of_its_day_with_all_that_is_known_of_it(make_log: Logs) -> None:
    log, drops, base = make_log()
    assert log.append(batch(3, at=NOON.replace(microsecond=42), first_row=64))
    assert log.flush(5)
    file = base / "date=2126-11-20" / visible(base)[0]
    assert file.name.startswith(f"120000.000042-v1-{os.getpid()}-")
    frame = pd.read_parquet(file)
    assert list(frame.columns) == [*META.names, "input.radius", "input.texture", "input.smooth ness (mean)"]
    assert frame.iloc[1].drop("probabilities").to_dict() == {
        "time": pd.Timestamp(NOON.replace(microsecond=42)),
        "request_id": "request-20120000000042",
        "row": 65,
        "model": "cells",
        "version": 1,
        "route": "stable",
        "who": "ann",
        "source": "page",
        "reference": None,
        "latency_ms": 1.5,
        "label": "M",
        "probability": 0.25,
        "input.radius": 15.0,
        "input.texture": 18.0,
        "input.smooth ness (mean)": 0.1,
    }
    assert frame["probabilities"][2].tolist() == [0.75, 0.25]
    assert drops.rows == 0
    assert strangers(base) == []


def test_features_have_their_own_names_and_the_types_of_the_schema(make_log: Logs) -> None:
    log, _, base = make_log()
    columns = {
        "age": [60, None, 3],
        "pressure": np.array([120, np.nan, 1]),
        "cholesterol": [None, 200, float("nan")],
        "smoker": ["yes", "", None],
        "city": np.array(["a", "b", ""]),
        "ward": np.array([1, MISSING_CODE, 2**53 + 1]),
    }
    log.append(batch(3, model="patients", columns=columns))
    assert log.flush(5)
    table = inputs(pq.read_table(next((base.parent / "patients").glob("date=*/*.parquet"))))
    kinds = {f.name: str(f.type) for f in table.schema}
    assert kinds == {
        "age": "int64",
        "pressure": "double",
        "cholesterol": "double",
        "smoker": "string",
        "city": "string",
        "ward": "int64",
    }
    assert table.to_pydict() == {
        "age": [60, None, 3],
        "pressure": [120, None, 1],
        "cholesterol": [None, 200, None],
        "smoker": ["yes", None, None],
        "city": ["a", "b", None],
        "ward": [1, None, 2**53 + 1],
    }


def test_a_column_is_of_the_same_type_in_every_file_whatever_is_in_it(make_log: Logs) -> None:
    log, _, base = make_log()
    for minute, value in enumerate([1, 1.5, None, float("nan")]):
        log.append(batch(1, at=NOON + minutes(minute), columns={"radius": [value]}))
        assert log.flush(5)
    assert {str(pq.read_schema(path).field("input.radius").type) for path in base.glob("date=*/*")} == {"double"}
    together = pa.concat_tables([pq.read_table(path) for path in base.glob("date=*/*")])
    assert sorted(together["input.radius"].to_pylist(), key=str) == [1, 1.5, None, None]


def test_versions_and_days_have_files_of_their_own(make_log: Logs, webapp_root: Path, tmp_path: Path) -> None:
    shutil.copytree(webapp_root / "serving", tmp_path / "serving")
    shutil.copytree(tmp_path / "serving" / "cells" / "1", tmp_path / "serving" / "cells" / "2")
    log, _, base = make_log()
    for at in (NOON, NOON + minutes(12 * 60)):
        log.append(batch(1, at=at))
        log.append(batch(2, at=at, version=2))
    assert log.flush(5)
    told = {
        (path.parent.name, path.name.split("-")[1]): pq.read_metadata(path).num_rows for path in base.glob("date=*/*")
    }
    assert told == {
        (day, version): rows
        for day in ("date=2126-11-20", "date=2126-11-21")
        for version, rows in (("v1", 1), ("v2", 2))
    }


def test_many_batches_go_into_one_file_and_a_full_lot_does_not_wait(make_log: Logs) -> None:
    log, _, base = make_log()
    for number in range(10):
        log.append(batch(FLUSH_ROWS // 10, at=NOON + minutes(number)))
    deadline = time.monotonic() + 1.5  # well before the next flush is due
    while not visible(base):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert pq.read_metadata(next(base.glob("date=*/*"))).num_rows == FLUSH_ROWS


def test_what_the_queue_does_not_hold_is_dropped_counted_and_told_once(
    make_log: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    log, drops, base = make_log(log_queue_rows=5)
    assert log.append(batch(3))
    assert log.append(batch(2))
    assert not log.append(batch(1)), "full"
    assert not log.append(batch(2))
    assert drops.rows == 3
    assert log.flush(5)
    assert log.append(batch(5)), "there is room again"
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
        "the prediction log lost 1 rows: more predictions wait than may"
    ]
    assert log.flush(5)
    assert sum(pq.read_metadata(path).num_rows for path in base.glob("date=*/*")) == 10


def test_a_folder_that_cannot_be_written_costs_rows_only_until_it_can(make_log: Logs) -> None:
    log, drops, base = make_log()
    base.parent.parent.mkdir(exist_ok=True)
    base.parent.write_text("a file where the folder should be")
    assert log.append(batch(4))
    assert log.flush(5)
    assert drops.rows == 4
    base.parent.unlink()
    assert log.append(batch(2))
    assert log.flush(5)
    assert drops.rows == 4
    assert len(visible(base)) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: replace(b, version=9),
        lambda b: replace(b, columns={"radius": ["text"] * 2}),
        lambda b: replace(b, columns={"radius": [1.0]}),
        lambda b: replace(b, columns={"unknown": [1.0, 2.0]}),
        lambda b: replace(b, positive="X"),
    ],
    ids=["version gone", "text for a number", "rows missing", "unknown column", "no such class"],
)
def test_a_batch_that_cannot_be_written_is_dropped_alone(make_log: Logs, spoil: Callable[..., Any]) -> None:
    log, drops, base = make_log()
    assert log.append(spoil(batch(2, at=NOON + minutes(24 * 60))))
    assert log.append(batch(1))
    assert log.flush(5)
    assert drops.rows == 2
    assert [path.parent.name for path in base.glob("date=*/*")] == ["date=2126-11-20"]


def test_a_batch_among_others_of_its_kind_is_dropped_alone(make_log: Logs) -> None:
    log, drops, base = make_log()
    good = batch(3)
    assert log.append(good)
    assert log.append(replace(good, columns={**good.columns, "radius": ["text"] * 3}))
    assert log.flush(5)
    assert drops.rows == 3
    assert sum(pq.read_metadata(path).num_rows for path in base.glob("date=*/*")) == 3


def test_opted_out_nothing_is_written_and_no_thread_starts(make_log: Logs) -> None:
    log, drops, base = make_log(log_predictions=False)
    threads = threading.active_count()
    assert log.append(batch(5))
    assert log.flush(5)
    log.close()
    assert not base.parent.exists()
    assert threading.active_count() == threads
    assert drops.rows == 0


def test_closing_writes_the_rest_and_takes_nothing_more(make_log: Logs) -> None:
    log, drops, base = make_log()
    log.append(batch(2))
    log.close()
    assert len(visible(base)) == 1
    assert not log.append(batch(1))
    assert drops.rows == 1
    log.close()
    assert drops.rows == 1


@contextmanager
def held_write(log: PredictionLog) -> Iterator[None]:
    """Hold up the writing of two rows, as a disk does."""
    is_held, release = threading.Event(), threading.Event()

    class Slow(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            is_held.set()
            release.wait()
            return super().__getitem__(key)

    log._kinds["cells", 1] = Slow(log._types("cells", 1))
    log.append(batch(2))
    log.flush(0)
    assert is_held.wait(5)
    yield
    release.set()


def test_closing_ends_in_time_and_says_what_was_lost(make_log: Logs) -> None:
    log, drops, _ = make_log()
    with held_write(log):
        log.close(timeout_s=0.05)
        assert drops.rows == 2


def test_old_days_go_when_the_log_writes(make_log: Logs) -> None:
    log, _, base = make_log(log_retention_days=30)
    (base / "date=2020-01-01").mkdir(parents=True)
    log.append(batch(1, at=datetime.now(timezone.utc)))
    assert log.flush(5)
    deadline = time.monotonic() + 5
    while (base / "date=2020-01-01").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_appending_does_not_wait_for_the_disk(make_log: Logs) -> None:
    log, _, _ = make_log()
    with held_write(log):
        for number in range(200):
            assert log.append(batch(1, at=NOON + minutes(number)))
    assert log.flush(10)
