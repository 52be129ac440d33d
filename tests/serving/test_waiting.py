"""Waiting in a thread, and on a loop that must go on meanwhile."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from serving.waiting import READABLE, WRITABLE, aside, on_loop, sleep, until_ready

who: ContextVar[str] = ContextVar("who")
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair()
    near.setblocking(False)
    yield near, far
    near.close()
    far.close()


def read(near: socket.socket) -> bytes:
    until_ready(near, READABLE, 10.0)
    return near.recv(10)


def fill(near: socket.socket) -> None:
    while True:
        try:
            near.send(b"x" * 65536)
        except BlockingIOError:
            return


def test_a_thread_waits_for_a_socket(pair: Pair) -> None:
    near, far = pair
    timer = threading.Timer(0.01, far.sendall, [b"now"])
    timer.start()
    assert read(near) == b"now"
    timer.join()


def test_the_loop_goes_on_while_a_call_waits(pair: Pair) -> None:
    near, far = pair

    async def both() -> bytes:
        reading = asyncio.create_task(on_loop(read, near))
        await asyncio.sleep(0)
        assert not reading.done()
        far.sendall(b"later")  # only this loop can send it
        return await reading

    assert asyncio.run(both()) == b"later"


@pytest.mark.parametrize("event", [READABLE, WRITABLE], ids=["to read", "to write"])
def test_what_never_comes_is_waited_for_no_longer_than_told(pair: Pair, event: int) -> None:
    near, _ = pair
    fill(near)
    with pytest.raises(TimeoutError):
        until_ready(near, event, 0.01)
    with pytest.raises(TimeoutError):
        asyncio.run(on_loop(until_ready, near, event, 0.01))


def test_room_to_write_is_waited_for(pair: Pair) -> None:
    near, far = pair
    fill(near)

    async def both() -> None:
        waiting = asyncio.create_task(on_loop(until_ready, near, WRITABLE, 10.0))
        await asyncio.sleep(0)
        assert not waiting.done()
        await asyncio.get_running_loop().run_in_executor(None, far.recv, 1 << 24)
        await waiting

    asyncio.run(both())


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


def test_what_blocks_gets_a_thread_of_its_own_on_a_loop_only() -> None:
    here = threading.get_ident()
    assert aside(threading.get_ident) == here
    assert asyncio.run(on_loop(threading.get_ident)) == here
    assert asyncio.run(on_loop(aside, threading.get_ident)) != here


def test_errors_come_through_from_both_sides() -> None:
    def fail() -> None:
        raise KeyError("mine")

    def catch() -> str:
        try:
            aside(fail)
        except KeyError as error:
            return f"caught {error}"
        return "nothing"

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(on_loop(fail))
    assert asyncio.run(on_loop(catch)) == "caught 'mine'"


def test_a_call_that_is_given_up_ends(pair: Pair) -> None:
    ended: list[str] = []

    def wait() -> None:
        try:
            read(pair[0])
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


def test_calls_keep_their_contexts_apart(pair: Pair) -> None:
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
