from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import numpy as np
import pytest

from serving.server.core.servable import Call
from serving.server.run.runner import DirectRunner
from serving.server.status import Code, StatusError, invalid_argument

LIMIT_S = 10
CALL = Call(("x:0",), ("y:0",), [np.zeros(1)])


class Gate:
    """A servable whose calls wait until the gate is opened."""

    def __init__(self) -> None:
        self.is_open, self.entered = threading.Event(), threading.Semaphore(0)
        self.calls = 0
        self.error: StatusError | None = None

    def call(self, feeds: Any, fetches: Any, values: Any) -> list[Any]:
        self.calls += 1
        self.entered.release()
        assert self.is_open.wait(LIMIT_S)
        if self.error:
            raise self.error
        return [value + 1 for value in values]


@pytest.fixture
def gate() -> Any:
    return Gate()


@pytest.fixture
def runner() -> Iterator[DirectRunner]:
    made = DirectRunner(1, max_waiting=2)
    yield made
    made.close()


def within(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, LIMIT_S))


async def entered(gate: Any) -> None:
    await asyncio.to_thread(gate.entered.acquire)


async def until(happened: Any) -> None:
    while not happened():
        await asyncio.sleep(0.001)


def test_what_was_fetched_comes_back(runner: DirectRunner, gate: Any) -> None:
    gate.is_open.set()
    ends: list[int] = []
    assert within(runner.run_async(gate, CALL, 5.0, lambda: ends.append(1))) == [np.ones(1)]
    assert ends == [1]


def test_an_error_comes_back_and_the_thread_goes_on(runner: DirectRunner, gate: Any) -> None:
    gate.is_open.set()
    gate.error = invalid_argument("no")
    for _ in range(3):
        with pytest.raises(StatusError, match="INVALID_ARGUMENT: no"):
            within(runner.run_async(gate, CALL))


def test_a_run_over_its_time_is_answered_but_ends_only_when_it_has_ended(runner: DirectRunner, gate: Any) -> None:
    async def story() -> None:
        ends: list[int] = []
        with pytest.raises(StatusError) as raised:
            await runner.run_async(gate, CALL, 0.01, lambda: ends.append(1))
        assert raised.value.code is Code.DEADLINE_EXCEEDED
        assert not ends
        gate.is_open.set()
        await until(lambda: ends)

    within(story())


def test_a_cancelled_run_ends_only_when_it_has_ended(runner: DirectRunner, gate: Any) -> None:
    async def story() -> None:
        ends: list[int] = []
        request = asyncio.ensure_future(runner.run_async(gate, CALL, 5.0, lambda: ends.append(1)))
        await entered(gate)
        request.cancel()
        await asyncio.wait([request])
        assert not ends
        gate.is_open.set()
        await until(lambda: ends)

    within(story())


def test_what_nobody_waits_for_any_more_is_not_begun(runner: DirectRunner, gate: Any) -> None:
    async def story() -> None:
        ends: list[int] = []
        first = asyncio.ensure_future(runner.run_async(gate, CALL))
        await entered(gate)
        with pytest.raises(StatusError, match="DEADLINE_EXCEEDED"):
            await runner.run_async(gate, CALL, 0.01, lambda: ends.append(1))
        gate.is_open.set()
        await first
        await until(lambda: ends)
        assert gate.calls == 1

    within(story())


def test_no_time_at_all_is_refused_at_once(runner: DirectRunner, gate: Any) -> None:
    ends: list[int] = []
    with pytest.raises(StatusError, match="DEADLINE_EXCEEDED"):
        within(runner.run_async(gate, CALL, 0.0, lambda: ends.append(1)))
    assert ends == [1]
    assert gate.calls == 0


def test_too_many_waiting_runs_are_shed(runner: DirectRunner, gate: Any) -> None:
    async def story() -> None:
        ends: list[int] = []
        taken = [asyncio.ensure_future(runner.run_async(gate, CALL))]
        await entered(gate)
        taken += [asyncio.ensure_future(runner.run_async(gate, CALL)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(StatusError) as raised:
            await runner.run_async(gate, CALL, None, lambda: ends.append(1))
        assert raised.value.code is Code.RESOURCE_EXHAUSTED
        assert ends == [1]
        gate.is_open.set()
        assert await asyncio.gather(*taken) == [[np.ones(1)]] * 3

    within(story())


def test_one_end_that_fails_does_not_keep_others_waiting(
    runner: DirectRunner, gate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    async def story() -> None:
        failing = asyncio.ensure_future(runner.run_async(gate, CALL, 0.5, fail))
        await entered(gate)
        gate.is_open.set()
        assert await runner.run_async(gate, CALL) == [np.ones(1)]
        failing.cancel()

    within(story())
    assert "could not be ended" in caplog.text


def test_a_caller_in_a_thread_does_the_work_itself(runner: DirectRunner, gate: Any) -> None:
    gate.is_open.set()
    ends: list[int] = []
    assert runner.run(gate, CALL, 5.0, lambda: ends.append(1)) == [np.ones(1)]
    assert ends == [1]
    gate.error = invalid_argument("no")
    with pytest.raises(StatusError, match="INVALID_ARGUMENT: no"):
        runner.run(gate, CALL, None, lambda: ends.append(1))
    assert ends == [1, 1]


@pytest.mark.parametrize("timeout_s", [0.0, 0.01])
def test_a_caller_in_a_thread_waits_for_its_turn_no_longer_than_it_may(
    runner: DirectRunner, gate: Any, timeout_s: float
) -> None:
    first = threading.Thread(target=runner.run, args=(gate, CALL))
    first.start()
    assert gate.entered.acquire(timeout=LIMIT_S)
    ends: list[int] = []
    with pytest.raises(StatusError, match="DEADLINE_EXCEEDED"):
        runner.run(gate, CALL, timeout_s, lambda: ends.append(1))
    assert (ends, gate.calls) == ([1], 1)
    gate.is_open.set()
    first.join()


def test_threads_end_when_closed(gate: Any) -> None:
    gate.is_open.set()
    before = set(threading.enumerate())
    runner = DirectRunner(3)
    mine = set(threading.enumerate()) - before
    assert len(mine) == 3
    runner.close()
    for thread in mine:
        thread.join(LIMIT_S)
    assert not any(thread.is_alive() for thread in mine)
