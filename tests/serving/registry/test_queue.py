"""The queue: nothing is lost that was appended, nothing is told twice, and nobody who appends is held up."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.registry import queue as queue_module
from serving.registry.queue import FOLDER, MAX_ATTEMPTS, Queue, announce
from serving.release import commands as release
from serving.release.servers import ReleaseContext
from serving.release.state import Entry, State, Store
from serving.repository.layout import models
from tests.support.paths import ROOT
from tests.support.serving.memory_server import MemoryServer, memory_context
from tests.support.serving.tracked import released, run_ended
from tests.support.serving.versions import copy_version, tiny_files


def ids(queue: Queue) -> list[str]:
    return [waiting.entry.id for waiting in queue.waiting()]


def test_an_entry_comes_back_as_it_was_appended(tmp_path: Path) -> None:
    run, step = run_ended(tmp_path / "run", "m", "r"), released("m", "1", 2, 3)
    for entry in (run, step):
        Queue(tmp_path).append(entry)
    assert [waiting.entry for waiting in Queue(tmp_path).waiting()] == [run, step]


def test_to_append_twice_is_to_append_once(tmp_path: Path) -> None:
    entry = released("m", "1")
    Queue(tmp_path).append(entry)
    Queue(tmp_path).append(entry)
    assert ids(Queue(tmp_path)) == ["release-m-1"]


def test_entries_come_in_the_order_in_which_they_happened(tmp_path: Path) -> None:
    first, second, third = (released("m", name) for name in ("z", "y", "x"))
    for entry in (third, first, second):
        Queue(tmp_path).append(entry)
    assert ids(Queue(tmp_path)) == ["release-m-z", "release-m-y", "release-m-x"]


def test_in_a_full_queue_the_oldest_makes_room_and_it_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(queue_module, "MAX_ENTRIES", 2)
    queue = Queue(tmp_path)
    for number in range(4):
        queue.append(released("m", str(number)))
        os.utime(queue.folder / f"release-m-{number}.json", (number, number))
    assert ids(queue) == ["release-m-2", "release-m-3"]
    assert [record.message.rpartition("told of ")[2] for record in caplog.records] == ["release-m-0", "release-m-1"]


def test_what_a_crash_left_of_a_file_holds_up_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue(tmp_path)
    queue.append(released("m", "1"))
    (queue.folder / ".release-m-2.json.part").write_text("{")
    (queue.folder / "release-m-3.json").write_text('{"entry": ')
    assert ids(queue) == ["release-m-1"]
    assert "release-m-3.json is no entry" in caplog.text


APPEND = """
import sys
from pathlib import Path
from serving.registry.queue import Queue
from tests.support.serving.tracked import released
for number in range(100_000):
    Queue(Path(sys.argv[1])).append(released("m", f"{number:06}"))
    print(number, flush=True)
"""


def test_a_kill_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", APPEND, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        acknowledged = [int(process.stdout.readline()) for _ in range(40)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout]
    kept = ids(Queue(tmp_path))
    assert kept[: len(acknowledged)] == [f"release-m-{number:06}" for number in acknowledged]
    assert len(kept) - len(acknowledged) in (0, 1), "the one under way is there whole, or not at all"


def test_an_entry_is_given_up_after_too_many_attempts_and_can_be_tried_again(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    queue.append(released("m", "1"))
    for attempt in range(1, MAX_ATTEMPTS):
        queue.put_off(queue.waiting()[0], "refused")
        assert (queue.waiting()[0].attempts, queue.waiting()[0].problem) == (attempt, "refused")
    queue.put_off(queue.waiting()[0], "refused")
    assert (ids(queue), [waiting.entry.id for waiting in queue.refused()]) == ([], ["release-m-1"])

    queue.try_again()
    assert (queue.waiting()[0].attempts, queue.refused()) == (0, [])


def test_a_disk_that_takes_nothing_is_logged_and_fails_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    with caplog.at_level(logging.WARNING):
        announce(tmp_path, released("m", "1"))
    assert "MLflow will not be told of release-m-1" in caplog.text


def test_whoever_appends_imports_neither_mlflow_nor_tensorflow() -> None:
    code = "import sys, serving.release.commands; print({'mlflow', 'tensorflow', 'tfx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Releases


class Site:
    """A model with three versions, none released yet."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "serving"
        for version in (1, 2, 3):
            copy_version(tiny_files(folder / f"tiny{version}"), self.root / "m", version)
        self.context: ReleaseContext = memory_context(self.root, MemoryServer())

    def announced(self) -> list[tuple[str, int, int | None]]:
        entries = [waiting.entry for waiting in Queue(self.root).waiting()]
        return [(entry.what, entry.stable, entry.candidate) for entry in entries if entry.kind == "release"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_every_release_is_put_down_and_the_queue_is_no_model(site: Site) -> None:
    release.promote(site.context, "m", 1)
    release.canary(site.context, "m", 10, 2)
    release.promote(site.context, "m")
    release.rollback(site.context, "m")
    assert site.announced() == [("first", 1, None), ("canary 10%", 1, 2), ("promote", 2, None), ("rollback", 1, None)]
    assert models(site.root) == ["m"]


def test_what_was_undone_is_not_put_down(site: Site) -> None:
    store = Store(site.root, "m")
    store.log(Entry("id", "2026-11-21T08:00:00+00:00", "w", "promote", State(1), State(2), "", "", "", "undone: why"))
    assert site.announced() == []


def test_a_release_completed_after_a_crash_is_put_down_once(site: Site) -> None:
    release.promote(site.context, "m", 1)

    def stop(step: str) -> None:
        if step == "logged":
            raise KeyboardInterrupt

    crashing = memory_context(site.root, *site.context.clients, reached=stop)
    with pytest.raises(KeyboardInterrupt):
        release.promote(crashing, "m", 2)
    assert [what for what, *_ in site.announced()] == ["first", "promote"]

    release.promote(site.context, "m", 2)
    assert site.announced() == [("first", 1, None), ("promote", 2, None)]
    texts = [path.read_text() for path in Queue(site.root).folder.glob("*.json")]
    assert len({json.loads(text)["entry"]["release"] for text in texts}) == 2
