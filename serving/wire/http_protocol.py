"""uvicorn's HTTP protocol, with bounds on what is no body, errors in JSON, and no ear for offers of other protocols."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_BESIDES_BYTES = 1 << 16  # of a request, in pieces that bring nothing of its body; the first piece is not counted
_OFFERS = frozenset((b"upgrade", b"connection", b"http2-settings"))


class WholeAnswers:
    """A transport for answers: the head waits for the body. Each write would be a packet, and wake the client."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Send what came last, a head excepted."""
        if self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100"):
            self._head = data
        else:
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    _reading_since: float | None = None  # when the request being read began
    _taken_at = 0.0  # when the client was last seen taking something of its answer, or had it all
    _left_bytes = 0  # of the answer, then
    _besides_bytes = 0  # of the request being read: its head, trailers, chunk extensions

    def connection_made(self, transport: Any) -> None:
        """Begin to read."""
        super().connection_made(transport)
        self._answers = WholeAnswers(transport)
        self._reading_since = self._taken_at = self.loop.time()

    def is_stuck(self, limit_s: float) -> bool:
        """Return whether the client has not sent a whole request, or taken anything of its answer, in so many seconds.

        To be asked every so often.
        """
        now = self.loop.time()
        left_bytes = self.transport.get_write_buffer_size()
        if not left_bytes or left_bytes < self._left_bytes:
            self._taken_at = now
        self._left_bytes = left_bytes
        return now - min(now if self._reading_since is None else self._reading_since, self._taken_at) > limit_s

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse what has no end or cannot be parsed."""
        self._unset_keepalive_if_required()
        scope, held_bytes = self.scope, len(self.cycle.body) if self._reading_since and self.cycle else 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST, "Invalid HTTP request.")
        else:
            cycle = self.cycle
            if cycle and cycle.scope is self.scope and not cycle.more_body:
                self._reading_since = None
            elif scope is not self.scope:
                self._reading_since, self._besides_bytes = self.loop.time(), 0
            elif cycle is None or len(cycle.body) == held_bytes:
                self._count(len(data))

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        super().on_headers_complete()
        if self.cycle and self.scope["method"] != "HEAD":  # whose head is all there is
            self.cycle.transport = self._answers  # type: ignore[assignment]

    def _should_upgrade(self) -> bool:
        """Keep uvicorn from answering requests that `_decline` will bring again."""
        return True

    def _count(self, size: int) -> None:
        self._besides_bytes += size
        if self._besides_bytes > MAX_BESIDES_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's headers are too large.")

    def _decline(self, rest: bytes) -> None:
        """Answer the request as if nothing else had been offered: the parser has left its body aside."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(HTTPStatus.BAD_REQUEST, "This server is no proxy.")
            return
        kept = [b"%b: %b\r\n" % (name, value) for name, value in self.headers if name not in _OFFERS]
        version = self.parser.get_http_version().encode()
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"%b %b HTTP/%b\r\n%b\r\n%b" % (method, self.url, version, b"".join(kept), rest))

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer with an error and close; after a whole request that is still being answered only close."""
        self._reading_since = None
        if self.cycle and not self.cycle.response_complete and not self.cycle.more_body:
            self.cycle.keep_alive = False
            return
        if self.transport.is_closing():
            return
        body = json.dumps({"error": message}, indent=4).encode()  # as TensorFlow Serving writes it
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        self.transport.close()
