"""Uploads as jobs: a row in the database each, taken by a lease, so that another worker takes up what one left behind.

An upload and its result are files that all workers see. A job that is taken up begins anew; rows that are in the
prediction log already are not logged again.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from common.errors import VouchError
from common.files import disk_problems
from common.logs import REQUEST_ID, Sparse
from common.records import labels
from common.records.database import Database
from common.records.reader import Filters, Reader
from webapp.bulk.csv_blocks import Limits
from webapp.bulk.scoring import BulkResult, Upload, score_csv
from webapp.http.admission import NoRoom
from webapp.predict.predictor import Predictor
from webapp.settings import WebSettings
from webapp.tables import jobs
from webapp.types import InvalidInput, Problem, RequestInfo

WAITING, RUNNING, DONE, REFUSED, FAILED = "waiting", "running", "done", "refused", "failed"
LEASE_S = 15.0
BEAT_S = 1.0
SWEEP_EVERY_S = 60.0
CLOSE_S = 3.0
KEPT_S = 24 * 3600.0
ATTEMPTS = 3
TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
HELD = 8  # files of the largest size that may wait or be worked at
SHOWN = 20
NOT_KEPT, MAKE_ROOM = "the upload cannot be kept", "make room on the disk, or have it made"
log = logging.getLogger(__name__)


class NoSuchJob(VouchError):
    """There is no such upload, it has expired, or it is somebody else's."""

    http_status = 404


class _Lost(Exception):
    """Another worker is to have the job."""


@dataclass(frozen=True)
class Job:
    """An upload, how far it is, and what became of it: a result, or what is wrong with the file, or a failure."""

    id: str
    owner: str
    model: str
    state: str
    request_id: str
    created: datetime
    expires: datetime
    rows: int  # predicted so far
    share: float  # 0 to 1, of the file's bytes
    result: BulkResult | None = None
    error: VouchError | None = None

    @property
    def is_open(self) -> bool:
        return self.state in (WAITING, RUNNING)


