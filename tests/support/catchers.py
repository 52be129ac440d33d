"""What Alertmanager sends, caught: a web server for Slack and webhooks, a mail server for letters."""

from __future__ import annotations

import email
import json
import queue
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_S = 60.0


@dataclass
class Catcher:
    """What came in, oldest first."""

    port: int
    caught: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    def next(self) -> Any:
        return self.caught.get(timeout=WAIT_S)


@dataclass(frozen=True)
class Posted:
    path: str
    authorization: str | None
    body: Any


@contextmanager
def web_catcher() -> Iterator[Catcher]:
    """Take every POST of JSON, and answer `ok` as Slack does."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            catcher.caught.put(Posted(self.path, self.headers["Authorization"], body))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        catcher = Catcher(server.server_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield catcher
        server.shutdown()


@contextmanager
def mail_catcher() -> Iterator[Catcher]:
    """Take every letter by SMTP, without TLS or a login."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            for line in iter(self.rfile.readline, b""):
                word = line[:4].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    text = b"".join(iter(self.rfile.readline, b".\r\n"))
                    catcher.caught.put(letter(text))
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                if word == b"QUIT":
                    return

    def letter(text: bytes) -> Message:
        return email.message_from_bytes(text)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        catcher = Catcher(server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield catcher
        server.shutdown()
