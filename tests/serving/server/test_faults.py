"""What goes wrong in use: broken versions, broken requests, floods, and a server killed."""

from __future__ import annotations

import gzip
import http.client
import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.serving import models
from tests.support.serving.running import END_S, Running, begin, is_open, running, wait_for, wait_until_up
from tests.support.sockets import received

pytestmark = pytest.mark.slow

LIMIT = 4 << 20
READ_MS = 1500
PAUSE_S = 0.002
GOOD = {"predictions": [3.0]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("faults")
    models.half_plus(base / "half" / "1")
    models.two_inputs(base / "two" / "1")
    models.slow(base / "slow" / "1")
    models.half_plus(base / "copies" / "1")
    config = base / "models.config"
    config.write_text(config_of(base, "half", "two", "slow"))
    flags = [
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=1",
        "--max_num_load_retries=0",
        f"--rest_api_max_body_bytes={LIMIT}",
        f"--rest_api_read_timeout_in_ms={READ_MS}",
    ]
    with running(base / "log", *flags) as server:
        yield server


def config_of(base: Path, *names: str) -> str:
    entries = [f'config {{ name: "{n}" base_path: "{base / n}" model_platform: "tensorflow" }}' for n in names]
    return f"model_config_list {{ {' '.join(entries)} }}"


@contextmanager
def under_load(server: Running) -> Iterator[list[str]]:
    """Ask again and again; what comes back that is no prediction is gathered."""
    failures: list[str] = []
    is_over = threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            while not is_over.wait(PAUSE_S):
                try:
                    answer = session.post(f"{server.url}/v1/models/half:predict", data='{"instances": [2]}', timeout=10)
                    if answer.status_code != 200:
                        failures.append(answer.text)
                except requests.RequestException as error:
                    failures.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield failures
    finally:
        is_over.set()
        asking.join()


@contextmanager
def asking_slowly(server: Running, value: bytes) -> Iterator[socket.socket]:
    """Have the slow model work, and give the connection its answer will come by."""
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) as asking:
        head = b"POST /v1/models/slow:predict HTTP/1.1\r\nContent-Length: 20\r\n\r\n"
        asking.sendall(head + b'{"instances": [%b]}' % value)
        for _ in range(2):
            server.states("slow")  # by then the first request has been read as well
        yield asking


# --- versions


def without_graph(folder: Path) -> None:
    (folder / "saved_model.pb").unlink()


def with_cut_variables(folder: Path) -> None:
    data = next((folder / "variables").glob("*.data-*"))
    data.write_bytes(data.read_bytes()[:-4])


def with_cut_index(folder: Path) -> None:
    index = folder / "variables" / "variables.index"
    index.write_bytes(index.read_bytes()[:-20])


def with_a_bit_flipped(folder: Path) -> None:
    graph = folder / "saved_model.pb"
    found = bytearray(graph.read_bytes())
    found[2] ^= 1  # the type of the field that holds the graph
    graph.write_bytes(found)


def without_variables(folder: Path) -> None:
    shutil.rmtree(folder / "variables")


BREAKS = [without_graph, with_cut_variables, with_cut_index, with_a_bit_flipped, without_variables]


def test_broken_versions_are_given_up_while_the_old_one_serves(server: Running, tmp_path: Path) -> None:
    base = server.log.parent
    with under_load(server) as failures:
        for number, break_it in enumerate(BREAKS, start=2):
            broken = tmp_path / str(number)
            shutil.copytree(base / "half" / "1", broken)
            break_it(broken)
            broken.rename(base / "half" / str(number))
            wait_for(lambda n=str(number): server.states("half").get(n) == "END", 15, server.log.read_text)  # type: ignore[misc]
            assert server.states("half")["1"] == "AVAILABLE", break_it.__name__
    assert failures == []
    listed = requests.get(f"{server.url}/v1/models/half", timeout=10).json()["model_version_status"]
    assert all(one["status"]["error_message"] for one in listed if one["version"] != "1")
    assert server.predict("half", {"instances": [2]}).json() == GOOD
    for number, _ in enumerate(BREAKS, start=2):
        shutil.rmtree(base / "half" / str(number))