class Jobs:
    """The jobs that this process takes, one at a time, and those of all processes to be asked for."""

    def __init__(
        self, settings: WebSettings, database: Database, predictor: Predictor, now: Callable[[], float] = time.time
    ) -> None:
        self.folder = settings.var / "webapp" / "batches"
        self.limits = Limits(settings.max_upload_bytes, settings.max_upload_rows)
        self._settings, self._database, self._predictor, self._now = settings, database, predictor, now
        self._worker = secrets.token_hex(16)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._taken = ""  # the job that this process works at
        self._is_lost = False
        self._so_far: dict[str, Any] = {}
        self._swept_at = float("-inf")

    def start(self) -> None:
        """Begin to take jobs, and to sweep, in a thread."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Leave what is not finished to others."""
        with self._changed:
            self._is_closed = self._is_lost = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._taken, CLOSE_S)

    def submit(self, request_info: RequestInfo, upload: Upload, job_id: str = "") -> Job:
        """Keep a file and have it predicted. `job_id`: one that the asker made up.

        Raises NoRoom, EnvironmentProblem.
        """
        job_id, now = job_id if TOKEN.fullmatch(job_id) else new_id(), self._now()
        with self._kept(upload.stream) as (temporary, size_bytes), self._database.writing() as connection:
            held = select(func.coalesce(func.sum(jobs.c.size_bytes), 0)).where(jobs.c.state.in_((WAITING, RUNNING)))
            if connection.execute(held).scalar_one() + size_bytes > HELD * self._settings.max_upload_bytes:
                raise NoRoom("too much waits to be predicted here", fix="try again in some minutes")
            if connection.execute(select(jobs.c.id).where(jobs.c.id == job_id)).first():
                job_id = new_id()
            with disk_problems(NOT_KEPT, MAKE_ROOM):  # else it would be taken for the database's
                os.replace(temporary, self._input(job_id))
            values = {
                "id": job_id,
                "owner": request_info.who,
                "model": upload.model,
                "request_id": request_info.request_id,
                "source": request_info.source,
                "sticky": request_info.sticky_key,
                "reference_column": upload.reference_column,
                "state": WAITING,
                "created": now,
                "expires": now + KEPT_S,
                "size_bytes": size_bytes,
                "attempts": 0,
                "rows": 0,
                "share": 0.0,
            }
            connection.execute(insert(jobs).values(**values))
        self.start()
        with self._changed:
            self._changed.notify_all()
        return self.find(job_id, request_info.who)

    def find(self, job_id: str, owner: str) -> Job:
        """Return a job of somebody's own. Raises NoSuchJob."""
        is_wanted = (jobs.c.id == job_id) & (jobs.c.owner == owner) & (jobs.c.expires > self._now())
        with self._database.reading() as connection:
            row = connection.execute(select(jobs).where(is_wanted)).first() if TOKEN.fullmatch(job_id) else None
        if row is None:
            raise NoSuchJob("there is no such upload", wanted="one of your own, of the last day")
        return _job(row)

    def of(self, owner: str, model: str) -> list[Job]:
        """Return somebody's last jobs, newest first."""
        is_wanted = (jobs.c.owner == owner) & (jobs.c.model == model) & (jobs.c.expires > self._now())
        with self._database.reading() as connection:
            rows = connection.execute(select(jobs).where(is_wanted).order_by(jobs.c.created.desc()).limit(SHOWN))
            return [_job(row) for row in rows]

    def wait(self, job: Job, timeout_s: float) -> Job:
        """Return the job once it is finished, or as it is when the time is over."""
        deadline = time.monotonic() + timeout_s
        while job.is_open and time.monotonic() < deadline:
            with self._changed:
                self._changed.wait(0.1)
            job = self.find(job.id, job.owner)
        return job

    def result(self, job_id: str, owner: str) -> tuple[Path, BulkResult]:
        """Return where a result is, and what it is of. Raises NoSuchJob."""
        job, path = self.find(job_id, owner), self._output(job_id)
        if job.result is None or not path.is_file():
            raise NoSuchJob("this upload has no result", fix="wait until it is done, or upload the file again")
        return path, job.result

    def remove(self, connection: Connection, model: str, request_ids: Iterable[str]) -> int:
        """Delete the uploads that came with some requests, with their results; return how many there were."""
        wanted = set(request_ids)
        rows = connection.execute(select(jobs.c.id, jobs.c.request_id).where(jobs.c.model == model)).all()
        gone = [row.id for row in rows if row.request_id in wanted]
        connection.execute(delete(jobs).where(jobs.c.id.in_(gone)))
        for path in (path for job_id in gone for path in self.folder.glob(f"{job_id}.*")):
            path.unlink(missing_ok=True)
        return len(gone)

    def _input(self, job_id: str) -> Path:
        return self.folder / f"{job_id}.upload"

    def _output(self, job_id: str) -> Path:
        return self.folder / f"{job_id}.csv"

    @contextmanager
    def _kept(self, stream: BinaryIO) -> Iterator[tuple[Path, int]]:
        """Write a stream to a file that is gone afterwards, unless it was moved."""
        temporary = self.folder / f"{new_id()}.part"
        try:
            with disk_problems(NOT_KEPT, MAKE_ROOM):
                self.folder.mkdir(parents=True, exist_ok=True)
                with temporary.open("wb") as file:
                    shutil.copyfileobj(stream, file)
                    size_bytes = file.tell()
            yield temporary, size_bytes
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _run(self) -> None:
        troubles = Sparse()
        while not self._is_closed:
            try:
                self._beat()
            except Exception as error:  # an edge: the database may be away for a while
                if troubles.due(str(error)):
                    log.warning("jobs have to wait: %s", error)
            with self._changed:
                if not self._is_closed:
                    self._changed.wait(BEAT_S)

    def _beat(self) -> None:
        """Go on with the job at hand, or take one; and sweep, by the clock."""
        now = self._now()
        if self._taken:
            self._is_lost |= not self._changed_ours(self._taken, leased_until=now + LEASE_S, **self._so_far)
        elif row := self._take(now):
            self._taken, self._is_lost, self._so_far = row.id, self._is_closed, {}
            threading.Thread(target=self._work, args=(row,), name="job", daemon=True).start()
        if time.monotonic() - self._swept_at >= SWEEP_EVERY_S:
            self._swept_at = time.monotonic()
            self.sweep()

    def _take(self, now: float) -> Row[Any] | None:
        is_free = (jobs.c.state == WAITING) | ((jobs.c.state == RUNNING) & (jobs.c.leased_until < now))
        oldest = select(jobs).where(is_free).order_by(jobs.c.created).limit(1)
        with self._database.reading() as connection:  # the usual answer is no, which needs no lock
            if connection.execute(oldest).first() is None:
                return None
        with self._database.writing() as connection:
            row = connection.execute(oldest).first()
            if row is None:
                return None
            values = {"state": RUNNING, "worker": self._worker, "leased_until": now + LEASE_S}
            values |= {"attempts": row.attempts + 1, "rows": 0, "share": 0.0}
            connection.execute(update(jobs).where(jobs.c.id == row.id).values(**values))
            return row

    def _work(self, row: Row[Any]) -> None:
        """Predict a file, and write down what became of it, unless another worker has it by now."""
        REQUEST_ID.set(row.request_id)
        try:
            with suppress(_Lost):
                self._finish(row, *self._outcome(row))
            if self._is_closed:  # given back at once, not when the lease is over
                self._changed_ours(row.id, state=WAITING, attempts=row.attempts)
        except Exception:  # an edge: when the lease is over, the job is taken up again
            log.exception("the job %s could not be finished", row.id)
        finally:
            with self._changed:
                self._taken = ""
                self._changed.notify_all()

    def _outcome(self, row: Row[Any]) -> tuple[str, dict[str, Any]]:
        if row.attempts >= ATTEMPTS:
            return FAILED, _told(VouchError(f"the worker that had this upload ended, {row.attempts} times"))
        try:
            return DONE, {"result": self._score(row)}
        except VouchError as error:
            return REFUSED if isinstance(error, InvalidInput) else FAILED, _told(error)
        except FileNotFoundError:
            return FAILED, _told(NoSuchJob("the file is gone", fix="upload it again; do all replicas share VOUCH_VAR?"))

    def _score(self, row: Row[Any]) -> BulkResult:
        logged_rows = self._logged_rows(row) if row.attempts else {}
        request_info = RequestInfo(row.request_id, row.owner, row.source, row.sticky)
        temporary = self.folder / f"{row.id}.{self._worker}.part"
        try:
            with self._input(row.id).open("rb") as stream, disk_problems("the result cannot be written", MAKE_ROOM):
                upload = Upload(row.model, stream, self.limits, row.size_bytes, row.reference_column, logged_rows)
                with temporary.open("wb") as file:
                    result = score_csv(self._predictor, upload, request_info, cast(BinaryIO, file), self._report)
                os.replace(temporary, self._output(row.id))
        finally:
            temporary.unlink(missing_ok=True)
        return result

    def _logged_rows(self, row: Row[Any]) -> dict[int, int]:
        """Return how many rows of each version the worker before has logged: they are the first."""
        reader = Reader(self._settings.predictions / row.model, Filters(request_id=row.request_id))
        return dict(reader.query("SELECT version, max(row) + 1 FROM passing GROUP BY version"))

    def _report(self, rows: int, done_bytes: int, size_bytes: int) -> None:
        if self._is_lost:
            raise _Lost
        self._so_far = {"rows": rows, "share": min(1.0, done_bytes / size_bytes) if size_bytes else 0.0}

    def _finish(self, row: Row[Any], state: str, outcome: dict[str, Any]) -> None:
        values = {"state": state, "result": orjson.dumps(outcome).decode(), "expires": self._now() + KEPT_S}
        if state == DONE:
            values |= {"rows": outcome["result"].rows, "share": 1.0}
        if self._changed_ours(row.id, **values):
            self._input(row.id).unlink(missing_ok=True)

    def _changed_ours(self, job_id: str, **values: Any) -> bool:
        """Write values to a job that this process works at; return whether it still does."""
        is_ours = (jobs.c.id == job_id) & (jobs.c.worker == self._worker) & (jobs.c.state == RUNNING)
        with self._database.writing() as connection:
            return bool(connection.execute(update(jobs).where(is_ours).values(**values)).rowcount)

    def sweep(self) -> None:
        """Remove jobs that are over, files of nobody's, and true labels older than the predictions kept."""
        oldest = datetime.fromtimestamp(self._now(), timezone.utc) - timedelta(days=self._settings.log_retention_days)
        with self._database.writing() as connection:
            connection.execute(delete(jobs).where(jobs.c.expires < self._now()))
            labels.forget_before(connection, oldest)
        for path in self.folder.glob("*") if self.folder.is_dir() else ():
            with suppress(FileNotFoundError):  # another worker was first
                if path.stat().st_mtime < self._now() - KEPT_S:
                    path.unlink()


