"""What a worker takes on: so many requests at a time, and bodies bounded in size, pace and sum.

The server calls the app with the head of a request; its body comes as the app reads it. So nothing of a body is kept
before the app knows the route, the method and who is asking. A thread that waits for its client is put aside and makes
room for another; a client that is silent for too long is cut off.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson
from werkzeug.wsgi import ClosingIterator

from common.errors import VouchError
from webapp.settings import WebSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Flask

WATCHERS = ("/livez", "/readyz", "/metrics", "/version")  # asked by those who watch, above all when it is full
SLOW_CLIENTS = 256  # requests that may wait for their clients, besides those that are worked at
QUEUE = 256  # requests that may wait for room, asleep; more are refused before anything is done for them
QUEUE_S = 1.0  # who waits longer than that is refused, too
SLOW_AFTER_S = 1.0
LEAST_BYTES_PER_S = 8192  # of a body, once the time that any body has is over
PIECE_BYTES = 1 << 14  # the pace is looked at after each
UPLOADS_HELD = 8  # bodies of the largest size that may be here at a time
CUT_REMEMBERED_S = 30.0  # for the requests by connections that were shut to end, and say why
LINGER_S = 2.0  # for a client to end what it sends in vain, and read why
RETRY_AFTER_S = 1
TCP_INFO_SILENCE = "8x9I4I"  # struct tcp_info of Linux up to tcpi_last_ack_recv


class TooLarge(VouchError):
    http_status = 413


class TooSlow(VouchError):
    """The body comes too slowly, or no longer."""

    http_status = 408


class CutOff(VouchError):
    http_status = 400


class NoRoom(VouchError):
    """Too much is being uploaded at once."""

    http_status = 503


@dataclass
class Visit:
    """A request under way. `waits_since`: for its client to send or take something; None: it is being worked at."""

    address: str
    heard_at: float
    waits_since: float | None = None
    is_sending: bool = False
    is_slow: bool = False
    held_bytes: int = 0


class Admission:
    """The WSGI application around another. `shed` is told of each request that is refused because of too many."""

    def __init__(
        self,
        app: WSGIApplication,
        *,
        max_waiting: int,
        read_timeout_s: float,
        body_limit: Callable[[str], int],
        held_limit: int,
        shed: Callable[[], None] = lambda: None,
    ) -> None:
        self._app, self._shed = app, shed
        self._max_waiting, self.read_timeout_s = max_waiting, read_timeout_s
        self._body_limit, self._held_limit = body_limit, held_limit
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._visits: dict[int, Visit] = {}
        self._slow = self._queued = 0
        self._cut_at: dict[str, float] = {}  # by address

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        visit = Visit(environ.get("REMOTE_ADDR", ""), time.monotonic())
        if environ["PATH_INFO"] not in WATCHERS and not self._enter(visit):
            self._shed()
            return _refuse(start_response, HTTPStatus.SERVICE_UNAVAILABLE, "too many requests are waiting here")
        body = environ["wsgi.input"] = Body(environ, visit, self, self._body_limit(environ["PATH_INFO"]))
        try:
            pieces = self._app(environ, start_response)
            rest = iter(pieces)
            first, second = next(rest, b""), next(rest, None)
        except BaseException:
            self.finish(visit)
            raise
        if second is None and not body.is_left:
            self.finish(visit, pieces)
            return [first]
        sent = self._sent(chain([first], () if second is None else [second], rest), visit, body)
        return ClosingIterator(sent, partial(self.finish, visit, pieces))

    def _sent(self, pieces: Iterable[bytes], visit: Visit, body: Body) -> Iterator[bytes]:
        """Yield an answer in pieces; then read, for a moment, what is still coming of its request's body."""
        for piece in pieces:
            self.waits(visit, is_sending=True)
            yield piece
            self.goes_on(visit)
        if body.is_left:
            body.discard(LINGER_S)
        self.finish(visit)  # not only when closed: who took all of it holds no place any more

    def _enter(self, visit: Visit) -> bool:
        """Take a place, if there is one within QUEUE_S: whoever came first is first."""
        with self._room:
            if self._is_full() or self._queued:
                if self._queued >= QUEUE:
                    return False
                self._queued += 1
                has_room = self._room.wait_for(lambda: not self._is_full(), QUEUE_S)
                self._queued -= 1
                if not has_room:
                    return False
            self._visits[id(visit)] = visit
            if self._queued and not self._is_full():
                self._room.notify()
        return True

    def _is_full(self) -> bool:
        return len(self._visits) - self._slow >= self._max_waiting

    def finish(self, visit: Visit, pieces: Iterable[bytes] = ()) -> None:
        """Make room: the request was answered in these pieces, or its client is gone."""
        with self._lock:
            self._slow -= visit.is_slow
            visit.is_slow = False
            self._visits.pop(id(visit), None)
            self._room.notify()
        if close := getattr(pieces, "close", None):
            close()

    def waits(self, visit: Visit, *, is_sending: bool = False) -> None:
        visit.is_sending, visit.waits_since = is_sending, time.monotonic()

    def goes_on(self, visit: Visit) -> float:
        """Take note that the client sent, or took, something. Return for how long it was waited for."""
        now = time.monotonic()
        waited_s, visit.waits_since, visit.heard_at = now - (visit.waits_since or now), None, now
        if visit.is_slow:
            with self._lock:
                self._slow -= visit.is_slow
                visit.is_slow = False
        return waited_s

    def hold(self, visit: Visit, size_bytes: int) -> None:
        """Count bytes of a body. Raises NoRoom if the bodies under way have too many together."""
        visit.held_bytes += size_bytes
        if visit.held_bytes > PIECE_BYTES:  # smaller ones cannot come to much
            with self._lock:
                held_bytes = sum(other.held_bytes for other in self._visits.values())
            if held_bytes > self._held_limit:
                visit.held_bytes = 0  # the app drops it now
                raise NoRoom("too much is being uploaded here at the moment", fix="try again in a minute")

    def sweep(self, port: int) -> None:
        """Put requests aside that wait for their clients, and cut the clients off that are silent for too long.

        The server does not say which connection a request came by. So the silent connections of an address are cut
        when it keeps a request waiting, and when no answer for that address is in the making meanwhile.
        """
        now = time.monotonic()
        limit = now - self.read_timeout_s
        with self._lock:
            visits = list(self._visits.values())
            for visit in visits:
                is_waiting = visit.waits_since is not None and visit.waits_since < now - SLOW_AFTER_S
                if is_waiting and not visit.is_slow and self._slow < SLOW_CLIENTS:
                    visit.is_slow = True
                    self._slow += 1
                    self._room.notify()
        overdue = [visit for visit in visits if visit.waits_since is not None and visit.waits_since < limit]
        busy = {visit.address for visit in visits if visit.waits_since is None and visit.heard_at < limit}
        self._cut_at = {address: at for address, at in self._cut_at.items() if at > now - CUT_REMEMBERED_S}
        for address in {visit.address for visit in overdue} - busy:
            is_sending = any(visit.is_sending for visit in overdue if visit.address == address)
            self._cut_at[address] = now
            shut_silent(address, port, self.read_timeout_s, socket.SHUT_RDWR if is_sending else socket.SHUT_RD)

    def was_cut(self, address: str) -> bool:
        """Whether silent connections of the address were shut lately: one may carry a request that waits for room."""
        return address in self._cut_at


