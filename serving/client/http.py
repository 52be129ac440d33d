"""HTTP/1.1 to one server over connections kept open, by the standard library, within a time limit for the whole answer.

It does what a model server needs and no more: no redirects, cookies, proxies or compression.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

from common.logs import HEADER, NO_REQUEST, REQUEST_ID

IDLE = 64  # connections kept open
PIECE_BYTES = 1 << 16


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
    """How long a request may take: to connect, and until `deadline` by the monotonic clock in all."""

    connect_s: float
    deadline: float

    def left_s(self) -> float:
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise TooLate
        return left_s


class HttpPool:
    """Connections to the server of one URL. Safe to share between threads."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port = parts.hostname or "", parts.port or self._kind.default_port
        self._prefix = parts.path.rstrip("/")
        self._headers = dict(headers)
        self._idle: deque[HTTPConnection] = deque()

    def request(self, method: str, path: str, body: bytes, limits: Limits) -> Reply:
        """Return the answer, whatever its status; it is asked with the id of the request under way, if there is one.

        Raises NotReached, TooLate, NoHttp.
        """
        connection, request_id = self._take() or self._connect(limits), REQUEST_ID.get()
        headers = self._headers if request_id == NO_REQUEST else self._headers | {HEADER: request_id}
        is_reusable = False
        try:
            stream = connection.sock  # the connection forgets it when the answer is its last
            stream.settimeout(limits.left_s())
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before it had read all
                connection.request(method, self._prefix + path, body, headers)
            response = _begin(connection)
            reply = Reply(response.status, {name.lower(): value for name, value in response.getheaders()})
            reply.content = _read(response, stream, limits)
            is_reusable = not response.will_close
            response.close()
        except TimeoutError:
            raise TooLate from None
        finally:
            if is_reusable and len(self._idle) < IDLE:
                self._idle.append(connection)
            else:
                connection.close()
        return reply

    def close(self) -> None:
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def _take(self) -> HTTPConnection | None:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was quicker
                return None
            if not _is_readable(connection.sock):
                return connection
            connection.close()  # nothing was asked, so what there is to read is its end
        return None

    def _connect(self, limits: Limits) -> HTTPConnection:
        within_s = min(limits.connect_s, limits.left_s())
        connection = self._kind(self._host, self._port, timeout=within_s)
        connection.response_class = _FinalResponse
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NotReached(error) from None
        return connection


class _FinalResponse(HTTPResponse):
    """A response that skips every interim answer (1xx), of which the standard library skips 100 alone."""

    def begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment]  # begin anew
            super().begin()


def _begin(connection: HTTPConnection) -> HTTPResponse:
    try:
        return connection.getresponse()
    except TimeoutError:
        raise
    except OSError as error:  # among them RemoteDisconnected: nothing has come
        raise NotReached(error) from None
    except (HTTPException, ValueError) as error:
        raise NoHttp(repr(error)) from None


def _read(response: HTTPResponse, stream: socket.socket, limits: Limits) -> bytes:
    """Return the body. The time left is set anew for each piece: a server may send drop by drop."""
    left_bytes = response.length  # None if it is in chunks, or goes on until the end of the connection
    pieces: list[bytes] = []
    while left_bytes is None or left_bytes > 0:
        stream.settimeout(limits.left_s())
        try:
            piece = response.read1(PIECE_BYTES if left_bytes is None else min(left_bytes, PIECE_BYTES))
        except TimeoutError:
            raise
        except (OSError, HTTPException, ValueError) as error:
            raise NoHttp(repr(error)) from None
        if not piece:
            break
        pieces.append(piece)
        left_bytes = None if left_bytes is None else left_bytes - len(piece)
    if left_bytes:
        raise NoHttp(f"the connection was closed with {left_bytes} bytes to come")
    return b"".join(pieces)


def _is_readable(connection: socket.socket) -> bool:
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(0))
