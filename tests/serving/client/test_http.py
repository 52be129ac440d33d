"""The pool against a socket that answers what it is told, byte by byte. Through the client: test_rest_client.py."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.logs import NO_REQUEST, REQUEST_ID
from serving.client.errors import BadAnswer, ModelServerDown, ModelServerTimeout
from serving.client.http import HttpPool
from tests.support.sockets import received

BUDGET_S = 2.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Thing: yes\r\n\r\nhi"


class Script:
    """A server that gives one answer a request, in turn; None closes the connection first."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/prefix"
        self.answers: list[bytes | None] = []
        self.asked: list[bytes] = []
        self.connections = 0
        self.interim = b""
        self.open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError):  # the test closed it
            self._answer_all(connection)

    def _answer_all(self, connection: socket.socket) -> None:
        while self.answers and (asked := received(connection)):
            self.asked.append(asked)
            answer = self.answers.pop(0)
            if self.interim:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sendall(self.interim)  # in a packet of its own
            if answer is None:
                break
            connection.sendall(answer)
            if b"Content-Length" not in answer and b"chunked" not in answer:
                break
        connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.listener.close()
        for connection in self.open:
            connection.close()


@pytest.fixture
def script() -> Iterator[Script]:
    found = Script()
    yield found
    found.close()


@pytest.fixture
def pool(script: Script) -> Iterator[HttpPool]:
    found = HttpPool(script.url, {"X-Ours": "1"})
    yield found
    found.close()


def test_a_request_is_whole_and_so_is_its_answer(script: Script, pool: HttpPool) -> None:
    script.answers = [OK]
    reply = pool.request("POST", "/a%20b", b"body", BUDGET_S)
    assert (reply.status, reply.content, reply.headers["x-thing"]) == (200, b"hi", "yes")
    head, _, body = b"".join(script.asked).partition(b"\r\n\r\n")
    host = script.url.removeprefix("http://").removesuffix("/prefix")
    assert head.decode().split("\r\n")[0] == "POST /prefix/a%20b HTTP/1.1"
    assert {f"Host: {host}", "X-Ours: 1", "Content-Length: 4"} <= set(head.decode().split("\r\n")[1:])
    assert body == b"body"


def test_a_server_is_asked_by_the_id_of_the_request_under_way(script: Script, pool: HttpPool) -> None:
    script.answers = [OK, OK]
    REQUEST_ID.set(NO_REQUEST)  # jobs that an earlier test ran in this process leave theirs
    token = REQUEST_ID.set("id-of-this-test")
    pool.request("GET", "/", b"", BUDGET_S)
    REQUEST_ID.reset(token)
    assert REQUEST_ID.get() == NO_REQUEST
    pool.request("GET", "/", b"", BUDGET_S)
    assert ["X-Request-ID: id-of-this-test" in head.decode() for head in script.asked] == [True, False]
    assert b"X-Request-ID" not in script.asked[1]


def test_a_connection_serves_again(script: Script, pool: HttpPool) -> None:
    script.answers = [OK, OK, OK]
    for _ in range(3):
        pool.request("GET", "/", b"", BUDGET_S)
    assert script.connections == 1


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3\r\n!!!\r\n0\r\n\r\n", b"hi!!!"),
        (b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
    ],
    ids=["chunked", "until the end", "close", "1.0"],
)
def test_answers_end_in_all_ways(script: Script, pool: HttpPool, answer: bytes, content: bytes) -> None:
    script.answers = [answer, OK]
    assert pool.request("GET", "/", b"", BUDGET_S).content == content
    assert pool.request("GET", "/", b"", BUDGET_S).content == b"hi"


def test_a_connection_that_the_server_closed_meanwhile_is_not_used(script: Script, pool: HttpPool) -> None:
    script.answers = [OK]
    pool.request("GET", "/", b"", BUDGET_S)  # the script ends there and closes
    deadline = time.monotonic() + 5
    while pool._take() is not None:
        assert time.monotonic() < deadline
    script.answers = [OK]
    assert pool.request("GET", "/", b"", BUDGET_S).content == b"hi"
    assert script.connections == 2


