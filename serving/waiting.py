"""Wait without holding others up: a thread by blocking, a call on an event loop by letting the loop go on meanwhile.

The same code does both: it need not know where it runs. SQLAlchemy has its asyncio drivers wait in this way.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from socket import socket
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

READABLE, WRITABLE = select.POLLIN, select.POLLOUT
T = TypeVar("T")


class _Call(greenlet):
    """A call on an event loop. What it waits for goes to its parent, the loop's thread."""


async def on_loop(function: Callable[..., T], *args: Any) -> T:
    """Return what `function` returns; it runs on the loop's own thread, but for where it waits by this module.

    For what is quick otherwise: all else on the loop waits for it. Raises what it raises.
    """
    call = _Call(function)
    call.gr_context = copy_context()
    found: Any = call.switch(*args)
    while not call.dead:
        try:
            value = await found
        except BaseException as error:  # the loop gives up a request by one, and the call must end, too
            found = call.throw(error)
        else:
            found = call.switch(value)
    return found  # what the last switch brings is what the function returned


def until_ready(connection: socket, event: int, timeout_s: float) -> None:
    """Wait until a socket is READABLE or WRITABLE, or broken. Raises TimeoutError."""
    if isinstance(getcurrent(), _Call):
        _await(_ready(connection, event, timeout_s))
        return
    poll = select.poll()
    poll.register(connection, event)
    if not poll.poll(timeout_s * 1000):
        raise TimeoutError


def sleep(seconds: float) -> None:
    """Wait so long."""
    if isinstance(getcurrent(), _Call):
        _await(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def aside(function: Callable[[], T]) -> T:
    """Return what `function`, which blocks, returns: on a loop it gets a thread."""
    if isinstance(getcurrent(), _Call):
        return _await(asyncio.get_running_loop().run_in_executor(None, function))
    return function()


def _await(awaitable: Awaitable[T]) -> T:
    parent = getcurrent().parent
    assert parent is not None  # only a thread's first greenlet has none
    found: T = parent.switch(awaitable)
    return found


async def _ready(connection: socket, event: int, timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_reader, loop.remove_reader) if event == READABLE else (loop.add_writer, loop.remove_writer)
    add(connection, _settle, ready)
    timer = loop.call_later(timeout_s, _settle, ready, TimeoutError())
    try:
        await ready
    finally:
        timer.cancel()
        remove(connection)


def _settle(ready: asyncio.Future[None], error: Exception | None = None) -> None:
    if ready.done():
        return
    if error:
        ready.set_exception(error)
    else:
        ready.set_result(None)
