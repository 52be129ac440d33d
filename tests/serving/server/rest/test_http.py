"""HTTP as clients really send it: pipelined, in pieces, too large, too slow, or broken. No model is needed for that."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

from common.logs import RequestId
from serving.server.core.metrics import Registry
from serving.server.flags import Options
from serving.server.listen import listen
from serving.server.rest.http import HttpApp, HttpServer
from serving.server.rest.routes import Answer
from tests.support.serving.running import wait_for
from tests.support.sockets import drained, received, received_head

LIMIT = 1 << 20
LARGE = 16 << 20
POST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\n"


class Echo:
    """An API that says what it was given; `/v1/wait` answers once it is let go, `/v1/large` with much."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []
        self.go = threading.Event()

    async def handle(self, method: str, target: str, body: bytes) -> Answer:
        self.seen.append((method, target, len(body)))
        if target == "/v1/wait":
            while not self.go.is_set():
                await asyncio.sleep(0.01)
        if target == "/v1/large":
            return Answer(200, bytes(LARGE))
        return Answer(200, json.dumps([method, target, body[:20].decode("latin-1"), len(body)]).encode())


class Served:
    """A server of this process, its event loop in a thread."""

    def __init__(self, options: Options) -> None:
        self.api = Echo()
        self.socket = listen("127.0.0.1", 0)
        self.port = self.socket.getsockname()[1]
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.server = HttpServer(HttpApp(self.api, Registry(), options), options)  # type: ignore[arg-type]
        self.run(self.server.start(self.socket))

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, sent: bytes, answers: int = 1) -> bytes:
        """Send bytes and return so many answers to them, or all there are until the server closes."""
        with self.connect() as to:
            to.sendall(sent)
            return received(to, answers)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    yield from serving(Options(rest_api_max_body_bytes=LIMIT))


@pytest.fixture(scope="module")
def impatient() -> Iterator[Served]:
    yield from serving(Options(rest_api_read_timeout_in_ms=200))


def serving(options: Options) -> Iterator[Served]:
    made = Served(options)
    yield made
    made.api.go.set()
    made.run(made.server.stop(0.5))
    made.end()


