"""Where results wait for their download, and how far each upload is: in files, all that worker processes share."""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow.compute as pc
from pyarrow import csv

from common.errors import VouchError
from common.files import write_text
from common.tables.csv_file import CsvFile

OURS = ("label", "probability")
BINS = 20
KEPT_S = 24 * 3600
NOTED_EVERY_S = 0.3
TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")


@dataclass(frozen=True)
class Summary:
    """`labels`: each with its rows, the most frequent first; `bins`: low, high and rows of equal steps from 0 to 1."""

    labels: tuple[tuple[str, int], ...]
    bins: tuple[tuple[float, float, float], ...]


def summarise(path: Path) -> Summary:
    """Return the summary of a file that score_csv wrote."""
    file = CsvFile(path)
    names = file.dialect.names  # the file may have columns that are called as ours
    label, probability = (f"predicted_{name}" if f"predicted_{name}" in names else name for name in OURS)
    converting = csv.ConvertOptions(include_columns=[label, probability], column_types={label: "string"})
    table = csv.read_csv(path, *file.arrow_options(), converting)
    counts = {pair["values"]: pair["counts"] for pair in pc.value_counts(table[label]).to_pylist()}
    rows, edges = np.histogram(table[probability].to_numpy().astype(float), BINS, (0.0, 1.0))
    bins = tuple((float(edges[i]), float(edges[i + 1]), float(count)) for i, count in enumerate(rows))
    return Summary(tuple(sorted(counts.items(), key=lambda pair: -pair[1])), bins)


class NoSuchBatch(VouchError):
    """There is no such result, it has expired, or it is somebody else's."""

    http_status = 404


@dataclass(frozen=True)
class Progress:
    """How far an upload is. `share`, 0 to 1, of its bytes; `version` answered it, 0 until it is done."""

    owner: str
    model: str
    rows: int = 0
    share: float = 0.0
    version: int = 0


class BatchFiles:
    """Results and their progress under one folder, by an unguessable token; only their owner finds them."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self.folder, self._now = folder, now

    def begin(self, token: str, owner: str, model: str) -> str:
        """Take note of an upload and return its token: the one given, unless it is malformed or taken."""
        self.sweep()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not TOKEN.fullmatch(token) or self._progress_path(token).exists():
            token = new_token()
        self._write(token, Progress(owner, model))
        return token

    def reporter(self, token: str, owner: str, model: str) -> Callable[[int, int, int], None]:
        """Return what notes rows and bytes done, and bytes in all, a few times a second."""
        last_s = 0.0

        def report(rows: int, done_bytes: int, size_bytes: int) -> None:
            nonlocal last_s
            if time.monotonic() - last_s >= NOTED_EVERY_S:
                last_s = time.monotonic()
                share = min(1.0, done_bytes / size_bytes) if size_bytes else 0.0
                self._write(token, Progress(owner, model, rows, share))

        return report

    @contextmanager
    def new_result(self, token: str) -> Iterator[BinaryIO]:
        """Give a file that becomes the upload's result once it is written; after an error nothing is left of it."""
        with tempfile.NamedTemporaryFile("wb", dir=self.folder, suffix=".part", delete=False) as file:
            try:
                yield cast(BinaryIO, file)
                os.replace(file.name, self.path(token))
            except BaseException:
                os.unlink(file.name)
                raise

    def finish(self, token: str, done: Progress) -> None:
        """Let the owner find the result."""
        self._write(token, done)

    def path(self, token: str) -> Path:
        """Return where an upload's result is, once there is one."""
        return self.folder / f"{token}.csv"

    def progress(self, token: str, owner: str) -> Progress:
        """Return how far an upload is. Raises NoSuchBatch."""
        if TOKEN.fullmatch(token):
            try:
                progress = Progress(**json.loads(self._progress_path(token).read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                progress = None
            if progress is not None and progress.owner == owner:
                return progress
        raise NoSuchBatch("there is no such result", wanted="one of your own, of the last day")

    def result(self, token: str, owner: str) -> tuple[Path, Progress]:
        """Return where a result is, and what it is of. Raises NoSuchBatch."""
        progress = self.progress(token, owner)
        if not self.path(token).is_file():
            raise NoSuchBatch("this upload has no result", fix="upload the file again")
        return self.path(token), progress

    def _progress_path(self, token: str) -> Path:
        return self.folder / f"{token}.json"

    def _write(self, token: str, progress: Progress) -> None:
        write_text(self._progress_path(token), json.dumps(asdict(progress)))

    def sweep(self) -> None:
        """Remove what is too old, whatever it is: an upload cut off leaves its unfinished result."""
        for path in self.folder.glob("*") if self.folder.is_dir() else ():
            try:
                if path.stat().st_mtime < self._now() - KEPT_S:
                    path.unlink()
            except FileNotFoundError:
                continue  # another worker was first


def new_token() -> str:
    return secrets.token_urlsafe(24)
