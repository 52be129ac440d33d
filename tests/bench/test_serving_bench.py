from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench import load, serving
from bench.load import Command, Shot, read_log, run, running, wait_until, wait_until_idle, window
from bench.model_server import BATCH_1024, PACKED_ROW, ROW, Bodies, Shape, request_counts
from bench.release import CLIENTS, Change, Client, Sent
from bench.release import markdown as release_markdown
from bench.release import summary as release_summary
from bench.report import RunFailed
from bench.rivals.mlflow_server import MLFLOW
from bench.serving import GRPC, LIMIT, REST, Measurement, markdown, ratios, summary
from common.errors import DataError, EnvironmentProblem

START_US = 1_795_253_214_000_000


def log(*requests: tuple[float, int, float]) -> str:
    """Return lines of (start in s, status, duration in ms)."""
    return "".join(f"{START_US + round(s * 1e6)}\t{status}\t{round(ms * 1000)}\n" for s, status, ms in requests)


def test_a_log_is_read() -> None:
    entries = read_log(log((0, 200, 1.5), (0.25, 503, 2)))
    assert entries.tolist() == [[START_US, 200, 1500], [START_US + 250_000, 503, 2000]]


def test_a_line_cut_short_is_left_out() -> None:
    assert len(read_log(log((0, 200, 1), (1, 200, 1)) + "1795253")) == 2
    assert read_log("").shape == (0, 3)


def test_what_ends_in_the_window_counts() -> None:
    entries = read_log(log((0, 200, 1), (0.4, 200, 200), (1.0, 200, 100), (2.4, 200, 200)))
    found = window(entries, lead_s=0.5, seconds=2.0, name="x")
    assert (found.requests, found.per_s) == (2, 1.0)
    assert (found.p50_ms, found.p99_ms) == pytest.approx((150, 199))


def test_percentiles_are_of_durations() -> None:
    entries = read_log(log(*((0.001 * n, 200, n + 1) for n in range(100))))
    assert window(entries, 0.0, 10.0, "x").p50_ms == pytest.approx(50.5)
    assert window(entries, 0.0, 10.0, "x").p99_ms == pytest.approx(99.01)


@pytest.mark.parametrize("status", [pytest.param(400, id="refused"), pytest.param(-1, id="broken off")])
def test_one_failed_request_stops_the_bench(status: int) -> None:
    with pytest.raises(RunFailed, match=f"1 of 2 requests to x failed\n  got: status {status}"):
        window(read_log(log((0, 200, 1), (0, status, 1))), 0.0, 1.0, "x")


@pytest.mark.parametrize("text", [pytest.param("", id="no request"), pytest.param(log((0, 200, 9000)), id="too late")])
def test_no_answer_stops_the_bench(text: str) -> None:
    with pytest.raises(RunFailed, match="x answered nothing within 1 s"):
        window(read_log(text), 0.0, 1.0, "x")


def test_a_missing_generator_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EnvironmentProblem, match="nghttp2-client"):
        load.require_generator()


