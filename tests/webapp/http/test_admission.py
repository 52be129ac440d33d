"""Admission over real sockets: granian, and a WSGI app that does what its path says (tests/support/web/hall.py)."""

from __future__ import annotations

import io
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from common.errors import VouchError
from tests.support.paths import ROOT
from tests.support.sockets import received, received_head
from tests.support.web.hall import HELD_BYTES, LIMIT_BYTES, WAITING
from webapp.http import admission
from webapp.http.admission import Admission

pytestmark = pytest.mark.slow

SLOW = b"POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.support.web.hall"], cwd=ROOT, text=True, stdout=subprocess.PIPE
    )
    assert running.stdout
    yield running, running.stdout.readline().strip()
    running.terminate()
    assert running.wait(20) == 0


@pytest.fixture
def hall(process: tuple[subprocess.Popen[str], str]) -> str:
    """The URL of the hall."""
    url = process[1]

    def is_up() -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"{url}/size", timeout=10).ok
        return False

    until(is_up)
    return url


def state(hall: str) -> dict[str, int]:
    seen: dict[str, int] = requests.get(f"{hall}/livez", timeout=10).json()
    return seen


def connect(hall: str) -> socket.socket:
    host, port = hall.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def chunks(size: int) -> Iterator[bytes]:
    for start in range(0, size, 65536):
        yield b"x" * min(65536, size - start)


@pytest.mark.parametrize("size", [0, 1, 300_000, LIMIT_BYTES], ids=["empty", "a byte", "several pieces", "the limit"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "chunked"])
def test_a_body_arrives_whole(hall: str, size: int, is_chunked: bool) -> None:
    body = b"".join(chunks(size))
    answer = requests.post(f"{hall}/size", data=chunks(size) if is_chunked else body, timeout=10)
    assert answer.text == f"{size} {sum(body) % 251}"


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "chunked"])
def test_a_body_over_the_bound_is_refused_and_the_reason_can_be_read(hall: str, is_chunked: bool) -> None:
    body = chunks(2 * LIMIT_BYTES) if is_chunked else b"x" * (2 * LIMIT_BYTES)
    answer = requests.post(f"{hall}/size", data=body, timeout=10)
    assert answer.status_code == 413
    assert str(LIMIT_BYTES) in answer.text


def test_the_bound_depends_on_the_path(hall: str) -> None:
    assert requests.post(f"{hall}/small", data=b"x" * 11, timeout=10).status_code == 413
    assert requests.post(f"{hall}/small", data=b"x" * 10, timeout=10).status_code == 200


def test_a_body_that_the_app_does_not_want_is_not_waited_for(hall: str) -> None:
    with connect(hall) as client:
        client.sendall(b"POST /refused HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nx")
        assert received_head(client).startswith(b"HTTP/1.1 401 ")
    with connect(hall) as client:
        client.sendall(b"POST /refused HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        assert received_head(client).startswith(b"HTTP/1.1 401 ")


def test_bodies_under_way_are_bounded_together(hall: str) -> None:
    body = b"x" * LIMIT_BYTES
    with ThreadPoolExecutor(1) as pool:
        kept = pool.submit(requests.post, f"{hall}/keep", data=body, timeout=30)
        until(lambda: state(hall)["inside"] == 1)
        assert requests.post(f"{hall}/size", data=body, timeout=10).status_code == 503
        assert requests.post(f"{hall}/size", data=body[: HELD_BYTES - LIMIT_BYTES], timeout=10).ok
        requests.get(f"{hall}/readyz", timeout=10)
        assert kept.result().ok
    assert requests.post(f"{hall}/size", data=body, timeout=10).ok


def test_an_answer_in_pieces_is_sent_whole(hall: str) -> None:
    assert requests.get(f"{hall}/pieces", timeout=10).text == "0,1,2,3,"


def test_paths_are_unquoted_and_headers_are_as_in_wsgi(hall: str) -> None:
    with connect(hall) as client:
        client.sendall(b"GET /headers?a%20b HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nX-One: 2\r\n\r\n")
        answer = received(client)
    assert b'"HTTP_X_ONE": "1,2"' in answer
    assert b'"QUERY_STRING": "a%20b"' in answer


@pytest.mark.parametrize("is_slow", [False, True], ids=["silent before it", "a silent body"])
def test_idle_and_slow_clients_hold_nobody_up_and_are_cut(hall: str, is_slow: bool) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(hall)) for _ in range(100)]
        for client in clients:
            client.sendall(SLOW if is_slow else b"POST /si")
        until(lambda: requests.get(f"{hall}/size", timeout=10).ok)
        answers = [received(client) for client in clients]
        assert {answer[:13] for answer in answers} <= {b"HTTP/1.1 408 ", b"HTTP/1.1 503 ", b""}
        assert any(b"too slowly" in answer for answer in answers) == is_slow
    until(lambda: requests.get(f"{hall}/size", timeout=10).ok)


