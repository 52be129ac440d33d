"""A WSGI app that does what its path says, under the web app's own server and admission; run as a process."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

from common.errors import VouchError
from webapp.http.admission import Admission
from webapp.serve import make_server, start_watch
from webapp.settings import WebSettings, read_settings

LIMIT_BYTES = 2 << 20
HELD_BYTES = 3 << 20
WAITING = 3
READ_TIMEOUT_S = 1.5
STAND_STILL_S = 5.0


class Hall:
    """Holds whoever asks for /hold, or sends something to /keep; the watchers' paths let go and tell what it saw."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.seen = {"inside": 0, "shed": 0, "closed": 0, "reading": 0, "cut_off": 0}

    def shed(self) -> None:
        self.seen["shed"] += 1

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        status, answer = HTTPStatus.OK, b""
        if path == "/livez":  # let in whatever else there is
            answer = json.dumps(self.seen).encode()
        elif path == "/readyz":
            self.let_go.set()
            self.let_go.clear()
        elif path == "/hold":
            self._hold()
        elif path == "/stand-still":
            re.match(r"(a+)+$", "a" * 60 + "b")  # keeps every other thread from running, for ages
        elif path == "/refused":
            status = HTTPStatus.UNAUTHORIZED
        elif path == "/headers":
            shown = {k: v for k, v in environ.items() if k.startswith(("HTTP_X", "PATH", "QUERY"))}
            answer = json.dumps(shown).encode()
        elif path == "/pieces":
            start_response("200 OK", [])
            return self._pieces(4, 1)
        elif path == "/endless":
            start_response("200 OK", [])
            return self._pieces(1 << 20, 1 << 16)
        else:
            status, answer = self._read(environ)
        start_response(f"{status.value} {status.phrase}", [("Content-Length", str(len(answer)))])
        return iter([answer])

    def _read(self, environ: dict[str, Any]) -> tuple[HTTPStatus, bytes]:
        self.seen["reading"] += 1
        try:
            body = environ["wsgi.input"].read()
        except VouchError as error:
            self.seen["cut_off"] += error.http_status in (400, 408)
            return HTTPStatus(error.http_status), str(error).encode()
        finally:
            self.seen["reading"] -= 1
        if environ["PATH_INFO"] == "/keep":
            self._hold()
        return HTTPStatus.OK, b"%d %d" % (len(body), sum(body) % 251)

    def _hold(self) -> None:
        self.seen["inside"] += 1
        self.let_go.wait(30)
        self.seen["inside"] -= 1

    def _pieces(self, count: int, repeats: int) -> Iterator[bytes]:
        try:
            for number in range(count):
                yield b"%d," % number * repeats
        finally:
            self.seen["closed"] += 1


def make_hall() -> Admission:
    """Called by granian in the worker."""
    hall = Hall()
    admission = Admission(
        hall,
        max_waiting=WAITING,
        read_timeout_s=READ_TIMEOUT_S,
        body_limit=lambda path: 10 if path == "/small" else LIMIT_BYTES,
        held_limit=HELD_BYTES,
        shed=hall.shed,
    )
    start_watch(admission, STAND_STILL_S)
    return admission


def settings() -> WebSettings:
    """What the server under the hall is told."""
    return read_settings({}, workers=1, max_waiting=WAITING, read_timeout_s=READ_TIMEOUT_S)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as reserved:
        port = reserved.getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    make_server("tests.support.web.hall:make_hall", settings(), "127.0.0.1", port).serve()
    sys.exit(0)