def test_a_connection_on_which_something_came_unasked_is_not_used(script: Script, pool: HttpPool) -> None:
    script.answers = [OK, OK]
    pool.request("GET", "/", b"", BUDGET_S)
    script.open[0].sendall(OK)  # whose answer would that be?
    deadline = time.monotonic() + 5
    while pool._take() is not None:
        assert time.monotonic() < deadline
    assert pool.request("GET", "/", b"", BUDGET_S).content == b"hi"
    assert script.connections == 2


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_an_interim_answer_is_passed_over(script: Script, pool: HttpPool, status: str) -> None:
    script.interim = f"HTTP/1.1 {status}\r\nLink: a\r\n\r\n".encode()
    script.answers = [OK, OK]
    for _ in range(2):
        assert pool.request("POST", "/", b"body", BUDGET_S).content == b"hi"
    assert script.connections == 1


def test_nothing_of_an_answer_may_be_asked_again(script: Script, pool: HttpPool) -> None:
    script.answers = [None]
    with pytest.raises(ModelServerDown, match="closed"):
        pool.request("GET", "/", b"", BUDGET_S)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n", b"<html>", b"HTTP/1.1"],
    ids=["chunk", "html", "cut at once"],
)
def test_a_part_of_an_answer_is_none(script: Script, pool: HttpPool, answer: bytes) -> None:
    script.answers = [answer, None]
    with pytest.raises(BadAnswer):
        pool.request("GET", "/", b"", BUDGET_S)


def test_nobody_listening_is_told() -> None:
    with pytest.raises(ModelServerDown, match="refused"):
        HttpPool("http://127.0.0.1:9", {}).request("GET", "/", b"", BUDGET_S)


def test_a_host_that_is_none_is_told() -> None:
    with pytest.raises(ModelServerDown):
        HttpPool("http://host.invalid", {}).request("GET", "/", b"", BUDGET_S)


def test_what_hangs_is_left_in_time(script: Script, pool: HttpPool) -> None:
    script.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhi", OK]
    started = time.monotonic()
    with pytest.raises(ModelServerTimeout):
        pool.request("GET", "/", b"", 0.1)
    assert time.monotonic() - started > 0.09
    assert pool._take() is None  # half an answer is still to come on it


def test_no_time_left_asks_nothing(script: Script, pool: HttpPool) -> None:
    script.answers = [OK]
    with pytest.raises(ModelServerTimeout):
        pool.request("GET", "/", b"", -1.0)
    assert script.asked == []


def test_https_asks_for_a_certificate(script: Script) -> None:
    script.answers = [b"this is no TLS, Content-Length or not"]
    pool = HttpPool(script.url.replace("http:", "https:"), {})
    with pytest.raises(ModelServerDown):
        pool.request("GET", "/", b"", BUDGET_S)


LARGE = b"0123456789" * 400_000  # more than all buffers on the way


class Echo:
    """A server that takes its time to read a request, and answers with its body."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.listener.getsockname()[1]}"
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self.context and certificate:
            self.context.load_cert_chain(certificate)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        connection, _ = self.listener.accept()
        with suppress(OSError), connection:
            stream = self.context.wrap_socket(connection, server_side=True) if self.context else connection
            body = received(stream).partition(b"\r\n\r\n")[2]
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            stream.recv(1)

    def close(self) -> None:
        self.listener.close()
        self.thread.join(5)


def test_a_large_body_is_sent_whole() -> None:
    server = Echo()
    pool = HttpPool(server.url, {})
    assert pool.request("POST", "/", LARGE, 20.0).content == LARGE
    pool.close()
    server.close()


def test_https_carries_what_http_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = made_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = Echo(certificate)
    pool = HttpPool(server.url, {})
    assert pool.request("POST", "/", LARGE, 20.0).content == LARGE
    pool.close()
    server.close()


def made_certificate(folder: Path) -> Path:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(names, critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    return path