def test_a_copy_under_way_is_not_seen_before_it_has_its_name(server: Running) -> None:
    base = server.log.parent / "half"
    half_done = base / "100.part"
    half_done.mkdir()
    shutil.copy(base / "1" / "saved_model.pb", half_done)
    models.half_plus(server.log.parent / "seen" / "1")
    (server.log.parent / "models.config").write_text(config_of(server.log.parent, "half", "two", "slow", "seen"))
    wait_for(lambda: server.states("seen") == {"1": "AVAILABLE"}, 15, server.log.read_text)  # it has looked again
    assert "100" not in server.states("half")
    shutil.copytree(base / "1" / "variables", half_done / "variables")
    half_done.rename(base / "100")
    wait_for(lambda: server.states("half").get("100") == "AVAILABLE", 15, server.log.read_text)
    wait_for(lambda: server.states("half").get("1") == "END", 15, server.log.read_text)


def test_of_a_storm_of_versions_the_last_good_one_wins_and_no_request_fails(server: Running, tmp_path: Path) -> None:
    base = server.log.parent / "half"
    models.half_plus(tmp_path / "last", 7.0)
    with under_load(server) as failures:
        for number in range(200, 249):
            shutil.copytree(base / "100", tmp_path / str(number))
            if number % 5 == 0:
                with_cut_variables(tmp_path / str(number))
            (tmp_path / str(number)).rename(base / str(number))
            time.sleep(0.05)  # a storm takes its time: several looks at the folder
        (tmp_path / "last").rename(base / "249")
        wait_for(lambda: server.states("half").get("249") == "AVAILABLE", 30, server.log.read_text)
        wait_for(lambda: list(server.states("half").values()).count("AVAILABLE") == 1, 30, server.log.read_text)
    assert failures == []
    assert server.predict("half", {"instances": [2]}).json() == {"predictions": [8.0]}
    (base / "1").rename(base.parent / "half_1")
    shutil.rmtree(base)
    base.mkdir()
    (base.parent / "half_1").rename(base / "1000")
    wait_for(lambda: server.states("half").get("1000") == "AVAILABLE", 30, server.log.read_text)


def test_a_version_is_unloaded_when_its_last_request_is_done(server: Running) -> None:
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

    base = server.log.parent
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(config_of(base, "half", "two"), request.config)
    with asking_slowly(server, b"0.5") as asking, grpc.insecure_channel(server.grpc_address) as channel:
        (base / "models.config").write_text(config_of(base, "half", "two"))  # or its next reading would bring it back
        model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(request, timeout=30)
        wait_for(lambda: server.states("slow") == {"1": "UNLOADING"}, 5, server.log.read_text)
        assert server.predict("slow", {"instances": [0.0]}).status_code == 404
        assert b'"predictions": [0.5' in received(asking)
    wait_for(lambda: server.states("slow") == {"1": "END"}, 15, server.log.read_text)


# --- requests

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([1e308, -1e308, 2**64, "1,5", "NaN", float("inf"), {"b64": "="}, {"b64": "AA=="}, [], {}]),
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
KEYS = st.sampled_from(["instances", "inputs", "signature_name", "examples", "context", "x", "a", "b", "b64"])
NAMED = st.dictionaries(
    KEYS,
    ANYTHING
    | st.dictionaries(KEYS, ANYTHING, max_size=3)
    | st.lists(st.dictionaries(KEYS, ANYTHING, max_size=3), max_size=3),
    max_size=4,
)
BODIES = st.one_of(st.binary(max_size=40), NAMED.map(lambda value: json.dumps(value).encode()))
VERBS = st.sampled_from(["half:predict", "two:predict", "half:classify", "half:regress"])


