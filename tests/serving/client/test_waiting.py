"""Waiting in a thread, and on a loop that must go on meanwhile."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from serving.client.waiting import awaited, is_on_loop, on_loop, sleep

who: ContextVar[str] = ContextVar("who")


def test_the_loop_goes_on_while_a_call_waits() -> None:
    async def both() -> str:
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(on_loop(awaited, told))
        await asyncio.sleep(0)
        assert not waiting.done()
        told.set_result("later")  # only this loop can tell it
        return await waiting

    assert asyncio.run(both()) == "later"


def test_many_calls_sleep_at_once() -> None:
    done: list[float] = []

    def nap(seconds: float) -> None:
        sleep(seconds)
        done.append(seconds)

    async def all_of_them() -> None:
        await asyncio.gather(on_loop(nap, 0.1), on_loop(nap, 0.001), on_loop(nap, 0.05))

    asyncio.run(all_of_them())
    assert done == [0.001, 0.05, 0.1]
    nap(0.0)  # and in a thread
    assert done[-1] == 0.0


def test_a_call_on_a_loop_is_in_its_thread_and_knows_it() -> None:
    def where() -> tuple[bool, int]:
        return is_on_loop(), threading.get_ident()

    assert asyncio.run(on_loop(where)) == (True, threading.get_ident())
    assert where() == (False, threading.get_ident())


def test_errors_come_through_from_both_sides() -> None:
    async def fail() -> None:
        raise KeyError("mine")

    def catch() -> str:
        try:
            awaited(fail())
        except KeyError as error:
            return f"caught {error}"
        return "nothing"

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(on_loop(awaited, fail()))
    assert asyncio.run(on_loop(catch)) == "caught 'mine'"


def test_a_call_that_is_given_up_ends() -> None:
    ended: list[str] = []

    def wait() -> None:
        try:
            sleep(30)
        finally:
            ended.append("yes")

    async def give_up() -> None:
        call = asyncio.create_task(on_loop(wait))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(give_up())
    assert ended == ["yes"]


def test_calls_keep_their_contexts_apart() -> None:
    def swap(name: str) -> tuple[str, str]:
        before = who.get()
        who.set(name)
        sleep(0.001)
        return before, who.get()

    async def both() -> None:
        who.set("loop")
        assert await asyncio.gather(on_loop(swap, "a"), on_loop(swap, "b")) == [("loop", "a"), ("loop", "b")]
        assert who.get() == "loop"

    asyncio.run(both())
