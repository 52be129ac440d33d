"""Starting a server. That the embedded one then serves: test_cli.py and test_release.py."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from common.errors import ConfigError, DataError, EnvironmentProblem, GateRefused
from common.files import locked
from serving.client import connect
from serving.client.types import Addresses, VersionSpec
from serving.launch.backends import REAL, Places, Program, choose
from serving.launch.launcher import LOCK, LOG, Running, Start, launch, run_beside
from serving.release.state import CONFIG, Record, State, Store
from tests.support.serving.running import wait_for
from tests.support.serving.versions import bare_version, copy_version, tiny_model, unloadable

PLACES = Places(Path("/var/serving"), Path("/var/serving") / CONFIG, Path("/config"), 8501, 8500)


def program(folder: Path, name: str, script: str = "exit 0") -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_real_server_on_path_is_preferred(tmp_path: Path) -> None:
    real = program(tmp_path, REAL)
    chosen = choose(PLACES, docker=False, environment={"PATH": str(tmp_path)})
    assert chosen.command[0] == str(real)
    assert "--model_config_file=/var/serving/models.config" in chosen.command
    assert "--allow_version_labels_for_unavailable_models=true" in chosen.command
    assert not any("bind_address" in flag for flag in chosen.command), "it would not know that flag"
    assert chosen.why == f"{real} is on PATH"
    assert "every interface" in chosen.note


def test_docker_is_used_when_asked_for_and_publishes_on_loopback_only(tmp_path: Path) -> None:
    program(tmp_path, "docker")
    program(tmp_path, REAL)
    chosen = choose(PLACES, docker=True, environment={"PATH": str(tmp_path)})
    assert chosen.command[:3] == ("docker", "run", "--rm")
    published = [value for key, value in zip(chosen.command, chosen.command[1:], strict=False) if key == "--publish"]
    assert published == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    assert any(word.startswith("tensorflow/serving:") for word in chosen.command)
    with pytest.raises(EnvironmentProblem, match="docker is not on PATH"):
        choose(PLACES, docker=True, environment={"PATH": ""})


def test_else_it_is_the_embedded_one_on_loopback() -> None:
    chosen = choose(PLACES, docker=False, environment={"PATH": ""})
    assert chosen.command[1:3] == ("-m", "serving.server")
    assert "--bind_address=127.0.0.1" in chosen.command
    assert chosen.why == f"no {REAL} is on PATH"


def started(root: Path, **options: int) -> None:
    with launch(Start(root, **{"rest_port": 0, "grpc_port": 0, **options})):
        pytest.fail("it started")


def test_without_a_pushed_model_there_is_nothing_to_start(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make demo"):
        started(tmp_path)


def test_a_version_that_cannot_be_vouched_for_is_not_served(tmp_path: Path) -> None:
    (bare_version(tmp_path / "m", 1) / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(GateRefused, match=r"saved_model\.pb was changed"):
        started(tmp_path)


@pytest.mark.parametrize("option", ["rest_port", "grpc_port"])
def test_a_port_that_is_taken_is_told(tmp_path: Path, option: str) -> None:
    bare_version(tmp_path / "m", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=f"port {port}, for "):
            started(tmp_path, **{option: port})


def test_a_server_that_dies_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_version(tmp_path / "serving" / "m", 1)
    program(tmp_path, REAL, "echo one; echo the last word >&2; exit 3")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    said: list[str] = []
    with (
        pytest.raises(EnvironmentProblem, match=r"ended with exit code 3[\s\S]*one\s+the last word"),
        launch(Start(tmp_path / "serving", 0, 0, say=said.append)),
    ):
        pytest.fail("it started")
    assert said[0] == f"starting TensorFlow Serving: {tmp_path / REAL} is on PATH"


def test_a_second_server_on_the_same_folder_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    bare_version(tmp_path / "m", 1)
    with (
        locked(tmp_path / LOCK, "a server"),
        pytest.raises(EnvironmentProblem, match=f"a model server runs on .* already\n  got: process {os.getpid()}"),
    ):
        started(tmp_path)


def test_the_log_of_earlier_servers_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_version(tmp_path / "serving" / "m", 1)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for word in ("first", "second"):
        program(tmp_path, REAL, f"echo the {word} one; exit 3")
        with pytest.raises(EnvironmentProblem, match=f"ended with exit code 3\n  got: \n    the {word} one\n"):
            started(tmp_path / "serving")
    assert (tmp_path / "serving" / LOG).read_text() == "the first one\nthe second one\n"


@pytest.mark.slow
def test_a_server_that_never_serves_is_given_up_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_version(tmp_path / "serving" / "m", 1)
    program(tmp_path, REAL, f"echo $$ >{tmp_path / 'pid'}; exec sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with (
        pytest.raises(EnvironmentProblem, match="did not serve in time"),
        launch(Start(tmp_path / "serving", 0, 0, wait_s=0.2)),
    ):
        pytest.fail("it started")
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_left_out_loudly_and_the_others_are_served(tmp_path: Path) -> None:
    root, said = tmp_path / "serving", list[str]()
    tiny = tiny_model(tmp_path / "tiny")
    copy_version(tiny, root / "broken", 1, unloadable)
    for model in ("a", "z"):
        copy_version(tiny, root / model, 1)
    with launch(Start(root, 0, 0, say=said.append)) as running:
        assert set(running.models) == {"a", "z"}
        with closing(connect(running.addresses)) as client:
            for model in running.models:
                assert client.metadata(model, VersionSpec(label="stable")).version == 1
    assert [line for line in said if line.startswith("LEFT OUT")] == [
        line for line in said if "version 1 of broken" in line
    ]
    assert Store(root, "broken").read() == Record(State(1)), "it is released all the same: what it is to be repaired to"


@pytest.mark.slow
def test_where_no_model_can_be_loaded_the_start_is_refused(tmp_path: Path) -> None:
    tiny = tiny_model(tmp_path / "tiny")
    for model in ("a", "b"):
        copy_version(tiny, tmp_path / "serving" / model, 1, unloadable)
    with pytest.raises(GateRefused, match=r"no version can be loaded\n  got: .*version 1 of a.*version 1 of b"):
        started(tmp_path / "serving")


SLEEP = f"{sys.executable} -c 'import time; time.sleep(60)'"


def running(tmp_path: Path, seconds: int = 60) -> Running:
    """Something that runs like a server: only its process and its addresses matter here."""
    process = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"])
    (tmp_path / ".model_server.log").write_text("the last words")
    program = Program("a server", "it is a test", ("server",))
    return Running(program, process, Addresses("http://127.0.0.1:81", "127.0.0.1:80"), {}, tmp_path)


def test_the_command_is_told_where_the_server_is_and_its_exit_code_is_handed_on(tmp_path: Path) -> None:
    server = running(tmp_path)
    code = (
        "import os; assert os.environ['VOUCH_MODEL_SERVER_REST'] == 'http://127.0.0.1:81'; "
        "assert os.environ['VOUCH_MODEL_SERVER_GRPC'] == '127.0.0.1:80'; raise SystemExit(7)"
    )
    assert run_beside(server, f'{sys.executable} -c "{code}"') == 7
    server.process.kill()


def test_a_server_that_ends_ends_the_command_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="the last words"):
        run_beside(running(tmp_path, seconds=0), SLEEP)


DRAINS = """
import os, signal, sys, urllib.request
from pathlib import Path
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
Path(sys.argv[1]).touch()
signal.sigwait([signal.SIGTERM])
answer = urllib.request.urlopen(os.environ["VOUCH_MODEL_SERVER_REST"] + "/v1/models/m", timeout=10)
Path(sys.argv[1]).write_text(str(answer.status))
"""


@pytest.mark.slow
def test_told_to_end_it_lets_the_web_app_drain_before_the_model_server_goes(tmp_path: Path) -> None:
    copy_version(tiny_model(tmp_path / "tiny"), tmp_path / "serving" / "m", 1)
    script, seen = tmp_path / "drains.py", tmp_path / "seen"
    script.write_text(DRAINS)
    command = [sys.executable, "-m", "serving", "start", "--rest-port", "0", "--grpc-port", "0"]
    process = subprocess.Popen(
        [*command, "--run", f"{sys.executable} {script} {seen}"], env={**os.environ, "VOUCH_VAR": str(tmp_path)}
    )
    try:
        wait_for(lambda: seen.exists() or process.poll() is not None, 120, lambda: "it never started")
        process.terminate()
        process.wait(60)
    finally:
        process.kill()
    assert seen.read_text() == "200", "the model server still answers what the web app has under way"


@pytest.mark.parametrize("command", ["/no/such/program", "'"], ids=["no program", "no shell words"])
def test_a_command_that_cannot_be_run_is_told(tmp_path: Path, command: str) -> None:
    server = running(tmp_path)
    with pytest.raises(ConfigError, match="cannot be run"):
        run_beside(server, command)
    server.process.kill()