def init_app(app: Flask, settings: WebSettings) -> None:
    app.wsgi_app = app.extensions["admission"] = Admission(  # type: ignore[method-assign]
        app.wsgi_app,
        max_waiting=settings.max_waiting,
        read_timeout_s=settings.read_timeout_s,
        body_limit=settings.body_limit_bytes,
        held_limit=UPLOADS_HELD * settings.max_upload_bytes,
        shed=app.extensions["vouch"].metrics.shed.inc,
    )


class Body(io.RawIOBase):
    """A request's body: as long as was said, not longer than the limit, and not slower than it may be."""

    def __init__(self, environ: WSGIEnvironment, visit: Visit, admission: Admission, limit_bytes: int) -> None:
        super().__init__()
        self._raw = environ["wsgi.input"]  # its `read` waits until so many bytes are here, or the last
        self._visit, self._admission, self._limit_bytes = visit, admission, limit_bytes
        length = environ.get("CONTENT_LENGTH", "")
        is_chunked = "HTTP_TRANSFER_ENCODING" in environ
        self._length = int(length) if length.isdecimal() and not is_chunked else None if is_chunked else 0
        self._expects = "HTTP_EXPECT" in environ
        self._size_bytes, self._waited_s, self._is_whole = 0, 0.0, self._length == 0

    @property
    def is_left(self) -> bool:
        """Whether some of it was not read, and is being sent: a client that asks first is not waited for."""
        return not self._is_whole and not (self._expects and self._size_bytes == 0)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return so many bytes, less at the end. Raises TooLarge, TooSlow, CutOff, NoRoom."""
        wanted = self._limit_bytes + 1 if size is None or size < 0 else size
        pieces, got = [], 0
        while got < wanted and not self._is_whole:
            piece = self._next(min(PIECE_BYTES, wanted - got))
            self._admission.hold(self._visit, len(piece))
            if self._size_bytes > self._limit_bytes:
                raise TooLarge("the body is too large", got="more", wanted=f"≤ {self._limit_bytes} bytes")
            pieces.append(piece)
            got += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readinto(self, buffer: Any, /) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        return self.read()

    def discard(self, limit_s: float) -> None:
        """Read what is left, and forget it, for so long at most."""
        end = time.monotonic() + limit_s
        with suppress(TooSlow, CutOff):
            while not self._is_whole and time.monotonic() < end:
                self._next(PIECE_BYTES)

    def _next(self, size: int) -> bytes:
        if self._length is not None:
            size = min(size, self._length - self._size_bytes)
        self._admission.waits(self._visit)
        piece: bytes = self._raw.read(size)
        self._waited_s += self._admission.goes_on(self._visit)
        self._size_bytes += len(piece)
        self._is_whole = len(piece) < size or self._size_bytes == self._length
        allowed_s = self._admission.read_timeout_s + self._size_bytes / LEAST_BYTES_PER_S
        is_short = len(piece) < size and (self._length is not None or self._waited_s > self._admission.read_timeout_s)
        if self._waited_s > allowed_s or (is_short and self._admission.was_cut(self._visit.address)):
            self._is_whole = True
            raise TooSlow(
                "the body comes too slowly",
                got=f"{self._size_bytes} bytes in {self._waited_s:.0f} s",
                wanted=f"no silence of {self._admission.read_timeout_s:g} s, and {LEAST_BYTES_PER_S} bytes a second",
            )
        if is_short and self._length is not None:
            raise CutOff("the body ended early", got=f"{self._size_bytes} bytes", wanted=f"{self._length} bytes")
        return piece


def shut_silent(address: str, port: int, silence_s: float, how: int) -> None:
    """Shut the connections to our port from an address by which nothing came or went for so long."""
    if not hasattr(socket, "TCP_INFO"):
        return  # macOS has it in another form; this is for servers
    for name in os.listdir("/dev/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as connection:  # OSError: it is no socket
            is_ours = connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getsockname()[1] == port
            if is_ours and connection.getpeername()[0] == address and _silence_s(connection) >= silence_s:
                connection.shutdown(how)


def _silence_s(connection: socket.socket) -> float:
    tcp_info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, struct.calcsize(TCP_INFO_SILENCE))
    *_, sent_ms, _acked_ms, received_ms, _ack_ms = struct.unpack(TCP_INFO_SILENCE, tcp_info)
    return min(sent_ms, received_ms) / 1000


def _refuse(start_response: StartResponse, status: HTTPStatus, detail: str) -> list[bytes]:
    document = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    body = orjson.dumps(document)
    headers = [("Content-Type", "application/problem+json"), ("Content-Length", str(len(body)))]
    start_response(f"{status.value} {status.phrase}", [*headers, ("Retry-After", str(RETRY_AFTER_S))])
    return [body]
