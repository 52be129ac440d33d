"""The port that Prometheus reads: near networks, and who sends the token, as at the web app."""

from __future__ import annotations

import hmac
import ipaddress
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from common.errors import ConfigError, EnvironmentProblem
from common.variables import read_variable

TOKEN, NETWORKS = "VOUCH_METRICS_TOKEN", "VOUCH_METRICS_NETWORKS"
NEAR = "127.0.0.0/8,::1/128"
LEAST_TOKEN_BYTES = 32
IDLE_S = 10.0


@dataclass(frozen=True)
class Access:
    """Who may read: the networks, and who sends the token."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    token: str = ""

    @staticmethod
    def read(environment: Mapping[str, str] = os.environ) -> Access:
        """Raises ConfigError."""
        token = read_variable(environment, TOKEN) or ""
        if 0 < len(token.encode()) < LEAST_TOKEN_BYTES:
            fix = "openssl rand -base64 48"
            raise ConfigError(f"{TOKEN} is too short", wanted=f"at least {LEAST_TOKEN_BYTES} bytes", fix=fix)
        names = (read_variable(environment, NETWORKS) or NEAR).split(",")
        try:
            return Access(tuple(ipaddress.ip_network(name.strip()) for name in names if name.strip()), token)
        except ValueError as error:
            raise ConfigError(f"{NETWORKS} is no list of networks", got=error, wanted=f"such as {NEAR}") from None

    def allows(self, address: str, header: str) -> bool:
        client = ipaddress.ip_address(address)
        if any(client in network for network in self.networks):
            return True
        return bool(self.token) and hmac.compare_digest(header.encode(), f"Bearer {self.token}".encode())


@contextmanager
def serving(registry: CollectorRegistry, host: str, port: int, access: Access) -> Iterator[int]:
    """Answer /metrics and /livez from a thread; yield the port. Raises EnvironmentProblem if it is taken."""

    class Handler(BaseHTTPRequestHandler):
        timeout = IDLE_S

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/livez":
                self._answer(HTTPStatus.OK, b"ok\n", "text/plain")
            elif path != "/metrics":
                self._answer(HTTPStatus.NOT_FOUND, b"metrics are at /metrics\n", "text/plain")
            elif access.allows(self.client_address[0], self.headers.get("Authorization", "")):
                self._answer(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_LATEST)
            else:
                words = f"this is not for everybody: {NETWORKS} names networks, {TOKEN} a token\n"
                self._answer(HTTPStatus.UNAUTHORIZED, words.encode(), "text/plain")

        def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            if status == HTTPStatus.UNAUTHORIZED:
                self.send_header("WWW-Authenticate", "Bearer")
            with suppress(ConnectionError):  # who asked waits no longer
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        fix = "free it, or name another by --port"
        raise EnvironmentProblem(f"port {port} on {host} cannot be listened on", got=error.strerror, fix=fix) from None
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
