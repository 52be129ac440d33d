"""How the server starts, fails to start and ends: exit codes, words and signals."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.serving import models
from tests.support.serving.models import predict_request
from tests.support.serving.running import Running, begin, end, free_port, is_open, spawn, wait_for, wait_until_up
from tests.support.sockets import drained

FAILED = 255
SOON_S = 5.0
NATIVE = ("WARNING: All log messages before absl::InitializeLog()", "I0000 ")  # TensorFlow 2.21's; nothing silences it

AT_ONCE: list[tuple[str, list[str], dict[str, str], int, str]] = [
    ("a value that is none", ["--port=abc"], {}, FAILED, "usage: "),
    ("help", ["--help"], {}, FAILED, "usage: "),
    ("the version", ["--version"], {}, 0, "TensorFlow ModelServer: "),
    ("no model", [], {}, FAILED, "INVALID_ARGUMENT: Both server_options.model_base_path and"),
    ("no port", ["--port=0", "--model_base_path=/m"], {}, FAILED, "INVALID_ARGUMENT: At least one of"),
    ("a config that is not there", ["--model_config_file={}/none"], {}, FAILED, "NOT_FOUND: "),
    (
        "a config that is none",
        ["--model_config_file={}/a"],
        {"a": "model_config_list {"},
        FAILED,
        "Error parsing text-format tensorflow.serving.ModelServerConfig",
    ),
    (
        "a model without a path",
        ["--model_config_file={}/a"],
        {"a": 'model_config_list { config { name: "m" model_platform: "tensorflow" } }'},
        FAILED,
        "INVALID_ARGUMENT: Expected model m to have an absolute path or URI; got base_path()=",
    ),
    (
        "monitoring that is none",
        ["--model_base_path=/m", "--monitoring_config_file={}/a"],
        {"a": "x"},
        FAILED,
        "INVALID_ARGUMENT: Invalid protobuf file: ",
    ),
    (
        "batching that is none",
        ["--model_base_path=/m", "--enable_batching", "--batching_parameters_file={}/a"],
        {"a": "max_batch_size: 1"},
        FAILED,
        "INVALID_ARGUMENT: Invalid protobuf file: ",
    ),
    (
        "a body limit of nothing",
        ["--model_base_path=/m", "--rest_api_port=1", "--rest_api_max_body_bytes=0"],
        {},
        FAILED,
        "INVALID_ARGUMENT: --rest_api_max_body_bytes must be positive",
    ),
    (
        "a port beyond all",
        ["--model_base_path=/m", "--rest_api_port=70000"],
        {},
        FAILED,
        "INVALID_ARGUMENT: --rest_api_port=70000 is no TCP port",
    ),
    (
        "a port below all",
        ["--model_base_path=/m", "--port=-1"],
        {},
        FAILED,
        "INVALID_ARGUMENT: --port=-1 is no TCP port",
    ),
]


pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("flags", "files", "code", "words"), [c[1:] for c in AT_ONCE], ids=[c[0] for c in AT_ONCE])
def test_what_cannot_start_says_so_before_anything_is_imported(
    tmp_path: Path, flags: list[str], files: Mapping[str, str], code: int, words: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    process = spawn(tmp_path / "log", *[flag.format(tmp_path) for flag in flags], PYTHONPROFILEIMPORTTIME="1")
    assert process.wait(30) == code
    log = (tmp_path / "log").read_text()
    assert words in log
    assert "Traceback" not in log
    assert "| tensorflow\n" not in log


def test_a_log_that_cannot_be_is_refused_in_words(tmp_path: Path) -> None:
    process = spawn(tmp_path / "log", "--model_base_path=/m", VOUCH_LOG_LEVEL="loud")
    assert process.wait(30) == FAILED
    wanted = "INVALID_ARGUMENT: VOUCH_LOG_LEVEL is 'loud'; wanted one of DEBUG, INFO, WARNING, ERROR"
    assert wanted in (tmp_path / "log").read_text()


@pytest.mark.parametrize(("flag", "what"), [("port", "gRPC"), ("rest_api_port", "REST")], ids=["gRPC", "REST"])
@pytest.mark.parametrize("address", ["", "127.0.0.1"], ids=["everywhere", "here"])
def test_a_port_that_is_taken_is_found_before_anything_is_imported(
    tmp_path: Path, flag: str, what: str, address: str
) -> None:
    with socket.create_server((address, 0)) as taken:
        port = taken.getsockname()[1]
        flags = [f"--port={free_port()}", f"--{flag}={port}", "--model_base_path=/m", f"--bind_address={address}"]
        process = spawn(tmp_path / "log", *flags, PYTHONPROFILEIMPORTTIME="1")
        assert process.wait(30) == FAILED
    log = (tmp_path / "log").read_text()
    assert f":{port} for {what}: [Errno 98] Address already in use" in log
    assert "Traceback" not in log
    assert "| tensorflow\n" not in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_while_tensorflow_is_imported_ends_the_server(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    process = spawn(log, "--port=1", "--model_base_path=/m", PYTHONPROFILEIMPORTTIME="1")
    wait_for(lambda: "tensorflow." in log.read_text(), 30, log.read_text)
    process.send_signal(number)
    assert process.wait(SOON_S) == 0
    assert "Traceback" not in log.read_text()


Failures = Mapping[str, tuple[subprocess.Popen[bytes], Path]]


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Failures]:
    """Servers that start in part or not at all, all begun together."""
    base = tmp_path_factory.mktemp("failures")
    models.half_plus(base / "good" / "1")
    (base / "broken" / "1").mkdir(parents=True)
    good, broken = f"--model_base_path={base / 'good'}", f"--model_base_path={base / 'broken'}"
    cases = {
        "broken": [broken, "--max_num_load_retries=0"],
        "waiting": [broken],
        "grpc only": [good, f"--rest_api_port={(port := free_port())}", f"--port={port}"],
    }
    started = {}
    for name, flags in cases.items():
        log = base / f"{name}.log"
        started[name] = begin(log, *flags).process, log
    yield started
    for process, _ in started.values():
        process.kill()


def test_a_model_that_fails_for_good_ends_the_start(failures: Failures) -> None:
    process, log = failures["broken"]
    assert process.wait(60) == FAILED, log.read_text()
    words = "Error: UNKNOWN: 1 servable(s) did not become available: {{name: default version: 1} due to error: "
    assert "Failed to start server. " + words in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_server_that_waits_for_its_model_ends_when_asked_to(failures: Failures) -> None:
    process, log = failures["waiting"]
    wait_for(lambda: "failed, will retry" in log.read_text(), 60, log.read_text)
    process.terminate()
    assert process.wait(SOON_S) == 0
    assert "Traceback" not in log.read_text()


def test_rest_on_the_port_of_grpc_is_left_out(failures: Failures) -> None:
    process, log = failures["grpc only"]
    port = next(arg for arg in reversed(list(map(str, process.args))) if arg.startswith("--port="))  # type: ignore[arg-type]
    wait_for(lambda: "Running gRPC ModelServer at" in log.read_text(), 60, log.read_text)
    wait_for(lambda: "REST is left out" in log.read_text(), 5, log.read_text)
    assert is_open(int(port.removeprefix("--port=")))
    assert "Exporting" not in log.read_text()
    process.send_signal(signal.SIGINT)
    assert process.wait(SOON_S) == 0


# --- a life: the tests below are its stages, in this order


@pytest.fixture(scope="module")
def certificate() -> tuple[str, str]:
    """Key and self-signed certificate of localhost, as PEM text."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    return key.private_bytes(pem, *plain).decode(), made.public_bytes(pem).decode()


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[str, str]) -> Iterator[Running]:
    """A server whose model is missing at first; gRPC is encrypted and the config file followed."""
    base = tmp_path_factory.mktemp("late")
    models.half_plus(base / "written" / "1")
    models.slow(base / "slow" / "1")
    (base / "half").mkdir()
    config, tls = base / "models.config", base / "tls.config"
    config.write_text(f"model_config_list {{ {named(base, 'half')} {named(base, 'slow')} }}")
    key, certified = (text.replace("\n", "\\n") for text in certificate)
    tls.write_text(f'server_key: "{key}" server_cert: "{certified}"')
    flags = [f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1", f"--ssl_config_file={tls}"]
    server = begin(base / "log", *flags)
    yield server
    end(server.process)


def named(base: Path, name: str) -> str:
    return f'config {{ name: "{name}" base_path: "{base / name}" model_platform: "tensorflow" }}'


def test_without_its_model_the_ports_stay_closed_until_it_is_there(late: Running) -> None:
    base = late.log.parent
    wait_for(lambda: "Successfully loaded servable version {name: slow" in late.log.read_text(), 60, late.log.read_text)
    assert not is_open(late.rest_port)
    assert not is_open(late.grpc_port)
    (base / "written" / "1").rename(base / "half" / "1")
    wait_until_up(late)
    assert late.predict("half", {"instances": [2.0]}).json() == {"predictions": [3.0]}


def test_the_log_has_a_line_for_each_event_and_no_noise(late: Running) -> None:
    lines = late.log.read_text().splitlines()
    wanted = ["Loading servable version {name: slow", "Successfully loaded servable version {name: slow"]
    for words in [*wanted, "Running gRPC ModelServer at 127.0.0.1:", "Exporting HTTP/REST API at:127.0.0.1:"]:
        assert len([line for line in lines if words in line]) == 1
    ours = [line for line in lines if not line.startswith(NATIVE)]
    assert [line for line in ours if line.split(" ")[2:3] not in (["INFO"], ["WARNING"])] == []
    assert [line for line in lines if "Restoring" in line or "Warning" in line] == []


def test_grpc_is_encrypted(late: Running, certificate: tuple[str, str]) -> None:
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    address = f"localhost:{late.grpc_port}"
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(certificate[1].encode())) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.Predict(predict_request(), timeout=30).outputs["y"].float_val[0] == 3.0
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError):
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(predict_request(), timeout=3)


