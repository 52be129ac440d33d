"""REST over HTTP: an ASGI application that bounds what it reads, and uvicorn to run it."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from common.logs import HEADER, REQUEST_ID, VALID_ID
from serving.server.core.metrics import Registry
from serving.server.rest.json_writer import write_error
from serving.server.rest.routes import CORS, Answer, RestApi

if TYPE_CHECKING:
    from serving.server.flags import Options

_OFFER = re.compile(
    rb"\r\nupgrade:", re.IGNORECASE
)  # Java's client makes it with each request; httptools drops the body
MAX_HEAD_BYTES = 1 << 16  # of a request line and headers, but for the piece that brings their end
REQUEST_ID_KEY = HEADER.lower().encode()
KEEP_ALIVE_S = 120
LINGER_S = 2.0  # for a client to end what it sends in vain
LOG = logging.getLogger("serving")
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Refused(Exception):
    """A body is not read: what the client is told. `is_coming`: it is still sending it, and stays on after its answer.

    A connection whose request was not read to its end is closed.
    """

    def __init__(self, status: int, message: str, *, closes: bool = True, is_coming: bool = False) -> None:
        super().__init__(message)
        self.answer = Answer(status, write_error(message))
        self.headers = {"connection": "close"} if closes else {}
        self.is_coming = is_coming


class Disconnected(Exception):
    """The client has left, or was cut, before its request was whole."""


class HttpApp:
    """The ASGI application: REST below `/v1/`, metrics where they were asked for, 404 elsewhere."""

    def __init__(self, api: RestApi, registry: Registry, options: Options, metrics_path: str = "") -> None:
        self._api = api
        self._registry = registry
        self._metrics_path = metrics_path
        self._has_cors = options.rest_api_enable_cors_support
        self._max_body_bytes = options.rest_api_max_body_bytes  # also of an unpacked one
        self._read_timeout_s = options.rest_api_read_timeout_in_ms / 1000  # 0: no limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        headers: dict[bytes, bytes] = dict(scope["headers"])
        named = _named(headers)
        try:
            body = await self._body(headers, receive)
        except Disconnected:
            return
        except Refused as refused:
            leftover = receive if refused.is_coming and b"expect" not in headers else None
            await _send(send, refused.answer, refused.headers | named, leftover)
            return
        try:
            answer = await self._route(scope["method"], target, headers, body)
        except asyncio.CancelledError:  # by uvicorn, when the time to finish is over
            answer = Answer(503, write_error("The server is stopping."))
        is_api = answer.content_type.startswith("application/json")
        if named:
            level = logging.DEBUG if answer.status < 400 else logging.WARNING
            LOG.log(level, "%s %s %d", scope["method"], target, answer.status)
        await _send(send, answer, CORS | named if self._has_cors and is_api else named)

    async def _route(self, method: str, target: str, headers: Mapping[bytes, bytes], body: bytes) -> Answer:
        if target[:4].lower() == "/v1/":
            if method == "OPTIONS" and self._has_cors:
                is_web = headers.get(b"origin", b"").startswith((b"http://", b"https://"))
                return Answer(200 if is_web else 400, b"")
            return await self._api.handle(method, target, body)
        path, _, query = target.partition("?")
        if self._metrics_path and path == self._metrics_path:
            if query:
                return Answer(400, f"Unexpected path: {target}. Should be {path}".encode(), "text/plain")
            return Answer(200, self._registry.page().encode(), "text/plain")
        return Answer(404, b"<html><head><title>404 Not Found</title></head></html>", "text/html")

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Return the request's body, unpacked. Raises Refused, before too much of it is held, and Disconnected."""
        limit = self._max_body_bytes
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            what = f"Request body of {int(declared)} bytes is larger than the limit of {limit}."
            raise Refused(413, what, is_coming=True)
        body = await self._in_time(_whole(receive, limit))
        if body and b"gzip" in headers.get(b"content-encoding", b"").lower():
            return await asyncio.get_running_loop().run_in_executor(None, inflate, body, limit)
        return body

    async def _in_time(self, reading: Awaitable[bytes]) -> bytes:
        """Read within the limit. A timer and no `wait_for`: that would cost a task for each request."""
        limit_s, task = self._read_timeout_s, asyncio.current_task()
        if limit_s <= 0 or task is None:
            return await reading
        timers: list[asyncio.TimerHandle] = []

        def end() -> None:
            timers.clear()
            task.cancel()

        timers.append(asyncio.get_running_loop().call_later(limit_s, end))
        try:
            return await reading
        except asyncio.CancelledError:
            if timers:
                raise
            raise Refused(408, "The request did not come in time.") from None
        finally:
            for timer in timers:
                timer.cancel()