def fake_generator(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "h2load"
    program.write_text(f"#!{sys.executable}\nimport sys\n{script}", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(load, "PROGRAM", str(program))


def test_a_generator_that_fails_stops_the_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_generator(tmp_path, monkeypatch, "sys.exit('no such host')")
    with pytest.raises(RunFailed, match=r"exit code 1\s+got: no such host"):
        load.drive(Shot("http://x", tmp_path), 4, 1.0)


@pytest.mark.parametrize("may_miss", [True, False])
def test_only_rivals_may_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_miss: bool) -> None:
    write = (
        "log = next(w for w in sys.argv if w.startswith('--log-file=')).split('=')[1]\n"
        "open(log, 'w').writelines(f'0\\t{status}\\t900000\\n' for status in (200, 503, 503))\n"
    )
    fake_generator(tmp_path, monkeypatch, write)
    shot = Shot("http://x", tmp_path, may_miss=may_miss)
    if may_miss:
        assert load.drive(shot, 4, 1.0).requests == 1
    else:
        with pytest.raises(RunFailed, match="2 of 3 requests"):
            load.drive(shot, 4, 1.0)


def test_a_pace_is_spread_over_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = (
        "log = next(w for w in sys.argv if w.startswith('--log-file=')).split('=')[1]\n"
        "rate = float(next(w for w in sys.argv if w.startswith('--rps=')).split('=')[1])\n"
        "connections = int(next(w for w in sys.argv if w.startswith('-c'))[2:])\n"
        "lines = [f'{1000000 * n}\\t200\\t1000000\\n' for n in range(round(rate * connections))]\n"
        "open(log, 'w').writelines(lines)\n"
    )
    fake_generator(tmp_path, monkeypatch, write)
    assert load.drive(Shot("http://x", tmp_path), 8, 1000.0, per_s=80.0, generators=4).requests == 80


def test_good_and_bad_requests_are_told_apart() -> None:
    page = (
        "# TYPE :tensorflow:serving:request_count counter\n"
        ':tensorflow:serving:request_count{model_name="m",status="OK"} 43374\n'
        ':tensorflow:serving:request_count{model_name="n",status="OK"} 1e+06\n'
        ':tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"} 2\n'
        ':tensorflow:serving:request_latency_count{model_name="m",status="OK"} 9\n'
    )
    assert request_counts(page) == (1_043_374, 2)
    assert request_counts("") == (0, 0)


def turn(number: int, limit: float = 1000, **changed: float) -> list[Measurement]:
    """Return a turn in which every bar is just kept, but for what is changed."""
    rates = {"rest": 600.0, "grpc": 360.0, "mlflow": 120.0, "rest_batch": 300.0, "grpc_batch": 500.0, "p99": 10.0}
    rates |= changed
    one = {REST: rates["rest"], GRPC: rates["grpc"], MLFLOW: rates["mlflow"], LIMIT: limit}
    found = [Measurement(name, ROW, 64, number, rate, 1.0, 2.0) for name, rate in one.items()]
    found += [Measurement(REST, BATCH_1024, 8, number, rates["rest_batch"], 1.0, 2.0)]
    found += [Measurement(GRPC, BATCH_1024, 8, number, rates["grpc_batch"], 1.0, 2.0)]
    found += [Measurement(LIMIT, BATCH_1024, 8, number, limit, 1.0, 2.0)]
    return found + [Measurement(name, ROW, 64, number, 100, 1.0, rates["p99"], at=100) for name in (REST, GRPC)]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"rest": 599}, id="REST of MLflow"),
        pytest.param({"grpc": 359}, id="gRPC of MLflow"),
        pytest.param({"rest": 599, "mlflow": 1}, id="REST of the limit"),
        pytest.param({"grpc": 199, "mlflow": 1}, id="gRPC of the limit"),
        pytest.param({"rest_batch": 299}, id="batches by REST"),
        pytest.param({"grpc_batch": 499}, id="batches by gRPC"),
        pytest.param({"p99": 10.1}, id="p99"),
    ],
)
def test_each_bar_says_no(changed: dict[str, float]) -> None:
    assert summary(turn(1))["passed"]
    result = summary(turn(1, **changed))
    assert not result["passed"]
    assert "**missed**" in markdown(turn(1, **changed), result)


def test_the_median_turn_counts() -> None:
    assert summary([*turn(1, rest=1), *turn(2), *turn(3)])["passed"]
    assert not summary([*turn(1, rest=1), *turn(2, rest=1), *turn(3)])["passed"]


def test_ratios_are_taken_within_a_turn() -> None:
    found = [*turn(1, limit=1000), *turn(2, limit=750)]
    assert ratios(found, REST, LIMIT, ROW, 64) == [0.6, 0.8]
    assert ratios(found, REST, LIMIT, PACKED_ROW, 64) == []


def test_without_rivals_the_rest_is_judged() -> None:
    found = [one for one in turn(1) if one.contender != MLFLOW]
    assert [bar["other"] for bar in summary(found)["bars"]] == [LIMIT] * 4
    assert not summary([])["passed"]


def test_tables_are_rectangular() -> None:
    for table in markdown(turn(1), summary(turn(1))).split("\n\n"):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


_ANSWERS = "[[0.9, 0.1], [0.2, 0.8]]"
_OF_TODAY = f'"outputs": {{"probabilities": {_ANSWERS}, "label": ["a", "b"]}}'
_EARLIER = f'"probabilities": {_ANSWERS}, "labels": ["a", "b"]'


@pytest.fixture(params=[_OF_TODAY, _EARLIER], ids=["of today", "of an earlier release"])
def bodies(request: pytest.FixtureRequest, tmp_path: Path) -> Bodies:
    extra = tmp_path / "m" / "1" / "assets.extra"
    extra.mkdir(parents=True)
    (extra / "training.json").write_text('{"settings": {"data": {"classes": ["a", "b"], "positive": "b"}}}')
    (extra / "golden.json").write_text(
        '{"inputs": {"serving_default": {"x": [1, 3], "y": [2, 4]}, "serving_packed": {"features": [[1, 2], [3, 4]]}},'
        f" {request.param}}}"
    )
    return Bodies(tmp_path / "m" / "1", tmp_path / "bodies")


def test_requests_are_made_of_golden_rows(bodies: Bodies) -> None:
    three = Shape("serving_packed", 3)
    assert bodies.rest(ROW).read_bytes() == b'{"signature_name": "serving_default", "instances": [{"x": 1, "y": 2}]}'
    assert bodies.rest(three).read_bytes().endswith(b'"inputs": [[1, 2], [3, 4], [1, 2]]}')
    assert bodies.rival("rows", three).read_bytes() == b'{"rows": [[1, 2], [3, 4], [1, 2]]}'