def test_the_config_file_is_followed_and_a_broken_one_passed_over(late: Running) -> None:
    base = late.log.parent
    config, written = base / "models.config", (base / "models.config").read_text()
    config.write_text("model_config_list {")
    wait_for(lambda: "Failed to read ModelServerConfig file" in late.log.read_text(), 10, late.log.read_text)
    assert late.states("half") == {"1": "AVAILABLE"}
    models.half_plus(base / "more" / "1", 5.0)
    config.write_text(written.removesuffix("}") + named(base, "more") + "}")
    wait_for(lambda: late.states("more") == {"1": "AVAILABLE"}, 10, late.log.read_text)
    assert late.predict("more", {"instances": [2.0]}).json() == {"predictions": [6.0]}


def test_asked_to_end_the_server_answers_what_is_under_way_and_refuses_what_is_new(
    late: Running, certificate: tuple[str, str]
) -> None:
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    credentials = grpc.ssl_channel_credentials(certificate[1].encode())
    with (
        grpc.secure_channel(f"localhost:{late.grpc_port}", credentials) as channel,
        socket.create_connection(("127.0.0.1", late.rest_port), timeout=30) as asking,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        stub.Predict(predict_request(), timeout=30)
        by_grpc = stub.Predict.future(predict_request("slow", x=[0.5]), timeout=30)
        asking.sendall(b'POST /v1/models/slow:predict HTTP/1.1\r\nContent-Length: 19\r\n\r\n{"instances":[0.5]}')
        stub.Predict(predict_request(), timeout=30)  # on the same connection: by then the first has been read as well
        for _ in range(2):
            late.states("slow")  # the same by REST
        late.process.terminate()
        wait_for(lambda: not is_open(late.rest_port) and not is_open(late.grpc_port), 5, late.log.read_text)
        assert late.process.poll() is None
        answer = drained(asking)
        assert by_grpc.result().outputs["y"].float_val[0] == 0.5
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"predictions": [0.5]}
    assert late.process.wait(SOON_S) == 0
    assert "Traceback" not in late.log.read_text()
