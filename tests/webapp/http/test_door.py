"""The door over real sockets, with uvicorn and a WSGI app that does what its path says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import uvicorn

from serving.client.waiting import sleep
from webapp.http.door import Bounds, Door
from webapp.serve import Connection

pytestmark = pytest.mark.slow

LIMIT_BYTES = 2 << 20
WAITING = 3
QUICK_BYTES = 1000
CUT_AFTER_S = 0.5


class Hall:
    """A WSGI app that holds whoever asks for /hold until it is told to let go."""

    def __init__(self) -> None:
        self.inside, self.shed, self.closed = 0, 0, threading.Event()
        self.let_go = threading.Event()
        self.url = ""
        self.threads: list[int] = []
        self.quick = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/hold":
            self.inside += 1
            self.let_go.wait(20)
            self.inside -= 1
        if path == "/quick":
            self.threads.append(threading.get_ident())
            self.quick += 1
            while not self.let_go.is_set():
                sleep(0.005)
            self.quick -= 1
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", path)])
        if path == "/pieces":
            return (b"%d," % number for number in range(4))
        if path == "/headers":
            return [repr(sorted((k, v) for k, v in environ.items() if k.startswith(("HTTP_X", "CONTENT")))).encode()]
        body = environ["wsgi.input"].read()
        return [b"%d %d" % (len(body), sum(body) % 251)]

    def shed_one(self) -> None:
        self.shed += 1


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def hall() -> Iterator[Hall]:
    found = Hall()
    door = Door(
        found,
        Bounds(
            threads=4,
            waiting=WAITING,
            body_bytes=lambda path: 10 if path == "/small" else LIMIT_BYTES,
            quick_bytes=lambda path: QUICK_BYTES if path == "/quick" else -1,
        ),
        shed=found.shed_one,
        close=found.closed.set,
        sweep=lambda: Connection.cut_the_stuck(CUT_AFTER_S),
    )
    config = uvicorn.Config(
        door,
        http=Connection,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    until(lambda: server.started)
    found.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    yield found
    found.let_go.set()
    server.should_exit = True
    thread.join(10)
    assert found.closed.is_set()


def connect(hall: Hall) -> socket.socket:
    host, port = hall.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def chunks(size: int) -> Iterator[bytes]:
    for start in range(0, size, 65536):
        yield b"x" * min(65536, size - start)


@pytest.mark.parametrize("size", [0, 1, 300_000, LIMIT_BYTES], ids=["empty", "a byte", "in memory", "on disk"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "chunked"])
def test_a_body_arrives_whole(hall: Hall, size: int, is_chunked: bool) -> None:
    body = b"".join(chunks(size))
    answer = requests.post(f"{hall.url}/size", data=chunks(size) if is_chunked else body, timeout=10)
    assert answer.text == f"{size} {sum(body) % 251}"


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "chunked"])
def test_a_body_over_the_bound_is_refused_and_the_reason_can_be_read(hall: Hall, is_chunked: bool) -> None:
    body = chunks(LIMIT_BYTES + 1) if is_chunked else b"x" * (LIMIT_BYTES + 1)
    answer = requests.post(f"{hall.url}/size", data=body, timeout=10)
    assert answer.status_code == 413
    assert str(LIMIT_BYTES) in answer.json()["detail"]


def test_the_bound_depends_on_the_path(hall: Hall) -> None:
    assert requests.post(f"{hall.url}/small", data=b"x" * 11, timeout=10).status_code == 413
    assert requests.post(f"{hall.url}/small", data=b"x" * 10, timeout=10).status_code == 200


def test_a_body_declared_too_large_is_refused_before_it_is_sent(hall: Hall) -> None:
    with connect(hall) as client:
        client.sendall(b"POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000000\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_an_answer_in_pieces_is_sent_whole(hall: Hall) -> None:
    assert requests.get(f"{hall.url}/pieces", timeout=10).text == "0,1,2,3,"


def test_paths_are_unquoted_and_headers_are_as_in_wsgi(hall: Hall) -> None:
    assert requests.get(f"{hall.url}/a%20b", timeout=10).headers["X-Path"] == "/a b"
    with connect(hall) as client:
        client.sendall(b"GET /headers HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nX-One: 2\r\nX_One: forged\r\n\r\n")
        answer = client.recv(4096)
    assert b"('HTTP_X_ONE', '1,2')" in answer
    assert b"forged" not in answer


def test_more_than_may_wait_are_told_to_come_again_and_the_others_are_answered(hall: Hall) -> None:
    with ThreadPoolExecutor(WAITING) as pool:
        held = [pool.submit(requests.get, f"{hall.url}/hold", timeout=20) for _ in range(WAITING)]
        until(lambda: hall.inside == WAITING)
        refused = requests.get(f"{hall.url}/more", timeout=10)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert hall.shed == 1
        assert requests.get(f"{hall.url}/livez", timeout=10).status_code == 200  # those who watch are let in
        hall.let_go.set()
        assert [answer.result().status_code for answer in held] == [200] * WAITING
    assert requests.get(f"{hall.url}/more", timeout=10).status_code == 200


def test_idle_and_slow_clients_hold_nobody_up_and_are_cut(hall: Hall) -> None:
    idle = [connect(hall) for _ in range(100)]
    slow = [connect(hall) for _ in range(20)]
    for client in slow:
        client.sendall(b"POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx")
    assert requests.get(f"{hall.url}/size", timeout=10).status_code == 200
    for client in [*idle, *slow]:
        assert client.recv(100) == b""  # the server closed it
        client.close()
    assert requests.get(f"{hall.url}/size", timeout=10).status_code == 200


def test_a_client_that_leaves_in_the_middle_harms_nobody(hall: Hall) -> None:
    for _ in range(2 * WAITING):
        with connect(hall) as client:
            client.sendall(b"POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx")
    assert requests.get(f"{hall.url}/size", timeout=10).status_code == 200


def test_what_is_quick_shares_the_loops_thread_and_holds_nobody_up(hall: Hall) -> None:
    with ThreadPoolExecutor(WAITING) as pool:
        held = [pool.submit(requests.post, f"{hall.url}/quick", data=b"x", timeout=20) for _ in range(WAITING - 1)]
        until(lambda: hall.quick == WAITING - 1)  # all of them wait, in one thread
        assert len(set(hall.threads)) == 1
        assert requests.get(f"{hall.url}/size", timeout=10).text == "0 0"
        hall.let_go.set()
        assert [answer.result().text for answer in held] == ["1 120"] * (WAITING - 1)


def test_as_many_quick_ones_may_wait_as_others(hall: Hall) -> None:
    with ThreadPoolExecutor(WAITING) as pool:
        held = [pool.submit(requests.post, f"{hall.url}/quick", data=b"x", timeout=20) for _ in range(WAITING)]
        until(lambda: hall.quick == WAITING)
        assert requests.post(f"{hall.url}/quick", data=b"x", timeout=10).status_code == 503
        hall.let_go.set()
        assert [answer.result().status_code for answer in held] == [200] * WAITING


@pytest.mark.parametrize("size", [QUICK_BYTES, QUICK_BYTES + 1])
def test_what_is_too_large_to_be_quick_gets_a_thread(hall: Hall, size: int) -> None:
    hall.let_go.set()
    for body in (b"x" * size, b""):
        assert requests.post(f"{hall.url}/quick", data=body, timeout=10).ok
    assert (hall.threads[0] == hall.threads[1]) == (size <= QUICK_BYTES)


def test_a_client_that_leaves_a_quick_request_harms_nobody(hall: Hall) -> None:
    for _ in range(WAITING):
        with connect(hall) as client:
            client.sendall(b"POST /quick HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
    until(lambda: hall.quick == WAITING)
    hall.let_go.set()
    until(lambda: hall.quick == 0)
    assert requests.post(f"{hall.url}/quick", data=b"x", timeout=10).ok
