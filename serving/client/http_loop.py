"""Connections to one server on event loops: a call that waits for an answer leaves its loop to others."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from contextlib import suppress
from typing import cast
from weakref import WeakKeyDictionary

from serving.client.http_reply import Limits, NoHttp, NotReached, Reading, Reply, TooLate

IDLE = 64  # connections kept open: of each loop, and of all threads


class LoopConnections:
    """Connections kept open, by the loop that they belong to."""

    def __init__(self, host: str, port: int, *, is_tls: bool) -> None:
        self._host, self._port, self._is_tls = host, port, is_tls
        self._idle: WeakKeyDictionary[asyncio.AbstractEventLoop, deque[_Connection]] = WeakKeyDictionary()

    async def exchange(self, message: bytes, limits: Limits) -> Reply:
        """Send a request, and return the answer. Raises NotReached, TooLate, NoHttp."""
        loop = asyncio.get_running_loop()
        idle = self._idle.setdefault(loop, deque())
        connection = _taken(idle) or await self._connect(loop, limits)
        is_reusable = False
        try:
            reading = await connection.exchange(message, limits)
            is_reusable = reading.is_reusable
        finally:
            if is_reusable and connection.is_open and len(idle) < IDLE:
                idle.append(connection)
            else:
                connection.close()
        return reading.reply

    def close(self) -> None:
        """Close the connections that are not in use. From any thread."""
        for loop, idle in list(self._idle.items()):
            with suppress(RuntimeError):  # the loop has ended, and they with it
                for connection in idle:
                    loop.call_soon_threadsafe(connection.close)
            idle.clear()

    async def _connect(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> _Connection:
        within_s = min(limits.connect_s, limits.left_s())
        context = ssl.create_default_context() if self._is_tls else None
        coming = loop.create_connection(_Connection, self._host, self._port, ssl=context)
        try:
            _, connection = await asyncio.wait_for(coming, within_s)
        except (OSError, asyncio.TimeoutError) as error:
            raise NotReached(error) from None
        return connection


class _Connection(asyncio.Protocol):
    """One connection, with one request under way at most."""

    def __init__(self) -> None:
        self.is_open = False
        self._asked: tuple[Reading, asyncio.Future[None]] | None = None

    async def exchange(self, message: bytes, limits: Limits) -> Reading:
        loop, left_s = asyncio.get_running_loop(), limits.left_s()
        reading, done = self._asked = Reading(), loop.create_future()
        timer = loop.call_later(left_s, self._settle, TooLate())
        self._transport.write(message)
        try:
            await done
        finally:
            timer.cancel()
            self._asked = None
        return reading

    def close(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.is_open = cast(asyncio.Transport, transport), True

    def data_received(self, data: bytes) -> None:
        if self._asked is None:
            self.is_open = False  # nothing was asked: no answer that comes now can be trusted
            self._transport.abort()
            return
        reading, _ = self._asked
        try:
            reading.feed(data)
        except NoHttp as error:
            self._settle(error)
        if reading.is_whole:
            self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._asked is None:
            return
        try:
            self._asked[0].end(exc)
        except (NotReached, NoHttp) as error:
            self._settle(error)
        else:
            self._settle()

    def _settle(self, error: Exception | None = None) -> None:
        if self._asked is None or self._asked[1].done():
            return
        if error:
            self._asked[1].set_exception(error)
        else:
            self._asked[1].set_result(None)


def _taken(idle: deque[_Connection]) -> _Connection | None:
    while idle:
        if (connection := idle.pop()).is_open:
            return connection
    return None
