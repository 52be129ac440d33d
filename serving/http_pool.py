"""HTTP/1.1 to one server over connections kept open: the C parser and a socket, a fifth of what `requests` takes.

It does what a model server needs and no more: no redirects, cookies, proxies or compression.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

import httptools

from serving.waiting import READABLE, WRITABLE, aside, until_ready

T = TypeVar("T")
PIECE_BYTES = 1 << 16
IDLE = 64  # connections kept open


class NotReached(Exception):
    """There is no connection, or it ended before any of the answer came: the request may be made again."""


class TooLate(Exception):
    """The answer was not whole in time."""


class NoHttp(Exception):
    """The answer broke off, or is no HTTP."""


@dataclass
class Reply:
    """A whole answer. Header names are in lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""


@dataclass(frozen=True)
class Limits:
    """How long a request may take: to connect, and until `deadline` by `clock` in all."""

    connect_s: float
    deadline: float
    clock: Callable[[], float]

    def left_s(self) -> float:
        """Return the seconds left. Raises TooLate if there are none."""
        left_s = self.deadline - self.clock()
        if left_s <= 0:
            raise TooLate
        return left_s


class HttpPool:
    """Connections to the server of one URL. Safe to share between threads, and loops."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._is_tls = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._is_tls else 80)
        self._prefix = parts.path.rstrip("/")
        all_headers = {"Host": parts.netloc.rpartition("@")[2], **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in all_headers.items())
        self._idle: deque[socket.socket] = deque()

    def request(self, method: str, path: str, body: bytes, limits: Limits) -> Reply:
        """Return the answer, whatever its status. Raises NotReached, TooLate, NoHttp."""
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n"
        connection = self._take() or aside(partial(self._connect, limits))
        is_reusable = False
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before it had read all
                _send(connection, head.encode("latin-1") + body, limits)
            reply, is_reusable = _receive(connection, limits)
        except TimeoutError:
            raise TooLate from None
        finally:
            if is_reusable and len(self._idle) < IDLE:
                self._idle.append(connection)
            else:
                connection.close()
        return reply

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def _take(self) -> socket.socket | None:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was quicker
                return None
            if not _is_readable(connection):
                return connection
            connection.close()  # nothing was asked, so what there is to read is its end
        return None

    def _connect(self, limits: Limits) -> socket.socket:
        try:
            connection = socket.create_connection((self._host, self._port), min(limits.connect_s, limits.left_s()))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._is_tls:
                connection = ssl.create_default_context().wrap_socket(connection, server_hostname=self._host)
            connection.setblocking(False)
        except OSError as error:
            raise NotReached(error) from None
        return connection


class _Parsed:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.is_complete = True


def _send(connection: socket.socket, message: bytes, limits: Limits) -> None:
    left = memoryview(message)
    while left:
        left = left[_patiently(partial(connection.send, left), connection, WRITABLE, limits) :]


def _patiently(act: Callable[[], T], connection: socket.socket, event: int, limits: Limits) -> T:
    """Return what `act` returns when the connection is ready for it. Raises TooLate, and what `act` raises."""
    while True:
        wanted = event
        try:
            return act()
        except BlockingIOError:
            pass
        except ssl.SSLWantReadError:
            wanted = READABLE
        except ssl.SSLWantWriteError:
            wanted = WRITABLE
        until_ready(connection, wanted, limits.left_s())  # anew each time: a server may send drop by drop


def _receive(connection: socket.socket, limits: Limits) -> tuple[Reply, bool]:
    """Return the answer and whether the connection can be used again."""
    parsed = _Parsed()
    parser = httptools.HttpResponseParser(parsed)
    is_begun = False
    while not parsed.is_complete:
        try:
            piece = _patiently(partial(connection.recv, PIECE_BYTES), connection, READABLE, limits)
        except (ConnectionError, ssl.SSLError) as error:
            raise (NoHttp if is_begun else NotReached)(error) from None
        if not piece:
            if not is_begun:
                raise NotReached("the connection was closed")
            if not _ends_with_connection(parser, parsed):
                raise NoHttp("the connection was closed half-way")
            return Reply(parser.get_status_code(), parsed.headers, b"".join(parsed.pieces)), False
        is_begun = True
        try:
            parser.feed_data(piece)
        except httptools.HttpParserError as error:
            raise NoHttp(error) from None
    reply = Reply(parser.get_status_code(), parsed.headers, b"".join(parsed.pieces))
    return reply, parser.get_http_version() == "1.1" and parsed.headers.get("connection", "").lower() != "close"


def _ends_with_connection(parser: httptools.HttpResponseParser, parsed: _Parsed) -> bool:
    """Return whether the answer is one without a length, which is whole when the connection ends."""
    has_length = "content-length" in parsed.headers or "transfer-encoding" in parsed.headers
    return bool(parser.get_status_code()) and not has_length and bool(parsed.headers)


def _is_readable(connection: socket.socket) -> bool:
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(0))
