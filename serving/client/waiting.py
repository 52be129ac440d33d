"""Wait without holding others up: a thread by blocking, a call on an event loop by letting the loop go on meanwhile.

What calls this need not know where it runs. SQLAlchemy has its asyncio drivers wait in this way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

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


def is_on_loop() -> bool:
    """Return whether this runs in a call by `on_loop`."""
    return isinstance(getcurrent(), _Call)


def awaited(awaitable: Awaitable[T]) -> T:
    """Return what comes of it. To be called on a loop only."""
    parent = getcurrent().parent
    assert parent is not None  # only a thread's first greenlet has none
    found: T = parent.switch(awaitable)
    return found


def sleep(seconds: float) -> None:
    """Wait so long."""
    if is_on_loop():
        awaited(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)
