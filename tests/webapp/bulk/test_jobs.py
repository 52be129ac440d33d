from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from common.errors import EnvironmentProblem
from common.records import labels
from common.records.database import Database
from common.records.reader import Filters, Reader
from tests.support.clock import Clock
from tests.support.web.apps import App
from tests.support.web.fake_model_server import FakeModelServer
from webapp.bulk import jobs as jobs_module
from webapp.bulk.jobs import DONE, FAILED, KEPT_S, LEASE_S, REFUSED, Job, Jobs, NoSuchJob
from webapp.bulk.scoring import Upload
from webapp.http.admission import NoRoom
from webapp.services import Services
from webapp.tables import jobs as table
from webapp.types import RequestInfo

HEADER = "radius,texture,smooth ness (mean)\n"
ROW = "18.5,21,0.1\n"
SECOND = timedelta(seconds=1)
ANA = RequestInfo("request-of-ana", "ana", "batch")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "BEAT_S", 0.02)


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def services(make_app: Callable[..., App]) -> Services:
    return make_app()[1]


@pytest.fixture
def open_jobs(services: Services, open_own: Callable[[], Database], clock: Clock) -> Iterator[Callable[[], Jobs]]:
    """Open the jobs once more, as another replica does that shares the files."""
    opened: list[Jobs] = []

    def opening() -> Jobs:
        opened.append(Jobs(services.settings, open_own(), services.predictor, clock))
        return opened[-1]

    yield opening
    for each in opened:
        each.close()


def sent(jobs: Jobs, text: str = HEADER + 2 * ROW, **given: Any) -> Job:
    return jobs.submit(ANA, Upload("cells", io.BytesIO(text.encode()), jobs.limits), **given)


def waiting(jobs: Jobs, **given: Any) -> Job:
    """A job that nobody takes yet."""
    jobs.start = lambda: None  # type: ignore[method-assign]
    try:
        return sent(jobs, **given)
    finally:
        del jobs.start


def left_behind(jobs: Jobs) -> Job:
    """A job whose worker was killed: the row says running, and nobody renews its lease."""
    job = waiting(jobs)
    row = jobs._take(jobs._now())
    assert row is not None
    return jobs.find(job.id, "ana")


def files(services: Services) -> list[str]:
    return sorted(path.suffix for path in (services.settings.var / "webapp" / "batches").iterdir())


def test_a_file_becomes_a_result_that_its_owner_finds(open_jobs: Callable[[], Jobs], services: Services) -> None:
    jobs = open_jobs()
    job = jobs.wait(sent(jobs), 30)
    assert (job.state, job.rows, job.share, job.error) == (DONE, 2, 1.0, None)
    path, result = jobs.result(job.id, "ana")
    assert result.rows == 2
    assert path.read_text().count("\n") == 3
    assert files(services) == [".csv"], "the upload is gone"
    for stranger in ("budi", ""):
        with pytest.raises(NoSuchJob):
            jobs.find(job.id, stranger)


