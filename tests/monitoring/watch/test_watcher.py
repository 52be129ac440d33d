"""The command: one round, or on and on in a process that another takes over from."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn

import pytest
import requests
from click.testing import CliRunner, Result

from monitoring.cli import main
from monitoring.lease import held
from monitoring.watch import rounds
from monitoring.watch.observe import Site
from monitoring.watch.server import Access
from monitoring.watch.watcher import LEASE, Watch, forever
from tests.support.drift import Watched
from tests.support.paths import ROOT
from tests.support.serving.running import wait_for


def watch_once(watched: Watched, *arguments: str) -> Result:
    return CliRunner(env={"VOUCH_VAR": str(watched.var), "VOUCH_MODEL_SERVER_GRPC": "127.0.0.1:1"}).invoke(
        main, ["watch", "--once", *arguments]
    )


def test_a_round_without_alarm_ends_with_0(watched: Watched) -> None:
    watched.predict_day(1.0)
    done = watch_once(watched)
    assert done.exit_code == 0, done.output
    assert "patients: version 1 (stable) 0 findings in 300 rows; version 1 awaits its release" in done.stdout


def test_an_alarm_ends_with_6(watched: Watched) -> None:
    for days_ago in (1.0, 2.0):
        watched.predict_day(days_ago, by=15)
    done = watch_once(watched, "--json")
    assert done.exit_code == 6
    [model] = json.loads(done.stdout)["models"]
    assert model["versions"][0]["alarms"][0]["column"] == "input.pressure"


def test_a_model_that_cannot_be_examined_ends_with_3(watched: Watched) -> None:
    (watched.var / "monitoring").mkdir()
    (watched.var / "monitoring" / "patients").write_text("no folder")
    assert watch_once(watched).exit_code == 3


def test_a_signal_that_a_query_swallows_ends_it_all_the_same(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def query(*_: object) -> NoReturn:
        stop.set()
        raise RuntimeError("Query interrupted")

    monkeypatch.setattr(rounds, "look_at", query)
    site = Site(watched.var, watched.var, timedelta(days=1))
    plan = Watch(site, "", 300.0, "127.0.0.1", 0)
    with pytest.raises(KeyboardInterrupt):
        forever(plan, Access.read({}), lambda line: None, lambda finished: None, stop)


def test_one_round_says_who_watches_already(watched: Watched) -> None:
    path = watched.var / "monitoring" / LEASE
    with held(path, is_patient=False, say=lambda line: None, end=lambda line: None):
        done = watch_once(watched)
    assert done.exit_code == 5
    assert f"process {os.getpid()}" in done.output


@contextmanager
def watching(watched: Watched) -> Iterator[subprocess.Popen[str]]:
    """A watcher in a process of its own."""
    command = [sys.executable, "-m", "monitoring", "watch", "--interval", "1s", "--port", "0", "--grpc", "127.0.0.1:1"]
    environment = {**os.environ, "VOUCH_VAR": str(watched.var)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str], pattern: str) -> str:
    """Wait for a line, and return what it says."""
    assert process.stderr
    for line in process.stderr:
        if match := re.search(pattern, line):
            return match[1]
    raise AssertionError(f"it ended without {pattern}")


@pytest.mark.slow
def test_a_second_watcher_waits_and_goes_on_where_a_killed_one_was(watched: Watched) -> None:
    for days_ago in (1.0, 2.0):
        watched.predict_day(days_ago, by=15)
    with watching(watched) as first:
        port = said(first, r"metrics: http://127\.0\.0\.1:(\d+)")
        with watching(watched) as second:
            assert said(second, r"waiting until process (\d+)") == str(first.pid)
            alarm = 'vouch_drift_alarms{model="patients",role="stable",version="1"} 1.0'
            read = lambda port: requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text  # noqa: E731
            wait_for(lambda: alarm in read(port), 60, lambda: "the first tells nothing")
            first.kill()
            port = said(second, r"metrics: http://127\.0\.0\.1:(\d+)")
            wait_for(lambda: alarm in read(port), 60, lambda: "the second tells nothing")
            second.send_signal(signal.SIGTERM)
            assert second.wait(60) == 130
