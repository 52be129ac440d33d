"""HTTP/1.1 to one server over connections kept open: the C parser and a socket, a fifth of what `requests` takes.

It does what a model server needs and no more: no redirects, cookies, proxies or compression.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from serving.client.http_loop import IDLE, LoopConnections
from serving.client.http_reply import Limits, NotReached, Reading, Reply, TooLate
from serving.client.waiting import awaited, is_on_loop

PIECE_BYTES = 1 << 16


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
        self._on_loops = LoopConnections(self._host, self._port, is_tls=self._is_tls)

    def request(self, method: str, path: str, body: bytes, limits: Limits) -> Reply:
        """Return the answer, whatever its status. Raises NotReached, TooLate, NoHttp."""
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n"
        message = head.encode("latin-1") + body
        if is_on_loop():
            return awaited(self._on_loops.exchange(message, limits))
        connection = self._take() or self._connect(limits)
        is_reusable = False
        try:
            connection.settimeout(limits.left_s())
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before it had read all
                connection.sendall(message)
            reading = _receive(connection, limits)
            is_reusable = reading.is_reusable
        except TimeoutError:
            raise TooLate from None
        finally:
            if is_reusable and len(self._idle) < IDLE:
                self._idle.append(connection)
            else:
                connection.close()
        return reading.reply

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._on_loops.close()
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
        except OSError as error:
            raise NotReached(error) from None
        return connection


def _receive(connection: socket.socket, limits: Limits) -> Reading:
    reading = Reading()
    while not reading.is_whole:
        connection.settimeout(limits.left_s())  # anew each time: a server may send drop by drop
        try:
            piece = connection.recv(PIECE_BYTES)
        except (ConnectionError, ssl.SSLError) as error:
            reading.end(error)
        else:
            reading.feed(piece) if piece else reading.end()
    return reading


def _is_readable(connection: socket.socket) -> bool:
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(0))