def statuses(answers: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", answers)]


def still_answers(served: Served) -> bool:
    return statuses(served.ask(b"GET /v1/y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")) == [200]


def with_length(body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return POST + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

WELL_FORMED: list[tuple[str, bytes, list[Any]]] = [
    ("with a length", with_length(b"abc"), ["POST", "/v1/x", "abc", 3]),
    ("in chunks", CHUNKED + chunked(b"ab", b"c", b""), ["POST", "/v1/x", "abc", 3]),
    ("without a body", POST + b"\r\n", ["POST", "/v1/x", "", 0]),
    ("HTTP/1.0", b"POST /v1/x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", ["POST", "/v1/x", "abc", 3]),
    ("a full address", b"GET http://a/v1/x?y=1 HTTP/1.1\r\nHost: a\r\n\r\n", ["GET", "/v1/x?y=1", "", 0]),
    ("packed", with_length(gzip.compress(b"abc"), b"Content-Encoding: GZIP"), ["POST", "/v1/x", "abc", 3]),
    (
        "an offer to upgrade",
        with_length(
            b"abc", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAAAAIAAAAB"
        ),
        ["POST", "/v1/x", "abc", 3],
    ),
    (
        "an offer of a websocket",
        with_length(b"abc", b"Connection: Upgrade", b"Upgrade: websocket"),
        ["POST", "/v1/x", "abc", 3],
    ),
]


@pytest.mark.parametrize(("sent", "wanted"), [c[1:] for c in WELL_FORMED], ids=[c[0] for c in WELL_FORMED])
def test_a_request_is_understood(served: Served, sent: bytes, wanted: list[Any]) -> None:
    head, _, body = served.ask(sent).partition(b"\r\n\r\n")
    assert (statuses(head), json.loads(body)) == ([200], wanted)


REFUSED: list[tuple[str, bytes, int]] = [
    ("no HTTP", b"hello\r\n\r\n", 400),
    ("a length that is no number", POST + b"Content-Length: x\r\n\r\n", 400),
    ("a length beyond all numbers", POST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
    ("two lengths", POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    ("a length and chunks", POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("a chunk's size that is no number", CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n", 400),
    ("a path that is no path", b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("bytes above ASCII in the path", b"GET /v1/\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a length that is too large", POST + b"Content-Length: %d\r\n\r\n" % (LIMIT + 1), 413),
    ("a gzip body that is none", with_length(b"abc", b"Content-Encoding: gzip"), 400),
    ("a gzip body that ends early", with_length(gzip.compress(b"abc")[:-4], b"Content-Encoding: gzip"), 400),
    ("a gzip body torn", with_length(gzip.compress(b"abc" * 99)[:15] + b"torn" * 9, b"Content-Encoding: gzip"), 400),
    ("a second gzip member", with_length(gzip.compress(b"ab") + gzip.compress(b"c"), b"Content-Encoding: gzip"), 400),
    ("something after the gzip body", with_length(gzip.compress(b"abc") + b"junk", b"Content-Encoding: gzip"), 400),
    ("a gzip bomb", with_length(gzip.compress(bytes(200 * LIMIT), compresslevel=1), b"Content-Encoding: gzip"), 413),
    ("the API's root with a star", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
]


@pytest.mark.parametrize(("sent", "status"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_a_broken_request_is_refused(served: Served, sent: bytes, status: int) -> None:
    answer = served.ask(sent)
    assert statuses(answer) == [status], answer
    if b"content-type: application/json" in answer:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    else:  # what is no HTTP never comes as far as the API
        assert status == 404 or b"Invalid HTTP request" in answer
    assert still_answers(served)


@pytest.mark.parametrize("chunk_bytes", [1 << 16, 1 << 10], ids=["large chunks", "small chunks"])
def test_a_body_too_large_is_refused_while_it_comes_and_the_sender_reads_why(served: Served, chunk_bytes: int) -> None:
    count = len(served.api.seen)
    answer = served.ask(CHUNKED + chunked(*[bytes(chunk_bytes)] * (20 * LIMIT // chunk_bytes), b""))
    assert statuses(answer) == [413]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"].endswith(f"larger than the limit of {LIMIT} bytes.")
    declared = served.ask(with_length(bytes(20 * LIMIT)))  # the sender does not wait for the answer
    assert statuses(declared) == [413]
    assert len(served.api.seen) == count


def test_a_body_longer_than_its_length_is_not_read_as_one(served: Served) -> None:
    for length in (b"Content-Length: 3\r\n\r\nabc", b"\r\n"):
        assert statuses(served.ask(POST + length + b"x" * 20, 2)) == [400]
    assert still_answers(served)


@pytest.mark.parametrize(
    "endless",
    [(b"GET /v1/x HTTP/1.1\r\nX: ", b"a"), (b"GET /v1/", b"a"), (b"GET /v1/x HTTP/1.1\r\n", b"X: a\r\n")],
    ids=["a header", "a path", "headers"],
)
def test_what_never_ends_is_cut(served: Served, endless: tuple[bytes, bytes]) -> None:
    start, more = endless
    count = len(served.api.seen)
    with served.connect() as to:
        to.sendall(start)
        with pytest.raises(ConnectionError):  # long before: the kernel buffers some megabytes
            to.sendall(more * ((64 << 20) // len(more)))
    assert len(served.api.seen) == count


@pytest.mark.parametrize("sent", [with_length(b"abc"), CHUNKED + chunked(b"abc", b"")], ids=["length", "chunks"])
def test_who_closes_its_own_side_after_the_request_gets_its_answer(served: Served, sent: bytes) -> None:
    with served.connect() as to:
        to.sendall(sent)
        to.shutdown(socket.SHUT_WR)
        assert drained(to).endswith(b'["POST", "/v1/x", "abc", 3]')


def test_who_closes_its_own_side_while_its_answer_is_made_gets_it() -> None:
    served = Served(Options())
    with served.connect() as to:
        to.sendall(b"GET /v1/wait HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: bool(served.api.seen), 5, lambda: "the request did not arrive")
        to.shutdown(socket.SHUT_WR)
        assert still_answers(served)  # so the end of the other connection has been seen
        served.api.go.set()
        assert statuses(drained(to)) == [200]
    served.run(served.server.stop(5))
    served.end()


def test_an_offer_of_another_protocol_is_passed_over_each_time(served: Served) -> None:
    offer = with_length(b"abc", b"Connection: Upgrade", b"uPGRADE: h2c")
    with served.connect() as to:
        for _ in range(2):
            to.sendall(offer)
            assert received(to).endswith(b'["POST", "/v1/x", "abc", 3]')
        to.sendall(with_length(b"Upgrade: d"))
        assert received(to).endswith(b'["POST", "/v1/x", "Upgrade: d", 10]')


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    sent = [b"GET /v1/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(50)]
    answers = served.ask(b"".join(sent), 50)
    assert [int(n) for n in re.findall(rb'"/v1/(\d+)"', answers)] == list(range(50))


def test_a_request_may_come_byte_by_byte(served: Served) -> None:
    with served.connect() as to:
        to.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in with_length(b"abc"):
            to.send(bytes([byte]))
        assert received(to).endswith(b'["POST", "/v1/x", "abc", 3]')


def test_a_head_has_no_body_and_the_connection_stays_in_step(served: Served) -> None:
    with served.connect() as to:
        to.sendall(b"HEAD /v1/x HTTP/1.1\r\nHost: a\r\n\r\n")
        head = received_head(to)
        to.sendall(b"GET /v1/y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = drained(to)
    assert statuses(head) == [200]
    assert statuses(answer) == [200]
    assert answer.endswith(b'["GET", "/v1/y", "", 0]')


def test_who_waits_to_be_asked_for_the_body_is_asked_unless_it_is_too_large(served: Served) -> None:
    with served.connect() as to:
        to.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert received_head(to) == b"HTTP/1.1 100 Continue\r\n\r\n"
        to.sendall(b"abc")
        assert received(to).endswith(b'["POST", "/v1/x", "abc", 3]')
    with served.connect() as to:  # the body is not waited for: it never comes
        to.sendall(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (LIMIT + 1))
        assert statuses(drained(to)) == [413]


@pytest.mark.slow
def test_slow_senders_are_cut_and_idle_ones_do_not_hold_up_the_others(impatient: Served) -> None:
    idle = [impatient.connect() for _ in range(200)]
    slow = [impatient.connect() for _ in range(3)]
    starts = [b"GET /v1/slow HTT", POST + b"Content-Length: 100\r\n\r\nabc", CHUNKED + b"5\r\nab"]
    count = len(impatient.api.seen)
    for connection, start in zip(slow, starts, strict=True):
        connection.sendall(start)
    assert still_answers(impatient)
    told = [statuses(drained(connection)) for connection in (*slow, *idle)]  # within the socket's own timeout
    assert told == [[], [408], [408], *[[]] * len(idle)]
    for connection in (*slow, *idle):
        connection.close()
    assert impatient.api.seen[count:] == [("GET", "/v1/y", 0)]


@pytest.mark.slow
def test_who_takes_its_answer_slowly_gets_it(impatient: Served) -> None:
    with impatient.connect() as to:
        to.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        to.sendall(b"GET /v1/large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        found, started = 0, time.monotonic()
        while piece := to.recv(1 << 20):
            found += len(piece)
            time.sleep(0.005 if found < LARGE // 2 else 0)
    assert found > LARGE
    assert time.monotonic() - started > 0.3  # longer than its time for reading would be


@pytest.mark.slow
def test_an_answered_connection_is_kept_longer_than_a_slow_request(impatient: Served) -> None:
    with impatient.connect() as to:
        to.sendall(with_length(b"abc"))
        received(to)
        with impatient.connect() as slow:  # its end tells that the time for reading is over
            assert slow.recv(1) == b""
        to.sendall(with_length(b"abc"))
        assert received(to).endswith(b'["POST", "/v1/x", "abc", 3]')


@pytest.mark.parametrize(
    "start", [POST + b"Content-Length: 9\r\n\r\nabc", CHUNKED + b"5\r\nab"], ids=["length", "chunks"]
)
def test_half_a_request_is_never_answered(served: Served, start: bytes) -> None:
    count = len(served.api.seen)
    with served.connect() as to:
        to.sendall(start)
    assert still_answers(served)
    assert served.api.seen[count:] == [("GET", "/v1/y", 0)]


def test_a_client_that_leaves_before_its_answer_harms_nobody(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with served.connect() as to:
        to.sendall(b"GET /v1/wait HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: ("GET", "/v1/wait", 0) in served.api.seen, 5, lambda: "the request did not arrive")
    assert still_answers(served)
    served.api.go.set()
    assert still_answers(served)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_request_with_an_id_is_answered_and_logged_with_it(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "serving")
    caplog.handler.addFilter(RequestId())
    lines = b"Host: a\r\nX-Request-ID: id-of-this-test\r\n\r\n"
    answers = [served.ask(b"GET /v1/y HTTP/1.1\r\n" + lines), served.ask(b"GET /nowhere HTTP/1.1\r\n" + lines)]
    assert all(b"\r\nx-request-id: id-of-this-test\r\n" in answer for answer in answers)
    logged = [(record.levelname, record.getMessage(), vars(record)["request_id"]) for record in caplog.records]
    assert logged == [("DEBUG", "GET /v1/y 200", "id-of-this-test"), ("WARNING", "GET /nowhere 404", "id-of-this-test")]


@pytest.mark.parametrize("request_id", [b"short", b"with space in it", b"a" * 65, b"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"])
def test_what_is_no_id_is_neither_answered_nor_logged(
    served: Served, caplog: pytest.LogCaptureFixture, request_id: bytes
) -> None:
    caplog.set_level(logging.DEBUG, "serving")
    answer = served.ask(b"GET /nowhere HTTP/1.1\r\nHost: a\r\nX-Request-ID: " + request_id + b"\r\n\r\n")
    assert statuses(answer) == [404]
    assert b"x-request-id" not in answer
    assert not caplog.records


def test_metrics_that_nobody_asked_for_are_not_there(served: Served) -> None:
    assert statuses(served.ask(b"GET /monitoring/prometheus/metrics HTTP/1.1\r\nHost: a\r\n\r\n")) == [404]


def test_who_is_not_done_when_the_time_to_stop_is_over_is_told() -> None:
    served = Served(Options())
    with served.connect() as busy:
        busy.sendall(b"GET /v1/wait HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: bool(served.api.seen), 5, lambda: "the request did not arrive")
        served.run(served.server.stop(0.05))
        answer = drained(busy)
    assert statuses(answer) == [503]
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"error": "The server is stopping."}
    served.end()


def test_stopping_finishes_what_is_under_way_and_takes_nothing_new() -> None:
    served = Served(Options(rest_api_read_timeout_in_ms=0))  # which is no limit
    with served.connect() as idle, served.connect() as busy:
        busy.sendall(b"GET /v1/wait HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: bool(served.api.seen), 5, lambda: "the request did not arrive")
        stopped = asyncio.run_coroutine_threadsafe(served.server.stop(5), served.loop)
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            served.connect()
        assert not stopped.done()
        served.api.go.set()
        assert statuses(drained(busy)) == [200]
        stopped.result(5)
    served.end()
