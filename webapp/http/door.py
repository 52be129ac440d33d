"""The door between the network and the app: whole requests only, so many at a time, the rest told to come again.

An ASGI application around a WSGI one. What is slow (clients that send drop by drop, idle connections) costs no thread,
what is quick needs none, and what is too much costs next to nothing: it is refused before the app hears of it, so that
under any load the app goes on answering as many as it can.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any, cast
from urllib.parse import unquote_to_bytes

from serving.client.waiting import on_loop

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

UNCOUNTED = ("/livez", "/readyz", "/metrics", "/version")  # asked by those who watch, above all when it is full
SPOOL_BYTES = 1 << 20  # larger bodies wait on disk
LINGER_S = 2.0  # for a client to end what it sends in vain, and read why
RETRY_AFTER_S = 1
SWEEP_EVERY_S = 1.0


@dataclass(frozen=True)
class Bounds:
    """What the door lets in. `body_bytes` says how large a body may be by path.

    Bodies of up to `quick_bytes` are answered on the event loop: the app may block there only by `waiting`.
    A thread would mean two changes of threads for each, and that takes long beside what there is to do.
    """

    threads: int
    waiting: int
    body_bytes: Callable[[str], int]
    quick_bytes: Callable[[str], int] = lambda path: -1


class TooLarge(Exception):
    """The body is over its bound."""


class Disconnected(Exception):
    """The client left before its request was whole."""


class Door:
    """The ASGI application."""

    def __init__(
        self,
        app: Wsgi,
        bounds: Bounds,
        *,
        shed: Callable[[], None] = lambda: None,
        close: Callable[[], None] = lambda: None,
        sweep: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the door: `shed` is told of each refusal, `sweep` called every second, `close` when the server ends."""
        self._app, self._bounds, self._shed, self._close, self._sweep = app, bounds, shed, close, sweep
        self._pool = ThreadPoolExecutor(bounds.threads, "request")
        self._watchers = ThreadPoolExecutor(2, "watcher")
        self._inside = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, or take note of the server's beginning and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        try:
            body = await self._body(scope, receive)
        except Disconnected:
            return
        except TooLarge as error:
            await _refuse(send, 413, str(error), receive)
            return
        is_watcher = scope["path"] in UNCOUNTED
        if not is_watcher and self._inside >= self._bounds.waiting:
            self._shed()
            await _refuse(send, 503, "too many requests are waiting here")
            return
        self._inside += not is_watcher
        try:
            await self._answer(_environ(scope, body), send, self._pool_for(scope["path"], body))
        finally:
            self._inside -= not is_watcher
            body.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        sweeping = asyncio.create_task(self._sweep_on())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        sweeping.cancel()
        await asyncio.get_running_loop().run_in_executor(None, self._close)
        await send({"type": "lifespan.shutdown.complete"})

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self._sweep()

    async def _body(self, scope: dict[str, Any], receive: Receive) -> IO[bytes]:
        """Return the whole body. Raises TooLarge before more than the bound is held, Disconnected."""
        limit_bytes = self._bounds.body_bytes(scope["path"])
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > limit_bytes:
            raise TooLarge(f"the body has {int(declared)} bytes, at most {limit_bytes} are taken")
        message = await receive()
        if not message.get("more_body") and message["type"] == "http.request":
            return io.BytesIO(message["body"])
        body, size_bytes = tempfile.SpooledTemporaryFile(SPOOL_BYTES), 0  # noqa: SIM115  closed once it is answered
        while True:
            if message["type"] == "http.disconnect":
                body.close()
                raise Disconnected
            size_bytes += len(message["body"])
            if size_bytes > limit_bytes:
                body.close()
                raise TooLarge(f"the body is larger than the {limit_bytes} bytes that are taken")
            body.write(message["body"])
            if not message["more_body"]:
                body.seek(0)
                return cast(IO[bytes], body)
            message = await receive()

    def _pool_for(self, path: str, body: IO[bytes]) -> ThreadPoolExecutor | None:
        """Return whose threads answer; None: the loop's own."""
        if path in UNCOUNTED:
            return self._watchers
        is_quick = isinstance(body, io.BytesIO) and body.getbuffer().nbytes <= self._bounds.quick_bytes(path)
        return None if is_quick else self._pool

    async def _answer(self, environ: dict[str, Any], send: Send, pool: ThreadPoolExecutor | None) -> None:
        loop = asyncio.get_running_loop()
        if pool:
            status, headers, first, rest = await loop.run_in_executor(pool, _call, self._app, environ)
        else:
            status, headers, first, rest = await on_loop(_call, self._app, environ)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        while rest is not None:
            await send({"type": "http.response.body", "body": first, "more_body": True})
            piece = await loop.run_in_executor(pool, _next, rest)
            if piece is None:
                first, rest = b"", None
            else:
                first = piece
        await send({"type": "http.response.body", "body": first})


def _call(app: Wsgi, environ: dict[str, Any]) -> tuple[int, Headers, bytes, Iterator[bytes] | None]:
    """Return status, headers and the body, or its first piece and the iterator over the rest."""
    told: list[tuple[int, Headers]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        told.append((int(status[:3]), [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers]))

    pieces = _pieces(app(environ, start_response))
    first, second = next(pieces, b""), next(pieces, None)
    return *told[-1], first, None if second is None else chain([second], pieces)


def _pieces(found: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from found
    finally:
        if close := getattr(found, "close", None):
            close()


def _next(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)


def _environ(scope: dict[str, Any], body: IO[bytes]) -> dict[str, Any]:
    """Return the request as WSGI has it (PEP 3333)."""
    server, client = scope["server"] or ("localhost", 0), scope["client"] or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "REQUEST_URI": scope["raw_path"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        if b"_" in raw_name:
            continue  # X_Forwarded_For would be taken for X-Forwarded-For
        name, value = raw_name.decode("latin-1").upper().replace("-", "_"), raw_value.decode("latin-1")
        key = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


async def _refuse(send: Send, status: int, detail: str, coming: Receive | None = None) -> None:
    """Answer without asking the app; what is still `coming` is read for a moment, or the client never reads why."""
    title = {413: "Content Too Large", 503: "Service Unavailable"}[status]
    body = f'{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}"}}'.encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"retry-after", str(RETRY_AFTER_S).encode())] if status == 503 else [(b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if coming:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_discard(coming), LINGER_S)
        body = b""
    await send({"type": "http.response.body", "body": body})


async def _discard(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass
