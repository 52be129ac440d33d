"""Metrics read back: the app's own, and those of a model server that may be anything."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from serving.client.errors import BadAnswer, ModelServerDown
from webapp.http.metrics import Metrics
from webapp.insight import traffic as traffic_module
from webapp.insight.traffic import FEWEST_REQUESTS, Route, served, traffic

PAGE = b"""\
# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="cells",status="OK"} 40
:tensorflow:serving:request_count{model_name="cells",status="INVALID_ARGUMENT"} 2
# TYPE :tensorflow:serving:request_latency histogram
:tensorflow:serving:request_latency_bucket{model_name="cells",API="predict",entrypoint="REST",le="+Inf"} 42
:tensorflow:serving:request_latency_sum{model_name="cells",API="predict",entrypoint="REST"} 84000
:tensorflow:serving:request_latency_count{model_name="cells",API="predict",entrypoint="REST"} 42
"""


@pytest.fixture
def speaker() -> Iterator[Callable[[Callable[[Any], None]], str]]:
    """Serve what a function writes; returns the address."""
    servers = []

    def serve(write: Callable[[Any], None]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                write(self.wfile)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def page(body: bytes, status: str = "200 OK") -> Callable[[Any], None]:
    head = f"HTTP/1.0 {status}\r\nContent-Type: text/plain\r\n\r\n".encode()
    return lambda file: file.write(head + body)


def test_requests_failures_and_lost_rows_are_summed_by_route() -> None:
    metrics = Metrics()
    for route, status in (("/a", 200), ("/a", 404), ("/a", 503), ("/b", 200)):
        metrics.requests.labels(route, "GET", status).inc()
        metrics.request_seconds.labels(route).observe(0.02)
    metrics.dropped(7)
    found = traffic(metrics.text().decode())
    assert (found.requests, found.failed, found.dropped_rows) == (4, 1, 7)
    assert (found.routes["/a"].requests, found.routes["/a"].failed) == (3, 1)
    assert found.routes["/a"].quantile_ms(0.5) is None, "too few to tell"
    for _ in range(FEWEST_REQUESTS):
        metrics.requests.labels("/a", "GET", 200).inc()
        metrics.request_seconds.labels("/a").observe(0.02)
    median_ms = traffic(metrics.text().decode()).routes["/a"].quantile_ms(0.5)
    assert median_ms is not None
    assert 10 < median_ms < 25, "within the bucket of 20 ms"


def test_a_quantile_lies_evenly_within_its_bucket() -> None:
    route = Route(100, seconds=[(0.1, 50), (0.2, 100), (float("inf"), 100)])
    assert route.quantile_ms(0.75) == pytest.approx(150)
    assert route.quantile_ms(0.5) == pytest.approx(100)
    assert Route(100, seconds=[(0.1, 0), (float("inf"), 10)]).quantile_ms(0.5) == 100, "beyond the last bound"
    assert Route(100, seconds=[(0.1, 0), (float("inf"), 0)]).quantile_ms(0.5) is None
    assert Route(100).quantile_ms(0.5) is None


def test_the_model_servers_counts_are_read(speaker: Callable[..., str]) -> None:
    [(name, found)] = served(speaker(page(PAGE))).items()
    assert (name, found.ok, found.failed, found.mean_ms) == ("cells", 40, 2, 2.0)


@pytest.mark.parametrize(
    "body", [b"<html>hello</html>", b"\xff\xfe", b"name{x=", b"# TYPE a counter\na 1 2 3 x"], ids=repr
)
def test_a_page_that_means_nothing_is_said_to(speaker: Callable[..., str], body: bytes) -> None:
    with pytest.raises(BadAnswer, match="mean nothing"):
        served(speaker(page(body)))


OVER = threading.Event()


def slowly(file: Any) -> None:
    page(b"")(file)
    while not OVER.wait(0.02):
        file.write(b"# hello\n")


@pytest.mark.parametrize(
    "write",
    [
        page(b"", "503 Busy"),
        page(b"#" * 3_000_000),
        lambda file: file.write(b"nonsense\r\n\r\n"),
        lambda file: None,
        slowly,
        lambda file: OVER.wait(),
    ],
    ids=["503", "too long", "no HTTP", "closes", "slow", "hangs"],
)
def test_a_server_that_does_not_answer_well_is_given_up_in_time(
    speaker: Callable[..., str], write: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic_module, "SCRAPE_TIMEOUT_S", 0.2)
    OVER.clear()
    with pytest.raises(ModelServerDown, match="cannot be read"):
        served(speaker(write))
    OVER.set()  # and not before: who is slow or hangs was given up


def test_no_server_is_said_to_be_none() -> None:
    with pytest.raises(ModelServerDown):
        served("http://127.0.0.1:9")