def new_id() -> str:
    return secrets.token_urlsafe(24)


def _told(error: VouchError) -> dict[str, Any]:
    problems = error.problems if isinstance(error, InvalidInput) else ()
    retry_after_s = getattr(error, "retry_after_s", None)
    told = {"what": error.what, "fix": error.fix, "problems": problems}
    return told | {"status": error.http_status, "retry_after_s": retry_after_s}


def _job(row: Row[Any]) -> Job:
    outcome: dict[str, Any] = orjson.loads(row.result) if row.result else {}
    result = TypeAdapter(BulkResult).validate_python(outcome["result"]) if "result" in outcome else None
    error = _error(outcome) if "what" in outcome else None
    created, expires = (datetime.fromtimestamp(seconds, timezone.utc) for seconds in (row.created, row.expires))
    plain = {name: getattr(row, name) for name in ("id", "owner", "model", "state", "request_id", "rows", "share")}
    return Job(**plain, created=created, expires=expires, result=result, error=error)


def _error(outcome: dict[str, Any]) -> VouchError:
    """Return the error that a job ended with, with the status that it had."""
    if problems := outcome.get("problems"):
        error: VouchError = InvalidInput([Problem(**problem) for problem in problems], outcome["what"])
    else:
        error = VouchError(outcome["what"], fix=outcome["fix"])
    error.http_status = outcome["status"]
    error.retry_after_s = outcome["retry_after_s"]  # type: ignore[attr-defined]  # where there is one
    return error
