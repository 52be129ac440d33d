"""An answer over HTTP/1.1 as it comes, piece by piece, whoever brings the pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import httptools


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


class Reading:
    """One answer. `is_whole` once all of it has come; then `is_reusable` says whether its connection is."""

    def __init__(self) -> None:
        self.is_whole = self.is_reusable = False
        self._is_begun = False
        self._parsed = _Parsed()  # not this itself: with its parser it would be a cycle, and kept for long
        self._parser = httptools.HttpResponseParser(self._parsed)

    @property
    def reply(self) -> Reply:
        """The whole answer."""
        return Reply(self._parser.get_status_code(), self._parsed.headers, b"".join(self._parsed.pieces))

    def feed(self, piece: bytes) -> None:
        """Take what came. Raises NoHttp."""
        self._is_begun = True
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserError as error:
            raise NoHttp(error) from None
        if self._parsed.is_complete:
            self.is_whole = True
            is_last = self._parsed.headers.get("connection", "").lower() == "close"
            self.is_reusable = self._parser.get_http_version() == "1.1" and not is_last

    def end(self, error: Exception | None = None) -> None:
        """Take the end of the connection. Raises NotReached, NoHttp unless it makes the answer whole."""
        if not self._is_begun:
            raise NotReached(error or "the connection was closed")
        headers = self._parsed.headers
        has_length = "content-length" in headers or "transfer-encoding" in headers
        if error or not self._parser.get_status_code() or not headers or has_length:
            raise NoHttp(error or "the connection was closed half-way")
        self.is_whole = True


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
