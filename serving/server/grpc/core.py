"""gRPC calls straight from grpcio's C core.

grpcio's asyncio server hands each of a call's four events to the event loop by a socket, one a turn, and its other
server keeps a thread waiting for each call: either way more time goes to the lock of Python than to the call. Here a
thread takes the events, and whatever has arrived goes to the loop at once. What is used of `cygrpc` is no public
interface of grpcio, but what its own `grpc.server` is made of, and as old; a grpcio that changes it fails our tests.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from grpc._cython import cygrpc

from serving.server.core.status import Code
from serving.server.run.runner import Inbox

LOG = logging.getLogger("serving")
FOREVER_S = 1e12  # the deadline of a call without one is later still
_NEXT_CALL, _STOPPED = object(), object()


class Call:
    """A call under way. For the event loop alone."""

    __slots__ = ("_call", "_has_sent", "_is_sending", "_post", "_waiting", "deadline_s", "is_over", "on_cancelled")

    def __init__(self, call: Any, deadline_s: float, post: Callable[[Callable[[], None]], None]) -> None:
        self._call = call
        self._post = post  # has something done on the event loop
        self._has_sent = False
        self._is_sending = False
        self._waiting: deque[bytes] = deque()
        self.deadline_s = deadline_s  # since the epoch
        self.is_over = False  # answered or cancelled: nothing more may be sent
        self.on_cancelled: Callable[[], object] | None = None

    def time_remaining(self) -> float | None:
        """Return the seconds left to answer, None if there is no deadline."""
        return max(self.deadline_s - time.time(), 0.0) if self.deadline_s < FOREVER_S else None

    def send(self, message: bytes) -> None:
        """Send a message of a stream that goes on, after those before it: the core refuses two at a time."""
        self._waiting.append(message)
        if not self._is_sending:
            self._send_next()

    def answer(self, message: bytes) -> None:
        """Send the answer and end the call."""
        self._end(Code.OK, "", cygrpc.SendMessageOperation(message, 0))

    def refuse(self, code: Code, details: str) -> None:
        """End the call with an error."""
        self._end(code, details)

    def cancel(self) -> None:
        """Take note that the client waits no longer: it has left, or the deadline is past."""
        if not self.is_over:
            self.is_over = True
            if self.on_cancelled:
                self.on_cancelled()

    def _send_next(self) -> None:
        self._is_sending = bool(self._waiting) and not self.is_over
        if self._is_sending:
            message = cygrpc.SendMessageOperation(self._waiting.popleft(), 0)
            self._start(message, then=lambda _: self._post(self._send_next))

    def _end(self, code: Code, details: str, *messages: Any) -> None:
        if not self.is_over:
            self.is_over = True
            self._start(*messages, cygrpc.SendStatusFromServerOperation(None, int(code), details.encode(), 0))

    def _start(self, *operations: Any, then: Callable[[Any], None] | None = None) -> None:
        if not self._has_sent:
            self._has_sent = True
            operations = (cygrpc.SendInitialMetadataOperation(None, 0), *operations)
        self._call.start_server_batch(operations, then or _ignore)


Method = Callable[[Call, bytes], None]  # begins to answer, on the event loop


class CoreServer:
    """A server of methods that take one message each. To be made, started and stopped on the event loop."""

    def __init__(self, options: Mapping[str, Any], methods: Mapping[str, Method]) -> None:
        self._methods = {name.encode(): method for name, method in methods.items()}
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(tuple(options.items()), False)
        self._server.register_completion_queue(self._queue)
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._lock = threading.Lock()
        self._open = 0  # calls, for the polling thread alone
        self._is_stopping = False
        self._ended = asyncio.Event()

    def open(self, address: str, credentials: Any = None) -> bool:
        """Listen on an address, with grpc.ServerCredentials for TLS; return whether that went well."""
        with_tls = (credentials._credentials,) if credentials else ()
        return bool(self._server.add_http2_port(address.encode(), *with_tls))

    def start(self) -> None:
        """Take calls from now on."""
        self._server.start()
        self._ask_for_call()
        threading.Thread(target=self._poll, name="grpc", daemon=True).start()

    async def stop(self, timeout_s: float) -> None:
        """Take no more calls, give those under way so long, then cancel them."""
        with self._lock:
            if not self._is_stopping:
                self._is_stopping = True
                self._server.shutdown(self._queue, _STOPPED)
        try:
            await asyncio.wait_for(self._ended.wait(), timeout_s)
        except asyncio.TimeoutError:
            self._server.cancel_all_calls()  # does nothing once all have ended
            await self._ended.wait()

    def _ask_for_call(self) -> None:
        with self._lock:
            if not self._is_stopping:
                self._server.request_call(self._queue, self._queue, _NEXT_CALL)

    def _poll(self) -> None:
        is_stopped = False
        while True:
            event = self._queue.poll()
            if event.tag is None:  # the queue is shut down and empty
                break
            try:
                if event.tag is _NEXT_CALL:
                    self._begin(event)
                elif event.tag is _STOPPED:
                    is_stopped = True
                else:
                    event.tag(event)
            except Exception:  # one call's trouble must not end all others
                LOG.exception("A gRPC call could not be handled")
            del event  # a call kept from being freed keeps the core busy
            if is_stopped and not self._open:
                is_stopped = False
                self._inbox.put(self._loop, self._queue.shutdown)  # there, nothing can be about to be sent any more
        self._inbox.put(self._loop, self._end)

    def _end(self) -> None:
        self._server.destroy()  # on the loop, as all else that is done to it: the core would crash
        self._ended.set()

    def _begin(self, event: Any) -> None:
        if not event.success:  # there will be no next call
            return
        self._ask_for_call()
        call = Call(event.call, event.call_details.deadline, partial(self._inbox.put, self._loop))
        method = self._methods.get(event.call_details.method)

        def closed(event: Any) -> None:
            self._open -= 1
            if event.batch_operations[0].cancelled():
                self._inbox.put(self._loop, call.cancel)

        event.call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(0),), closed)
        self._open += 1
        if method is None:
            call.refuse(Code.UNIMPLEMENTED, "Method not found!")
            return

        def received(event: Any) -> None:
            self._inbox.put(self._loop, partial(_take, call, method, event.batch_operations[0].message()))

        event.call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), received)


def _take(call: Call, method: Method, message: bytes | None) -> None:
    if call.is_over:
        return
    if message is None:
        call.refuse(Code.UNIMPLEMENTED, "The method requires exactly one request message.")
        return
    try:
        method(call, message)
    except Exception as error:
        LOG.exception("A gRPC call could not be begun")
        call.refuse(Code.INTERNAL, f"{type(error).__name__}: {error}")


def _ignore(event: Any) -> None:
    """Take no notice of what was sent: a client that has left shows by its close."""
