"""HTTP/1.1 to one server over connections kept open, by the standard library, within a time limit for the whole answer.

It does what a model server needs and no more: no redirects, cookies, proxies or compression.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import NamedTuple
from urllib.parse import urlsplit

from common.logs import HEADER, NO_REQUEST, REQUEST_ID
from serving.client.errors import BadAnswer, ModelServerDown, ModelServerTimeout

CONNECT_TIMEOUT_S = 1.0
IDLE = 64  # connections kept open
PIECE_BYTES = 1 << 16


class Reply(NamedTuple):
    status: int
    headers: HTTPMessage
    content: bytes


class HttpPool:
    """Connections to the server of one URL. Safe to share between threads."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url, parts = url, urlsplit(url)
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port = parts.hostname or "", parts.port or self._kind.default_port
        self._prefix = parts.path.rstrip("/")
        self._headers = dict(headers)
        self._idle: deque[HTTPConnection] = deque()

    def request(self, method: str, path: str, body: bytes, budget_s: float) -> Reply:
        """Return the whole answer, whatever its status; the id of the request under way goes along, if there is one.

        Raises ModelServerDown if no part of an answer came, so that it may be asked again; ModelServerTimeout if it was
        not whole in time; BadAnswer if it broke off or is no HTTP.
        """
        try:
            return self._ask(method, path, body, partial(_left_s, time.monotonic() + budget_s))
        except TimeoutError:
            what = f"the model server at {self._url} did not answer in time"
            raise ModelServerTimeout(what, got=f"no whole answer in {budget_s:.1f} s") from None

    def close(self) -> None:
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def _ask(self, method: str, path: str, body: bytes, left_s: Callable[[], float]) -> Reply:
        connection, request_id = self._take() or self._connect(left_s()), REQUEST_ID.get()
        headers = self._headers if request_id == NO_REQUEST else self._headers | {HEADER: request_id}
        is_reusable = False
        try:
            stream = connection.sock  # the connection forgets it when the answer is its last
            stream.settimeout(left_s())
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before it had read all
                connection.request(method, self._prefix + path, body, headers)
            response = self._begin(connection)
            reply = Reply(response.status, response.headers, self._read(response, stream, left_s))
            is_reusable = not response.will_close
            response.close()
        finally:
            if is_reusable and len(self._idle) < IDLE:
                self._idle.append(connection)
            else:
                connection.close()
        return reply

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

    def _connect(self, left_s: float) -> HTTPConnection:
        connection = self._kind(self._host, self._port, timeout=min(CONNECT_TIMEOUT_S, left_s))
        connection.response_class = _FinalResponse
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise self._down(error) from None
        return connection

    def _begin(self, connection: HTTPConnection) -> HTTPResponse:
        try:
            return connection.getresponse()
        except TimeoutError:
            raise
        except OSError as error:  # among them RemoteDisconnected: nothing has come
            raise self._down(error) from None
        except (HTTPException, ValueError) as error:
            raise self._broken(repr(error)) from None

    def _read(self, response: HTTPResponse, stream: socket.socket, left_s: Callable[[], float]) -> bytes:
        """Return the body. The time left is set anew for each piece: a server may send drop by drop."""
        left_bytes = response.length  # None if it is in chunks, or goes on until the end of the connection
        pieces: list[bytes] = []
        while left_bytes is None or left_bytes > 0:
            stream.settimeout(left_s())
            try:
                piece = response.read1(PIECE_BYTES if left_bytes is None else min(left_bytes, PIECE_BYTES))
            except TimeoutError:
                raise
            except (OSError, HTTPException, ValueError) as error:
                raise self._broken(repr(error)) from None
            if not piece:
                break
            pieces.append(piece)
            left_bytes = None if left_bytes is None else left_bytes - len(piece)
        if left_bytes:
            raise self._broken(f"the connection was closed with {left_bytes} bytes to come")
        return b"".join(pieces)

    def _down(self, error: OSError) -> ModelServerDown:
        return ModelServerDown(f"no answer from a model server at {self._url}", got=error)

    def _broken(self, how: str) -> BadAnswer:
        return BadAnswer(f"{self._url} does not speak HTTP, or broke off", got=how)


class _FinalResponse(HTTPResponse):
    """A response that skips every interim answer (1xx), of which the standard library skips 100 alone."""

    def begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment]  # begin anew
            super().begin()


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _is_readable(connection: socket.socket) -> bool:
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(0))