def test_grpc_bodies_are_framed(bodies: Bodies) -> None:
    from serving.wire.messages import message

    frame = bodies.grpc(Shape("serving_packed", 3)).read_bytes()
    request = message("PredictRequest").FromString(frame[5:])
    assert frame[:5] == b"\0" + len(frame[5:]).to_bytes(4, "big")
    assert request.model_spec.name == "m"
    assert [dim.size for dim in request.inputs["features"].tensor_shape.dim] == [3, 2]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([0.1, 0.8, 0.2], id="wrong number"),
        pytest.param([0.1, 0.8], id="a row short"),
        pytest.param([0.1, 0.8, float("nan")], id="no number"),
    ],
)
def test_a_wrong_answer_stops_the_bench(bodies: Bodies, answer: list[float]) -> None:
    bodies.check("it", Shape("serving_packed", 3), np.array([[0.1], [0.8], [0.100001]]))
    with pytest.raises(RunFailed, match="it answers 3 by serving_packed wrongly"):
        bodies.check("it", Shape("serving_packed", 3), answer)


def test_the_newest_version_is_served(tmp_path: Path) -> None:
    for name in ("9", "10", ".tmp-11"):
        (tmp_path / name).mkdir()
    assert serving.newest(tmp_path).name == "10"
    with pytest.raises(DataError, match="make demo"):
        serving.newest(tmp_path / "9")


def sleeper(tmp_path: Path, words: str = "import time; time.sleep(60)") -> Command:
    return Command([sys.executable, "-c", words], tmp_path / "log")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_process_ends_with_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    words = (
        "import pathlib, subprocess, sys, time\n"
        "p = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(child)!r}).write_text(str(p.pid) + '\\n')\n"
        "time.sleep(60)"
    )
    command = sleeper(tmp_path, words)
    with running(command) as process:
        wait_until(lambda: child.exists() and child.read_text().endswith("\n"), process, command, 10.0)
    assert process.poll() is not None
    deadline = time.monotonic() + 10.0
    while is_alive(int(child.read_text())):
        assert time.monotonic() < deadline


def test_a_process_that_ends_early_is_told_with_its_log(tmp_path: Path) -> None:
    command = sleeper(tmp_path, "print('no port left'); raise SystemExit(4)")
    with running(command) as process, pytest.raises(RunFailed, match=r"(?s)exit code 4.*no port left"):
        wait_until(lambda: False, process, command, 10.0)


def test_nothing_is_waited_for_forever(tmp_path: Path) -> None:
    with running(sleeper(tmp_path)) as process, pytest.raises(RunFailed, match="not ready within 0 s"):
        wait_until(lambda: False, process, sleeper(tmp_path), 0.0)
    with pytest.raises(RunFailed, match=r"did not end within 0\.1 s"):
        run(sleeper(tmp_path), 0.1)


@pytest.mark.slow
def test_the_next_waits_until_a_group_is_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.load.LOOK_EVERY_S", 2.0)  # even a busy process has to be given its turn
    at_work = tmp_path / "at work"
    busy = sleeper(tmp_path, f"open({str(at_work)!r}, 'w')\nwhile True: pass")
    with running(busy) as process:
        wait_until(at_work.exists, process, busy, 60.0)
        with pytest.raises(RunFailed, match="still at work"):
            wait_until_idle(process.pid, 0.1)
    with running(sleeper(tmp_path)) as process:
        wait_until_idle(process.pid, 10.0)


def test_the_command_line_says_what_it_measures() -> None:
    assert serving.arguments().parse_args(["--quick"]).quick
    with pytest.raises(SystemExit):
        serving.arguments().parse_args(["--turns", "0"])


def sent(p99_ms: float, failure: str = "") -> list[Sent]:
    """Return requests of 2 ms before second 10, and of `p99_ms` after it."""
    return [Sent(9.0, 2.0), Sent(9.5, 2.0), Sent(10.5, p99_ms), Sent(11.0, p99_ms, failure)]


@pytest.mark.parametrize(
    ("p99_ms", "failure", "rollback_s", "passed"),
    [
        pytest.param(6.0, "", 0.9, True, id="on every bar"),
        pytest.param(6.1, "", 0.9, False, id="slow"),
        pytest.param(2.0, "503", 0.9, False, id="one failure"),
        pytest.param(2.0, "", 1.0, False, id="slow rollback"),
    ],
)
def test_release_bars(p99_ms: float, failure: str, rollback_s: float, passed: bool) -> None:
    all_ = {client: sent(2.0) for client in CLIENTS} | {Client("gRPC"): sent(p99_ms, failure)}
    result = release_summary(all_, [Change("promote", 5.0), Change("rollback", rollback_s)], 10.0)
    assert result["passed"] is passed
    assert (failure in release_markdown(result)) or not failure


def test_a_silent_client_is_no_success() -> None:
    with pytest.raises(RunFailed, match="sent nothing"):
        release_summary({CLIENTS[0]: sent(2.0)[:2]}, [], 10.0)
