"""The lease: one at a time, whatever becomes of the holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.errors import EnvironmentProblem
from monitoring.lease import Pace, held
from tests.support.paths import ROOT
from tests.support.serving.running import wait_for

QUICK = Pace(beat_s=0.05, still_s=0.5, stuck_s=600)
HOLDER = """
import sys, threading
from pathlib import Path
from monitoring.lease import Pace, held, leave
pace = Pace(0.05, 0.5, float(sys.argv[2]))
with held(Path(sys.argv[1]), is_patient=True, say=lambda line: None, end=leave, pace=pace):
    print("held", flush=True)
    threading.Event().wait()
"""


def ignore(line: str) -> None:
    pass


@contextmanager
def holder(path: Path, stuck_s: float = 600) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lease."""
    command = [sys.executable, "-c", HOLDER, str(path), str(stuck_s)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_who_is_not_patient_is_told_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "lease"
    with (
        holder(path) as other,
        pytest.raises(EnvironmentProblem, match=f"process {other.pid} on .*, since 20"),
        held(path, is_patient=False, say=ignore, end=ignore),
    ):
        raise AssertionError("two have it")


def test_it_is_free_again_after_an_orderly_end(tmp_path: Path) -> None:
    for _ in range(2):
        with held(tmp_path / "lease", is_patient=False, say=ignore, end=ignore, pace=QUICK):
            pass


def test_who_waits_says_for_whom_and_has_it_once_the_holder_is_killed(tmp_path: Path) -> None:
    path, said = tmp_path / "lease", list[str]()
    with holder(path) as other:

        def say(line: str) -> None:
            said.append(line)
            other.kill()

        with held(path, is_patient=True, say=say, end=ignore):
            assert f"waiting until process {other.pid}" in said[0]


def test_a_holder_that_stands_still_is_replaced_and_ends_when_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with holder(path) as other:
        other.send_signal(signal.SIGSTOP)
        with held(path, is_patient=True, say=ignore, end=ignore, pace=QUICK):
            other.send_signal(signal.SIGCONT)
            assert other.wait(60) == EnvironmentProblem.exit_code
            assert other.stderr
            assert f"another process has taken over: process {os.getpid()}" in other.stderr.read()


def test_a_holder_whose_main_thread_is_stuck_ends_itself(tmp_path: Path) -> None:
    with holder(tmp_path / "lease", stuck_s=0.2) as other:
        assert other.wait(60) == EnvironmentProblem.exit_code
        assert other.stderr
        assert "no progress for 0.2 s" in other.stderr.read()


def test_who_tells_of_its_progress_keeps_it(tmp_path: Path) -> None:
    lost = list[str]()
    with held(tmp_path / "lease", is_patient=False, say=ignore, end=lost.append, pace=Pace(0.01, 0.5, 1.0)) as lease:
        beats = set[int]()

        def goes_on() -> bool:
            lease.progress()
            beats.add((tmp_path / "lease").stat().st_mtime_ns)
            return len(beats) > 20

        wait_for(goes_on, 30, lambda: f"{len(beats)} beats")
    assert lost == []


def test_of_many_who_look_for_it_one_has_it(tmp_path: Path) -> None:
    has_it, most, lock, refused = 0, list[int](), threading.Lock(), list[str]()

    def try_it() -> None:
        nonlocal has_it
        for _ in range(20):
            try:
                with held(tmp_path / "lease", is_patient=False, say=ignore, end=ignore, pace=Pace(10, 10, 10)):
                    with lock:
                        has_it += 1
                        most.append(has_it)
                    with lock:
                        has_it -= 1
            except EnvironmentProblem as problem:
                refused.append(str(problem))

    threads = [threading.Thread(target=try_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
