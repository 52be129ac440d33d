from __future__ import annotations

import threading

import pytest

from serving.server.periodic import Periodic
from tests.support.serving.fakes import LIMIT_S, eventually


def test_an_error_is_logged_and_the_thread_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise ValueError("no luck")

    thread = Periodic("worker", fail, 0.001)
    thread.start()
    eventually(lambda: len(calls) > 2)
    thread.stop(LIMIT_S)
    count = len(calls)
    assert "worker failed and goes on" in caplog.text
    assert "no luck" in caplog.text
    assert "worker" not in {running.name for running in threading.enumerate()}
    assert len(calls) == count


def test_without_an_interval_it_waits_to_be_woken() -> None:
    calls: list[int] = []
    thread = Periodic("worker", lambda: calls.append(1), None)
    thread.start()
    eventually(lambda: len(calls) == 1)
    thread.wake()
    eventually(lambda: len(calls) == 2)
    thread.stop(LIMIT_S)
    assert len(calls) == 2


def test_one_never_started_can_be_stopped() -> None:
    Periodic("worker", lambda: None, 1.0).stop()