def test_no_body_makes_the_server_fail(server: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)

    @settings(max_examples=600, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(VERBS, BODIES, st.integers(0, 200))
    def ask(verb: str, body: bytes, cut: int) -> None:
        connection.request("POST", f"/v1/models/{verb}", body[: cut or None])
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status in (200, 400), (answer.status, text)
        assert answer.status == 200 or isinstance(json.loads(text)["error"], str)

    ask()
    assert server.process.poll() is None
    assert server.predict("half", {"instances": [2]}).json() == GOOD
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize(
    ("depth", "unused", "status"), [(100_000, False, 400), (500_000, True, 200)], ids=["used", "unused"]
)
def test_deep_nesting_is_no_trouble(server: Running, depth: int, unused: bool, status: int) -> None:
    nest = "[" * depth + "]" * depth
    body = f'{{"deep": {nest}, "instances": [2]}}' if unused else f'{{"instances": {nest}}}'
    answer = server.predict("half", None, data=body)
    assert answer.status_code == status


class Flood:
    """A body far over the limit that is made as it is sent."""

    def __init__(self, size: int) -> None:
        self.left = size

    def __iter__(self) -> Iterator[bytes]:
        while self.left > 0:
            self.left -= 1 << 16
            yield bytes(1 << 16)


HUNDRED_MB = 100 << 20


@pytest.mark.parametrize("headers", [{}, {"Content-Length": str(HUNDRED_MB)}], ids=["in chunks", "with its length"])
def test_a_body_of_100_mb_is_refused_and_not_held(server: Running, headers: dict[str, str]) -> None:
    server.forget_peak()
    before_mb = server.rss_mb()
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    connection.request("POST", "/v1/models/half:predict", iter(Flood(HUNDRED_MB)), headers, encode_chunked=not headers)
    answer = connection.getresponse()
    assert (answer.status, "limit" in json.loads(answer.read())["error"]) == (413, True)
    assert server.peak_mb() - before_mb < 30


def test_a_gzip_bomb_is_refused_and_not_held(server: Running) -> None:
    server.forget_peak()
    before_mb = server.rss_mb()
    bomb = gzip.compress(bytes(500 << 20), 9)
    assert len(bomb) < LIMIT
    answer = server.predict("half", None, data=bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, "unpacked" in answer.json()["error"]) == (413, True)
    assert server.peak_mb() - before_mb < 30


def test_idle_and_slow_connections_leave_the_others_alone(server: Running) -> None:
    idle = [socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) for _ in range(500)]
    slow = [socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) for _ in range(10)]
    for connection in slow:
        connection.sendall(b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: 99\r\n\r\n{")
    for _ in range(200):
        assert server.predict("half", {"instances": [2]}).json() == GOOD
    while slow:  # a byte each, until all are cut
        slow = [connection for connection in slow if sends_on(connection)]
    for connection in idle:
        assert connection.recv(1) == b""
        connection.close()


def sends_on(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"1")
        connection.settimeout(0.001)
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def test_monitoring_is_off_unless_it_is_asked_for(server: Running) -> None:
    assert requests.get(f"{server.url}/monitoring/prometheus/metrics", timeout=10).status_code == 404


# --- the end of the process: these two come last


def test_killed_with_requests_under_way_the_server_starts_again_on_its_ports(server: Running) -> None:
    base = server.log.parent
    (base / "models.config").write_text(config_of(base, "half", "slow"))
    with under_load(server) as failures:
        server.process.kill()
        server.process.wait()
    assert failures  # so there were requests
    flags = [arg for arg in map(str, server.process.args) if arg.startswith("--")]  # type: ignore[arg-type]
    again = begin(base / "again.log", *flags[3:], ports=(server.rest_port, server.grpc_port))
    server.process, server.log = again.process, again.log
    wait_until_up(server)
    assert server.predict("half", {"instances": [2]}).json() == GOOD


def test_asked_twice_to_end_the_server_does_not_wait(server: Running) -> None:
    with asking_slowly(server, b"99."):
        server.process.terminate()
        wait_for(lambda: not is_open(server.rest_port), 5, server.log.read_text)
        server.process.terminate()
        assert server.process.wait(END_S) == -signal.SIGTERM  # long before the answer, which takes a minute
