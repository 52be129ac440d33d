"""The client against a REST server that misbehaves. Against one that behaves: test_cli.py and test_release.py."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from common.errors import VouchError
from serving.client.errors import (
    BadAnswer,
    CircuitOpen,
    InvalidRequest,
    ModelNotFound,
    ModelServerDown,
    ModelServerFailed,
    ModelServerTimeout,
)
from serving.client.rest import RestClient
from serving.client.retry import Policy
from serving.client.types import VersionSpec

QUICK = Policy(budget_s=2.0, tries=2, first_wait_s=0.0)
ROWS = {"x": [1.0, 2.0, 5.0]}


class Stub:
    """An HTTP server that answers what it is told, in turn, the last for ever; `None` cuts the connection."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str | bytes, dict[str, str]] | None] = []
        self.asked: list[tuple[str, Any]] = []
        self.piece_bytes, self.pause_s = 1 << 20, 0.0
        self.release = threading.Event()  # an answer of status 0 is held back until then
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                stub.asked.append((self.path, json.loads(body) if body else None))
                answer = stub.answers.pop(0) if len(stub.answers) > 1 else stub.answers[0]
                if answer is None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, text, headers = answer
                if not status:
                    stub.release.wait(10)
                content = text.encode() if isinstance(text, str) else text
                self.send_response(status or 200)
                for name, value in ({"Content-Length": str(len(content))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                for start in range(0, len(content), stub.piece_bytes):
                    self.wfile.write(content[start : start + stub.piece_bytes])
                    stub.release.wait(stub.pause_s)

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hung up
        threading.Thread(target=self.server.serve_forever, args=(0.005,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def says(self, *answers: tuple[int, str] | tuple[int, str, dict[str, str]] | None) -> Stub:
        self.answers = [a if a is None else (a[0], a[1], a[2] if len(a) > 2 else {}) for a in answers]
        return self


@pytest.fixture(scope="module")
def http_stub() -> Iterator[Stub]:
    found = Stub()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def stub(http_stub: Stub) -> Iterator[Stub]:
    http_stub.answers, http_stub.asked, http_stub.piece_bytes, http_stub.pause_s = [], [], 1 << 20, 0.0
    http_stub.release.clear()
    yield http_stub
    http_stub.release.set()


@pytest.fixture
def client(stub: Stub) -> Iterator[RestClient]:
    found = RestClient(stub.url, QUICK)
    yield found
    found.close()


def test_columns_are_sent_as_they_are_and_outputs_come_by_name(stub: Stub, client: RestClient) -> None:
    stub.says((200, '{"outputs": {"y": [2.5, 3, 4.5], "label": ["a", "b", "c"]}}'))
    inputs = {"x": np.array([1, float("nan"), 5], np.float32), "t": [b"\xff", "é", b""]}
    assert client.predict("m", inputs, VersionSpec(label="a b")) == {"y": [2.5, 3, 4.5], "label": ["a", "b", "c"]}
    [(path, body)] = stub.asked
    assert path == "/v1/models/m/labels/a%20b:predict"
    assert body["signature_name"] == "serving_default"
    assert np.isnan(body["inputs"]["x"][1])
    assert body["inputs"]["t"] == [{"b64": "/w=="}, "é", {"b64": ""}]


@pytest.mark.parametrize(
    "values",
    [
        np.array([[1.5, float("nan")], [0.1, 2]], np.float32).T,
        np.array([1.5, float("nan"), float("-inf")]),
        [1.5, float("nan"), float("inf")],
        ["null", "nullable", "é", "\ud800"],
        [2**64, -(2**70), 0],
        [None, "a"],
        np.array([1, 2, 3], np.int64),
        np.array(["a", "b"]),
    ],
    ids=["matrix with a gap", "infinite array", "infinite list", "texts", "large", "None", "integers", "text array"],
)
def test_what_json_has_no_words_for_is_sent_all_the_same(stub: Stub, client: RestClient, values: Any) -> None:
    stub.says((200, json.dumps({"outputs": {"y": [1] * len(values)}})))
    client.predict("m", {"x": values})
    [(_, body)] = stub.asked
    np.testing.assert_array_equal(np.array(body["inputs"]["x"], np.asarray(values).dtype), np.asarray(values))


def test_float32_is_sent_in_its_own_digits(stub: Stub, client: RestClient) -> None:
    stub.says((200, '{"outputs": {"y": [1]}}'))
    client.predict("m", {"x": np.array([[0.1]], np.float32)})
    assert stub.asked[0][1]["inputs"]["x"] == [[0.1]]


def test_columns_are_sent_and_bytes_come_back(stub: Stub, client: RestClient) -> None:
    stub.says((200, '{"outputs": {"y": [1, 2], "b_bytes": [{"b64": "/w=="}, {"b64": ""}]}}'))
    answer = client.predict("m", {"x": [1, 2], "t": ["a", "b"]}, VersionSpec(version=3))
    assert answer == {"y": [1, 2], "b_bytes": [b"\xff", b""]}
    assert stub.asked[0][0] == "/v1/models/m/versions/3:predict"
    assert stub.asked[0][1]["inputs"] == {"x": [1, 2], "t": ["a", "b"]}


@pytest.mark.parametrize(
    ("inputs", "told"),
    [({"x": [1], "y": [1, 2]}, "differ in length"), ({"x": [object()]}, "cannot be sent")],
    ids=["other lengths", "no JSON"],
)
def test_what_cannot_be_sent_is_refused_before(client: RestClient, inputs: Any, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        client.predict("m", inputs)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<html>", "no JSON"),
        ("[]", "no JSON object"),
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"predictions": [1, 2, 3]}', "without outputs"),
        ('{"outputs": {}}', "without outputs"),
        ('{"outputs": {"y": [1, 2]}}', "another number of rows"),
        ('{"outputs": {"y": 1}}', "another number of rows"),
        ('{"outputs": {"y": [1, NaN, 3]}}', "a value that is not a finite number"),
        ('{"outputs": {"y": [[1], [1], [-Infinity]]}}', "a value that is not a finite number"),
        ('{"outputs": {"y": [1, 1e999, 3]}}', "a value that is not a finite number"),
        ('{"outputs": {"y": [[1], [1, 2], [1]]}}', "differing shapes"),
        ('{"outputs": {"y": [null, null, null]}}', "no known kind"),
        ('{"outputs": {"y": [1.5, null, 2]}}', "no known kind"),
        ('{"outputs": {"y": [{}, {}, {}]}}', "no known kind"),
        ('{"outputs": {"y": ["a", null, "b"]}}', "no known kind"),
    ],
    ids=[
        "html",
        "list",
        "empty",
        "deep",
        "rows",
        "nothing",
        "too few",
        "one",
        "NaN",
        "Infinity",
        "overflow",
        "ragged",
        "null",
        "a null",
        "objects",
        "no text",
    ],
)
def test_garbage_is_a_bad_answer(stub: Stub, client: RestClient, text: str, told: str) -> None:
    stub.says((200, text))
    with pytest.raises(BadAnswer, match=told) as caught:
        client.predict("m", ROWS)
    assert caught.value.http_status == 503


@pytest.mark.parametrize("ask", [lambda c: c.status("m"), lambda c: c.metadata("m")], ids=["status", "metadata"])
@pytest.mark.parametrize("text", ["{}", '{"model_version_status": [1], "metadata": []}'])
def test_garbage_for_status_and_metadata(stub: Stub, client: RestClient, ask: Any, text: str) -> None:
    stub.says((200, text))
    with pytest.raises(BadAnswer):
        ask(client)


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (400, '{"error": "JSON Parse error"}', InvalidRequest),
        (501, '{"error": "no"}', InvalidRequest),
        (404, '{"error": "Servable not found"}', ModelNotFound),
        (500, "Internal Server Error", ModelServerFailed),
        (400, '{"error": "Unrecognized servable version label: x"}', ModelNotFound),
        (302, "", ModelServerFailed),
        (504, '{"error": "late"}', ModelServerTimeout),
        (503, '{"error": "full"}', ModelServerDown),
        (429, "", ModelServerDown),
    ],
)
def test_refusals_are_typed(stub: Stub, client: RestClient, status: int, text: str, error: type[VouchError]) -> None:
    stub.says((status, text))
    with pytest.raises(error):
        client.predict("m", ROWS)
    assert len(stub.asked) == (2 if error is ModelServerDown else 1)


