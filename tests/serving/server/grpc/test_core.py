"""Calls from grpcio's own client to the server made of grpcio's core."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from serving.server.core.status import Code
from serving.server.grpc.core import Call, CoreServer
from tests.support.serving.running import free_port, wait_for

pytestmark = pytest.mark.slow

TIMEOUT_S = 20.0


class Hall:
    """A server on a loop of its own thread, and what its methods saw."""

    def __init__(self) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.loop = asyncio.new_event_loop()
        self.held: list[Call] = []
        self.cancelled: list[Call] = []
        self.remaining: list[float | None] = []
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.server = self.on_loop(self._start)

    def on_loop(self, work: Callable[[], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            return await work()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(TIMEOUT_S)

    async def _start(self) -> CoreServer:
        methods = {"/echo": self._echo, "/refuse": self._refuse, "/hold": self._hold, "/fail": self._fail}
        server = CoreServer({"grpc.so_reuseport": 0}, methods)
        assert server.open(self.address)
        server.start()
        return server

    def _echo(self, call: Call, data: bytes) -> None:
        self.remaining.append(call.time_remaining())
        call.answer(data)
        call.answer(b"too late")

    def _refuse(self, call: Call, data: bytes) -> None:
        call.refuse(Code.DATA_LOSS, data.decode())

    def _hold(self, call: Call, data: bytes) -> None:
        call.on_cancelled = lambda: self.cancelled.append(call)
        self.held.append(call)

    def _fail(self, call: Call, data: bytes) -> None:
        raise ValueError("out of order")

    def wait_held(self, count: int = 1) -> None:
        wait_for(lambda: len(self.held) == count, TIMEOUT_S, lambda: f"{len(self.held)} calls arrived")

    def wait_cancelled(self) -> None:
        wait_for(lambda: bool(self.cancelled), TIMEOUT_S, lambda: "the call goes on")


@pytest.fixture
def hall() -> Iterator[Hall]:
    hall = Hall()
    yield hall
    hall.on_loop(lambda: hall.server.stop(0))
    hall.loop.call_soon_threadsafe(hall.loop.stop)


@pytest.fixture
def channel(hall: Hall) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(hall.address) as channel:
        yield channel


def refusal(ask: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        ask()
    return caught.value.code().name, caught.value.details()


@pytest.mark.parametrize("size", [0, 1, 4_000_000])
def test_a_message_is_answered(channel: grpc.Channel, size: int) -> None:
    assert channel.unary_unary("/echo")(b"m" * size, timeout=TIMEOUT_S) == b"m" * size


def test_many_calls_at_once_get_each_its_own_answer(hall: Hall) -> None:
    def ask(index: int) -> list[bytes]:
        with grpc.insecure_channel(hall.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            asked = [channel.unary_unary("/echo").future(b"%d %d" % (index, n), timeout=TIMEOUT_S) for n in range(50)]
            return [one.result() for one in asked]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [[b"%d %d" % (index, n) for n in range(50)] for index in range(8)]


def test_a_refusal_carries_code_and_details(channel: grpc.Channel) -> None:
    ask = channel.unary_unary("/refuse")
    assert refusal(lambda: ask("größer\n100 %".encode(), timeout=TIMEOUT_S)) == ("DATA_LOSS", "größer\n100 %")


def test_a_method_that_fails_is_an_internal_error(channel: grpc.Channel) -> None:
    ask = channel.unary_unary("/fail")
    assert refusal(lambda: ask(b"", timeout=TIMEOUT_S)) == ("INTERNAL", "ValueError: out of order")
    assert channel.unary_unary("/echo")(b"on", timeout=TIMEOUT_S) == b"on"


def test_an_unknown_method_is_refused_before_it_sends(channel: grpc.Channel) -> None:
    ended = threading.Event()

    def nothing() -> Iterator[bytes]:
        ended.wait(TIMEOUT_S)
        yield from ()

    ask = channel.stream_unary("/unknown")
    assert refusal(lambda: ask(nothing(), timeout=TIMEOUT_S)) == ("UNIMPLEMENTED", "Method not found!")
    ended.set()


def test_a_call_without_a_message_is_refused(channel: grpc.Channel) -> None:
    ask = channel.stream_unary("/echo")
    assert refusal(lambda: ask(iter(()), timeout=TIMEOUT_S))[0] == "UNIMPLEMENTED"


def test_the_time_left_is_known(hall: Hall, channel: grpc.Channel) -> None:
    channel.unary_unary("/echo")(b"")
    channel.unary_unary("/echo")(b"", timeout=TIMEOUT_S)
    assert hall.remaining[0] is None
    assert hall.remaining[1] is not None
    assert TIMEOUT_S - 10 < hall.remaining[1] <= TIMEOUT_S + 0.1


def test_a_client_that_leaves_cancels_its_call(hall: Hall, channel: grpc.Channel) -> None:
    asked = channel.unary_unary("/hold").future(b"", timeout=TIMEOUT_S)
    hall.wait_held()
    asked.cancel()
    hall.wait_cancelled()
    hall.loop.call_soon_threadsafe(hall.held[0].answer, b"nobody listens")
    assert channel.unary_unary("/echo")(b"on", timeout=TIMEOUT_S) == b"on"


def test_a_deadline_cancels_the_call(hall: Hall, channel: grpc.Channel) -> None:
    assert refusal(lambda: channel.unary_unary("/hold")(b"", timeout=0.2))[0] == "DEADLINE_EXCEEDED"
    hall.wait_cancelled()


def test_a_stream_goes_on_until_its_client_leaves(hall: Hall, channel: grpc.Channel) -> None:
    stream = channel.unary_stream("/hold")(b"", timeout=TIMEOUT_S)
    hall.wait_held()
    for message in (b"one", b"two"):
        hall.loop.call_soon_threadsafe(hall.held[0].send, message)
        assert next(stream) == message
    stream.cancel()
    hall.wait_cancelled()


def test_messages_of_a_stream_may_be_sent_faster_than_they_go(hall: Hall, channel: grpc.Channel) -> None:
    stream = channel.unary_stream("/hold")(b"", timeout=TIMEOUT_S)
    hall.wait_held()
    messages = [b"%d" % number for number in range(50)]

    def send() -> None:
        for message in messages:
            hall.held[0].send(message)

    hall.loop.call_soon_threadsafe(send)
    assert [next(stream) for _ in messages] == messages
    stream.cancel()
    hall.wait_cancelled()


def test_a_stop_waits_for_calls_under_way_and_takes_no_more(hall: Hall, channel: grpc.Channel) -> None:
    asked = channel.unary_unary("/hold").future(b"", timeout=TIMEOUT_S)
    hall.wait_held()
    stopped = asyncio.run_coroutine_threadsafe(hall.server.stop(TIMEOUT_S), hall.loop)

    def is_refused() -> bool:
        with grpc.insecure_channel(hall.address, [("grpc.use_local_subchannel_pool", 1)]) as other:
            try:
                other.unary_unary("/echo")(b"", timeout=1)
            except grpc.RpcError as error:
                return bool(error.code() is grpc.StatusCode.UNAVAILABLE)  # type: ignore[attr-defined]
        return False

    wait_for(is_refused, TIMEOUT_S, lambda: "calls are still taken")
    assert not stopped.done()
    hall.loop.call_soon_threadsafe(hall.held[0].answer, b"done")
    assert asked.result() == b"done"
    stopped.result(TIMEOUT_S)


def test_a_stop_cancels_what_takes_too_long(hall: Hall, channel: grpc.Channel) -> None:
    asked = channel.unary_unary("/hold").future(b"", timeout=TIMEOUT_S)
    hall.wait_held()
    hall.on_loop(lambda: hall.server.stop(0.05))
    assert refusal(asked.result)[0] in ("CANCELLED", "UNAVAILABLE")
    hall.wait_cancelled()


def test_an_address_in_use_is_not_opened(hall: Hall) -> None:
    async def opened() -> bool:
        return CoreServer({"grpc.so_reuseport": 0}, {}).open(hall.address)

    assert hall.on_loop(opened) is False
