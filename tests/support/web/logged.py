"""Batches for the prediction log, and what tests ask of the files it wrote."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from common.records.files import day_folder, days, files_of_day, write
from common.records.reader import ALL, Filters, Reader
from webapp.predict.log_writer import as_table
from webapp.settings import WebSettings, read_settings
from webapp.types import LoggedBatch, RequestInfo

NOON = datetime(2126, 11, 20, 12, 0, tzinfo=timezone.utc)  # no day that upkeep takes for over


class Counted:
    """Rows that were dropped."""

    rows = 0

    def dropped(self, rows: int) -> None:
        self.rows += rows


def batch(rows: int = 1, at: datetime = NOON, model: str = "cells", version: int = 1, **given: Any) -> LoggedBatch:
    """A batch as the predictor makes it, with all the columns of the hand-made `cells` unless others are given."""
    columns = {"radius": np.linspace(10, 20, rows), "texture": [18] * rows, "smooth ness (mean)": [0.1] * rows}
    values: dict[str, Any] = {
        "time": at,
        "model": model,
        "version": version,
        "route": "stable",
        "latency_s": 0.0015,
        "columns": columns,
        "asked": RequestInfo(f"request-{at:%d%H%M%S%f}", "ann", "page"),
        "labels": (["B", "M"] * rows)[:rows],
        "probabilities": np.tile(np.float32([0.75, 0.25]), (rows, 1)),
        "classes": ("B", "M"),
        "positive": "M",
    }
    return LoggedBatch(**values | given)


def put(base: Path, found: LoggedBatch) -> Path:
    """Write a batch as a file of its own."""
    kinds = {
        name: pa.string() if isinstance(values[0], str) else pa.float64() for name, values in found.columns.items()
    }
    return write(day_folder(base, found.time.date()), as_table([found], kinds))


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def log_settings(var: Path, **given: Any) -> WebSettings:
    return read_settings({}, var=var, **given)


def read_all(base: Path, filters: Filters = ALL) -> pa.Table:
    """All rows that pass, by our own reader."""
    reader = Reader(base, filters)
    return pa.concat_tables([reader.schema.empty_table(), *reader.tables()])


def visible(base: Path) -> list[str]:
    """The files that any tool sees."""
    return sorted(file.name for day, folder in days(base).items() for file in files_of_day(day, folder))


def strangers(base: Path) -> list[str]:
    """Whatever else lies about in the folders of the days."""
    seen = {file.path for day, folder in days(base).items() for file in files_of_day(day, folder)}
    return sorted(os.path.relpath(path, base) for path in base.glob("date=*/*") if path not in seen)


def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk after each of hundreds of files."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
