"""REST over HTTP: an ASGI application that bounds what it reads, and uvicorn to run it."""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import uvicorn

from serving.server.core.metrics import Registry
from serving.server.rest.json_writer import write_error
from serving.server.rest.routes import CORS, Answer, RestApi
from serving.wire.http_protocol import BoundedProtocol

LINGER_S = 2.0  # for a client to end what it sends in vain
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class HttpOptions:
    """Bounds and extras of the HTTP server. `metrics_path` empty: no metrics."""

    metrics_path: str = ""
    cors: bool = False
    max_body_bytes: int = 64 << 20  # also of an unpacked one
    read_timeout_s: float = 30.0  # for a whole request, or for a client to take anything of its answer; 0: no limit
    keep_alive_s: int = 120


class TooLarge(Exception):
    """A body is over the bound; `is_coming`: the client is still sending it."""

    def __init__(self, message: str, is_coming: bool) -> None:
        super().__init__(message)
        self.is_coming = is_coming


class Disconnected(Exception):
    """The client has left, or was cut, before its request was whole."""


class HttpApp:
    """The ASGI application: REST below `/v1/`, metrics where they were asked for, 404 elsewhere."""

    def __init__(self, api: RestApi, registry: Registry, options: HttpOptions) -> None:
        self._api = api
        self._registry = registry
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            body = await self._body(headers, receive)
        except Disconnected:
            return
        except TooLarge as error:
            leftover = receive if error.is_coming and b"expect" not in headers else None
            await _send(send, Answer(413, write_error(str(error))), {"connection": "close"}, leftover)
            return
        except zlib.error as error:
            await _send(send, Answer(400, write_error(f"Failed to unpack the gzip body: {error}")), {})
            return
        try:
            answer = await self._route(scope["method"], target, headers, body)
        except asyncio.CancelledError:  # by uvicorn, when the time to finish is over
            answer = Answer(503, write_error("The server is stopping."))
        is_api = answer.content_type.startswith("application/json")
        await _send(send, answer, CORS if self._options.cors and is_api else {})

    async def _route(self, method: str, target: str, headers: Mapping[bytes, bytes], body: bytes) -> Answer:
        if target[:4].lower() == "/v1/":
            if method == "OPTIONS" and self._options.cors:
                return _preflight(headers)
            return await self._api.handle(method, target, body)
        path, _, query = target.partition("?")
        if self._options.metrics_path and path == self._options.metrics_path:
            if query:
                return Answer(400, f"Unexpected path: {target}. Should be {path}".encode(), "text/plain")
            return Answer(200, self._registry.page().encode(), "text/plain")
        return Answer(404, b"<html><head><title>404 Not Found</title></head></html>", "text/html")

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Return the request's body, unpacked. Raises TooLarge before it is held, Disconnected, zlib.error."""
        limit = self._options.max_body_bytes
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise TooLarge(f"Request body of {int(declared)} bytes is larger than the limit of {limit}.", True)
        body, more = await _piece(receive)
        if more:
            chunks, size = [body], len(body)
            while more:
                chunk, more = await _piece(receive)
                chunks.append(chunk)
                size += len(chunk)
                if size > limit:
                    raise TooLarge(f"Request body is larger than the limit of {limit} bytes.", more)
            body = b"".join(chunks)
        if body and b"gzip" in headers.get(b"content-encoding", b"").lower():
            return await asyncio.get_running_loop().run_in_executor(None, inflate, body, limit)
        return body


async def _piece(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message["body"], message["more_body"]


def inflate(packed: bytes, limit: int) -> bytes:
    """Return the unpacked bytes of a gzip body. Raises TooLarge once they are over `limit`, zlib.error."""
    unpacker = zlib.decompressobj(wbits=31)
    found = unpacker.decompress(packed, limit + 1)
    if len(found) > limit:
        raise TooLarge(f"Request body is larger than the limit of {limit} bytes once unpacked.", False)
    if not unpacker.eof:
        raise zlib.error("incomplete stream")
    return found


def _preflight(headers: Mapping[bytes, bytes]) -> Answer:
    origin = headers.get(b"origin", b"")
    is_web = origin.startswith((b"http://", b"https://"))
    return Answer(200 if is_web else 400, b"")


async def _send(send: Send, answer: Answer, headers: Mapping[str, str], leftover: Receive | None = None) -> None:
    fields = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        *((name.encode(), value.encode()) for name, value in headers.items()),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": fields})
    if leftover is None:
        await send({"type": "http.response.body", "body": answer.body})
        return
    # to close on a client that still sends would reset the connection, and it would never read the answer
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_discard(leftover), LINGER_S)
    await send({"type": "http.response.body"})


async def _discard(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass


class HttpServer:
    """uvicorn in a loop of ours, on a socket of ours; we own the signals."""

    def __init__(self, app: HttpApp, options: HttpOptions) -> None:
        self._options = options
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=options.keep_alive_s,
        )
        self._server = uvicorn.Server(config)
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, listening: socket.socket) -> None:
        """Serve the socket from now on."""
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup(sockets=[listening])
        if self._options.read_timeout_s > 0:
            self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self, timeout_s: float) -> None:
        """Take no more connections, finish requests under way, then leave."""
        if self._sweeper:
            self._sweeper.cancel()
        self._server.config.timeout_graceful_shutdown = timeout_s  # type: ignore[assignment]  # need not be whole
        await self._server.shutdown()

    async def _sweep(self) -> None:
        """Cut whoever keeps the server waiting."""
        limit_s = self._options.read_timeout_s
        while True:
            await asyncio.sleep(min(1.0, limit_s / 2))
            for connection in list(self._server.server_state.connections):
                if isinstance(connection, BoundedProtocol) and connection.is_stuck(limit_s):
                    connection.transport.abort()
