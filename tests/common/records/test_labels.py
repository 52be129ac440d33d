from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import URL

from common.records import labels
from common.records.database import Database
from common.records.files import TIME, day_folder, write
from common.records.labels import Feedback

NOON = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
NUMBERS = {"row": "int64", "version": "int64"}
OLD = pa.schema({"time": TIME, "request_id": "string", **NUMBERS, "label": "string", "who": "string"})


def told(request_id: str, label: str, minutes: int = 0) -> Feedback:
    return Feedback(NOON + timedelta(minutes=minutes), request_id, 0, 1, label, "otto")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(URL.create("sqlite", database=str(tmp_path / "labels.sqlite")), labels.metadata.create_all)


def keep_as_earlier_releases_did(base: Path, feedback: Feedback) -> None:
    write(day_folder(base / labels.OLD_FOLDER, NOON.date()), pa.Table.from_pylist([vars(feedback)], OLD))


def test_the_last_word_counts(database: Database) -> None:
    with database.writing() as connection:
        for label in "BM":
            labels.keep(connection, "cells", NOON, told("r", label))
        labels.keep(connection, "other", NOON, told("r", "B"))
    with database.reading() as connection:
        assert labels.of_requests(connection, "cells", ["r", "s"]) == {("r", 0): told("r", "M")}


def test_more_requests_than_fit_in_one_question_are_asked_for(database: Database) -> None:
    ids = [f"r{number}" for number in range(labels.IDS_AT_A_TIME + 1)]
    with database.writing() as connection:
        for request_id in ids:
            labels.keep(connection, "cells", NOON, told(request_id, "M"))
        assert len(labels.of_requests(connection, "cells", ids)) == len(ids)


def test_labels_of_earlier_releases_are_taken_over_and_do_not_replace_newer_ones(
    database: Database, tmp_path: Path
) -> None:
    base = tmp_path / "cells"
    for feedback in (told("a", "B"), told("a", "M", 1), told("b", "B")):
        keep_as_earlier_releases_did(base, feedback)
    with database.writing() as connection:
        labels.keep(connection, "cells", NOON, told("b", "M", 5))
        assert len(labels.take_over(connection, base)) == 3
        known = labels.of_requests(connection, "cells", "ab")
    assert known == {("a", 0): told("a", "M", 1), ("b", 0): told("b", "M", 5)}


def test_a_file_that_cannot_be_read_stays_and_is_told(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = tmp_path / "cells"
    keep_as_earlier_releases_did(base, told("a", "M"))
    broken = day_folder(base / labels.OLD_FOLDER, NOON.date()) / "broken.parquet"
    broken.write_bytes(b"PAR1")
    with caplog.at_level(logging.WARNING), database.writing() as connection:
        [taken] = labels.take_over(connection, base)
    assert taken != broken
    assert "broken.parquet" in caplog.text