def test_a_connection_cut_before_any_answer_is_tried_again(stub: Stub, client: RestClient) -> None:
    stub.says(None, (200, '{"outputs": {"y": [1, 2, 3]}}'))
    assert client.predict("m", ROWS) == {"y": [1, 2, 3]}


def test_an_answer_cut_short_is_not_tried_again(stub: Stub, client: RestClient) -> None:
    stub.says((200, '{"outputs"', {"Content-Length": "1000", "Connection": "close"}))
    with pytest.raises(BadAnswer, match="broke off"):
        client.predict("m", ROWS)
    assert len(stub.asked) == 1


@pytest.mark.parametrize("after", ["0", "Thu, 01 Jan 2015 00:00:00 GMT", "soon"])
def test_a_busy_server_is_asked_again(stub: Stub, client: RestClient, after: str) -> None:
    stub.says((503, "", {"Retry-After": after}), (200, '{"outputs": {"y": [1, 2, 3]}}'))
    assert client.predict("m", ROWS) == {"y": [1, 2, 3]}


def test_a_server_that_hangs_is_left_in_time_and_then_alone(stub: Stub) -> None:
    stub.says((0, "{}"))
    client = RestClient(stub.url, Policy(budget_s=0.05, failures_to_open=2))
    for _ in range(2):
        with pytest.raises(ModelServerTimeout):
            client.status("m")
    asked = len(stub.asked)
    with pytest.raises(CircuitOpen):
        client.status("m")
    assert len(stub.asked) == asked
    client.close()


def test_an_answer_that_hangs_half_way_is_left_in_time(stub: Stub) -> None:
    stub.says((200, "{", {"Content-Length": "1000"}))
    client = RestClient(stub.url, Policy(budget_s=0.05))
    with pytest.raises(ModelServerTimeout):
        client.status("m")
    assert len(stub.asked) == 1
    client.close()


def test_an_answer_that_comes_drop_by_drop_is_left_in_time(stub: Stub) -> None:
    stub.piece_bytes, stub.pause_s = 1, 0.02
    stub.says((200, '{"model_version_status": []}'))
    client = RestClient(stub.url, Policy(budget_s=0.1))
    with pytest.raises(ModelServerTimeout):
        client.status("m")
    client.close()


def test_the_only_output_is_named_by_the_signature(stub: Stub, client: RestClient) -> None:
    info = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}}
    definition = {"inputs": {"x": info}, "outputs": {"y": info}, "method_name": ""}
    metadata = {
        "model_spec": {"version": "7"},
        "metadata": {"signature_def": {"signature_def": {"serving_default": definition}}},
    }
    stub.says((200, '{"outputs": [1, 2, 3]}'), (200, json.dumps(metadata)), (200, '{"outputs": [4, 5, 6]}'))
    assert client.predict("m", ROWS) == {"y": [1, 2, 3]}
    assert client.predict("m", ROWS) == {"y": [4, 5, 6]}
    assert [path for path, _ in stub.asked] == ["/v1/models/m:predict", "/v1/models/m/metadata", "/v1/models/m:predict"]