def _named(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the header that names the request, if the client did: in the answer and in the lines of the log."""
    if (request_id := headers.get(REQUEST_ID_KEY, b"").decode("latin-1")) and VALID_ID.fullmatch(request_id):
        REQUEST_ID.set(request_id)
        return {HEADER.lower(): request_id}
    return {}


async def _whole(receive: Receive, limit: int) -> bytes:
    chunks, size, is_more = [], 0, True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunks.append(message["body"])
        size, is_more = size + len(message["body"]), message["more_body"]
        if size > limit:
            raise Refused(413, f"Request body is larger than the limit of {limit} bytes.", is_coming=is_more)
    return b"".join(chunks)


def inflate(packed: bytes, limit: int) -> bytes:
    """Return the unpacked bytes of a gzip body. Raises Refused."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        body = unpacker.decompress(packed, limit + 1)
        if len(body) > limit:
            raise Refused(413, f"Request body is larger than the limit of {limit} bytes once unpacked.")
        if not unpacker.eof:
            raise zlib.error("incomplete stream")
        if unpacker.unused_data:  # a second member, or anything else
            raise zlib.error("something follows the stream")
    except zlib.error as error:
        raise Refused(400, f"Failed to unpack the gzip body: {error}", closes=False) from None
    return body


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


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with a limit for a request's head, whose client may close its own side after the request.

    uvicorn offers neither; docs/decisions/private-interfaces.md says what of its protocol is relied upon.
    """

    def __init__(self, read_timeout_s: float, **settings: Any) -> None:
        super().__init__(**settings)
        self._read_timeout_s = read_timeout_s
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Read on, unless no head comes of it."""
        head = b"" if self._is_answering() else data[: data.find(b"\r\n\r\n") + 2]
        super().data_received(_OFFER.sub(b"\r\nx-declined:", head) + data[len(head) :] if _OFFER.search(head) else data)
        if self._is_answering():
            self._forget_head()
            return
        self._wait_for_head()
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.abort()

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio.Protocol has it
        """Keep the connection until the answer is sent, if the request is whole."""
        if not self._is_answering() or self.cycle.more_body:
            return False
        self.shutdown()  # once the answer is sent
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        if self._timer is None and self._read_timeout_s > 0:
            self._timer = self.loop.call_later(self._read_timeout_s, self.transport.abort)

    def _forget_head(self) -> None:
        self._head_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class HttpServer:
    """uvicorn in a loop of ours, on a socket of ours; we own the signals."""

    def __init__(self, app: HttpApp, options: Options) -> None:
        config = uvicorn.Config(
            app,
            http=partial(Connection, options.rest_api_read_timeout_in_ms / 1000),  # type: ignore[arg-type]  # called as a class is
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._server = uvicorn.Server(config)

    async def start(self, listening: socket.socket) -> None:
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup(sockets=[listening])

    async def stop(self, timeout_s: float) -> None:
        """Take no more connections, finish requests under way, then leave."""
        self._server.config.timeout_graceful_shutdown = timeout_s  # type: ignore[assignment]  # need not be whole
        await self._server.shutdown()