@pytest.mark.parametrize("where", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
def test_a_job_is_taken_by_one_of_two_replicas(open_jobs: Callable[[], Jobs]) -> None:
    replicas = [open_jobs(), open_jobs()]
    waiting(replicas[0])
    start, rows = threading.Barrier(2), []

    def take(jobs: Jobs) -> None:
        start.wait(30)
        rows.append(jobs._take(jobs._now()))

    threads = [threading.Thread(target=take, args=(jobs,)) for jobs in replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(row is None for row in rows) == [False, True]


@pytest.mark.parametrize("where", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
def test_what_a_killed_worker_left_is_taken_up_when_its_lease_is_over(
    open_jobs: Callable[[], Jobs], clock: Clock
) -> None:
    job, other = left_behind(open_jobs()), open_jobs()
    assert job.state == "running"
    assert other._take(clock.now + LEASE_S - 1) is None
    clock.now += LEASE_S + 1
    other.start()
    assert other.wait(job, 30).state == DONE


def test_rows_that_the_worker_before_has_logged_are_not_logged_again(
    open_jobs: Callable[[], Jobs], services: Services, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.bulk.scoring.CHUNK_ROWS", 1)
    killed, other = open_jobs(), open_jobs()
    job = left_behind(killed)

    def die(rows: int, *_: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(killed, "_report", die)
    with pytest.raises(SystemExit):
        killed._score(_row(killed, job))
    services.log.flush(10)
    clock.now += LEASE_S + 1
    other.start()
    assert other.wait(job, 30).state == DONE
    services.log.flush(10)
    reader = Reader(services.settings.predictions / "cells", Filters(request_id=ANA.request_id))
    assert reader.query("SELECT row FROM passing ORDER BY row") == [(0,), (1,)]


def _row(jobs: Jobs, job: Job) -> Any:
    with jobs._database.reading() as connection:
        return connection.execute(table.select().where(table.c.id == job.id)).one()


def test_a_worker_that_lost_its_lease_leaves_the_job_to_the_other(open_jobs: Callable[[], Jobs], clock: Clock) -> None:
    slow, other = open_jobs(), open_jobs()
    job = left_behind(slow)
    row = _row(slow, job)
    clock.now += LEASE_S + 1
    assert other._take(clock.now) is not None
    slow._finish(row, FAILED, {"what": "too late", "fix": "", "status": 500, "retry_after_s": None})
    assert other.find(job.id, "ana").state == "running"


def test_a_worker_that_is_told_to_end_gives_its_job_back(
    open_jobs: Callable[[], Jobs], fake: FakeModelServer, services: Services
) -> None:
    first, other = open_jobs(), open_jobs()
    job = waiting(first)
    row = first._take(first._now())
    assert row is not None
    first.close()
    first._work(row)
    assert other.find(job.id, "ana").state == "waiting"
    other.start()
    assert other.wait(job, 30).state == DONE


def test_a_file_that_ends_its_worker_again_and_again_is_given_up(open_jobs: Callable[[], Jobs], clock: Clock) -> None:
    jobs = open_jobs()
    job = waiting(jobs)
    for _ in range(jobs_module.ATTEMPTS):
        assert jobs._take(clock.now) is not None
        clock.now += LEASE_S + 1
    jobs.start()
    job = jobs.wait(job, 30)
    assert job.state == FAILED
    assert "3 times" in str(job.error)


def test_what_is_wrong_with_a_file_is_kept_with_its_status(open_jobs: Callable[[], Jobs]) -> None:
    jobs = open_jobs()
    job = jobs.wait(sent(jobs, "radius\n1\n"), 30)
    assert job.state == REFUSED
    assert job.error is not None
    assert job.error.http_status == 400
    assert [problem.field for problem in job.error.problems] == ["texture", "smooth ness (mean)"]  # type: ignore[attr-defined]


def test_so_many_bytes_may_wait(make_app: Callable[..., App], open_own: Callable[[], Database]) -> None:
    app_services = make_app(max_upload_bytes=100)[1]
    with closing(Jobs(app_services.settings, open_own(), app_services.predictor)) as jobs:
        for _ in range(jobs_module.HELD):
            waiting(jobs, text="x" * 100)
        with pytest.raises(NoRoom):
            waiting(jobs, text="x")
        assert len(files(app_services)) == jobs_module.HELD


def test_a_full_disk_is_told_and_leaves_nothing(open_jobs: Callable[[], Jobs], services: Services) -> None:
    class Full(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(28, "No space left on device")

    jobs = open_jobs()
    with pytest.raises(EnvironmentProblem, match="cannot be kept"):
        jobs.submit(ANA, Upload("cells", Full(), jobs.limits))
    assert files(services) == []


def test_an_upload_that_cannot_be_moved_is_told_as_the_disks_trouble(
    open_jobs: Callable[[], Jobs], services: Services
) -> None:
    jobs, job_id = open_jobs(), jobs_module.new_id()
    jobs._input(job_id).mkdir(parents=True)  # no file can take its place
    with pytest.raises(EnvironmentProblem, match="the upload cannot be kept"):
        sent(jobs, job_id=job_id)
    assert files(services) == [".upload"]
    assert jobs.of("ana", "cells") == []


def test_a_result_that_cannot_be_written_to_its_end_is_told_and_leaves_nothing(
    open_jobs: Callable[[], Jobs], services: Services
) -> None:
    jobs = open_jobs()
    job = waiting(jobs, text=HEADER + 2000 * ROW)
    (jobs.folder / f"{job.id}.{jobs._worker}.part").symlink_to("/dev/full")
    row = jobs._take(jobs._now())
    assert row is not None
    jobs._work(row)
    job = jobs.find(job.id, "ana")
    assert job.state == FAILED
    assert "the result cannot be written" in str(job.error)
    assert "make room on the disk" in str(job.error)
    assert files(services) == []
    with pytest.raises(NoSuchJob):
        jobs.result(job.id, "ana")


def test_the_clock_removes_true_labels_with_the_predictions_that_they_are_of(
    open_jobs: Callable[[], Jobs], services: Services, clock: Clock
) -> None:
    jobs, now = open_jobs(), datetime.fromtimestamp(clock.now, timezone.utc)
    kept_days = timedelta(days=services.settings.log_retention_days)
    with jobs._database.writing() as connection:
        for request_id, predicted in (("old", now - kept_days - SECOND), ("kept", now - kept_days + SECOND)):
            labels.keep(connection, "cells", predicted, labels.Feedback(now, request_id, 0, 1, "M", "otto"))
    jobs.sweep()
    with jobs._database.reading() as connection:
        assert list(labels.of_requests(connection, "cells", ["old", "kept"])) == [("kept", 0)]


def test_the_clock_sweeps_jobs_and_files_not_the_next_upload(
    open_jobs: Callable[[], Jobs], services: Services, clock: Clock
) -> None:
    jobs = open_jobs()
    job = jobs.wait(sent(jobs), 30)
    folder: Path = services.settings.var / "webapp" / "batches"
    (folder / "left.part").touch()
    for path in folder.iterdir():
        os.utime(path, (clock.now, clock.now))
    clock.now += KEPT_S + 1
    jobs.sweep()
    assert files(services) == []
    clock.now -= KEPT_S
    with pytest.raises(NoSuchJob):
        jobs.find(job.id, "ana")