def test_a_body_that_comes_too_slowly_is_refused_though_it_is_never_silent(hall: str) -> None:
    with connect(hall) as client:
        client.sendall(b"POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
        sent_bytes = 0
        while sent_bytes < 100_000 and not select.select([client], [], [], 0.25)[0]:  # some 4 kB a second
            sent_bytes += client.send(b"x" * 1000)
        answer = received_head(client)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_does_not_take_its_answer_is_cut(hall: str) -> None:
    closed = state(hall)["closed"]
    with connect(hall) as client:
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
        until(lambda: state(hall)["closed"] == closed + 1)


def test_a_client_that_leaves_in_the_middle_harms_nobody(hall: str) -> None:
    cut_off = state(hall)["cut_off"]
    for number in range(1, 2 * WAITING + 1):
        with connect(hall) as client:
            client.sendall(SLOW)
            until(lambda: state(hall)["reading"] == 1)
        until(lambda number=number: state(hall)["cut_off"] == cut_off + number)  # type: ignore[misc]
    assert requests.get(f"{hall}/size", timeout=10).status_code == 200


def test_a_worker_that_stands_still_is_replaced(hall: str) -> None:
    with suppress(requests.ConnectionError):
        requests.get(f"{hall}/stand-still", timeout=20)
    until(lambda: _is_ok(hall))


def test_more_than_may_wait_are_told_to_come_again_and_the_others_are_answered(hall: str) -> None:
    shed = state(hall)["shed"]
    with ThreadPoolExecutor(WAITING) as pool:
        held = [pool.submit(requests.get, f"{hall}/hold", timeout=20) for _ in range(WAITING)]
        until(lambda: state(hall)["inside"] == WAITING)
        refused = requests.get(f"{hall}/size", timeout=10)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert state(hall)["shed"] == shed + 1  # those who watch are let in
        requests.get(f"{hall}/readyz", timeout=10)
        assert [answer.result().status_code for answer in held] == [200] * WAITING
    assert requests.get(f"{hall}/size", timeout=10).status_code == 200


def test_who_finds_no_room_is_answered_as_soon_as_there_is_some(hall: str) -> None:
    shed = state(hall)["shed"]
    with ThreadPoolExecutor(2 * WAITING) as pool:
        held = [pool.submit(requests.get, f"{hall}/hold", timeout=20) for _ in range(WAITING)]
        until(lambda: state(hall)["inside"] == WAITING)
        waiting = [pool.submit(requests.get, f"{hall}/size", timeout=20) for _ in range(WAITING)]
        requests.get(f"{hall}/readyz", timeout=10)
        assert [answer.result().status_code for answer in (*held, *waiting)] == [200] * 2 * WAITING
    assert state(hall)["shed"] == shed


@pytest.mark.parametrize(("queue", "queue_s"), [(0, 60.0), (1, 0.01)], ids=["the queue is full", "it takes too long"])
def test_who_is_refused_costs_the_app_nothing(monkeypatch: pytest.MonkeyPatch, queue: int, queue_s: float) -> None:
    monkeypatch.setattr(admission, "QUEUE", queue)
    monkeypatch.setattr(admission, "QUEUE_S", queue_s)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        raise AssertionError("it was asked")

    full = Admission(app, max_waiting=0, read_timeout_s=1, body_limit=lambda path: 10, held_limit=10)
    statuses: list[tuple[str, dict[str, str]]] = []
    for _ in range(2):  # who left the queue holds no place in it
        full({"PATH_INFO": "/"}, lambda status, headers: statuses.append((status, dict(headers))))  # type: ignore[arg-type,return-value]
    assert [(status[:3], headers["Retry-After"]) for status, headers in statuses] == [("503", "1")] * 2


def _is_ok(hall: str) -> Any:
    with suppress(requests.RequestException):
        return requests.get(f"{hall}/size", timeout=10).ok
    return False


def test_an_answer_that_was_taken_whole_makes_room_before_it_is_closed() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"one", b"two"]

    admitted = Admission(app, max_waiting=1, read_timeout_s=1, body_limit=lambda path: 10, held_limit=10)
    environ = {"PATH_INFO": "/", "wsgi.input": io.BytesIO()}
    statuses: list[str] = []
    for _ in range(2):
        pieces = admitted(dict(environ), lambda status, headers: statuses.append(status))  # type: ignore[arg-type]
        assert b"".join(pieces) == b"onetwo"
    assert statuses == ["200 OK", "200 OK"]


def test_who_was_cut_before_its_own_time_was_over_reads_that_it_was_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is older than its request's wait, which began when there was room: CI saw 400 of such a client."""
    shut = Event()
    monkeypatch.setattr(admission, "shut_silent", lambda *told: shut.set())
    admitted = Admission(_read, max_waiting=2, read_timeout_s=0.05, body_limit=lambda path: 10, held_limit=10)
    statuses: list[str] = []

    def visit(read: Callable[[int], bytes]) -> None:
        raw = SimpleNamespace(read=read)
        environ = {"PATH_INFO": "/", "REMOTE_ADDR": "1.2.3.4", "CONTENT_LENGTH": "9", "wsgi.input": raw}
        list(admitted(environ, lambda status, headers: statuses.append(status)))  # type: ignore[arg-type]

    def read_until_it_is_shut(size: int) -> bytes:
        until(lambda: admitted.sweep(0) or shut.is_set())  # type: ignore[func-returns-value]
        return b""

    visit(read_until_it_is_shut)
    visit(lambda size: b"x")
    assert statuses == ["408", "408"]


def _read(environ: Any, start_response: Any) -> list[bytes]:
    try:
        environ["wsgi.input"].read()
    except VouchError as error:
        start_response(str(error.http_status), [])
    return []
