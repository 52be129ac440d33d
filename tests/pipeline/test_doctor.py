"""The doctor says no, with a cure, to each thing that can be wrong, and looks at a real machine without TensorFlow."""

from __future__ import annotations

import dataclasses
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import doctor
from pipeline.doctor import Check, Installed, Machine
from serving.cli import main as serving_cli
from webapp.settings import WebSettings

LOCK = """\
# a comment
alpha==1.0 ; python_full_version < '3.12' and sys_platform == 'linux' \\
    --hash=sha256:00
alpha==2.0 ; python_full_version >= '3.12' and sys_platform == 'linux' \\
    --hash=sha256:00
Some.Thing==3.1
    # via alpha
never==1.0 ; sys_platform == 'win32'
"""
THING = {"some-thing": Installed("3.1")}


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine.here()


@pytest.mark.parametrize(
    ("check", "state", "words"),
    [
        pytest.param(lambda: doctor.check_platform("Linux x86_64", frozenset({"avx"})), "ok", "Linux", id="linux"),
        pytest.param(lambda: doctor.check_platform("Linux x86_64", frozenset()), "ok", "Linux", id="flags unknown"),
        pytest.param(lambda: doctor.check_platform("Darwin arm64", frozenset()), "fail", "container", id="mac"),
        pytest.param(lambda: doctor.check_platform("Linux x86_64", frozenset({"sse"})), "fail", "AVX", id="no avx"),
        pytest.param(lambda: doctor.check_python((3, 11, 2), "2.36"), "ok", "3.11.2", id="Debian 12"),
        pytest.param(lambda: doctor.check_python((3, 13, 5), "2.41"), "ok", "3.13.5", id="Debian 13"),
        pytest.param(lambda: doctor.check_python((3, 12, 1), "2.36"), "fail", "use Python 3.10, 3.11:", id="glibc old"),
        pytest.param(lambda: doctor.check_python((3, 9, 1), "2.41"), "fail", "3.12, 3.13", id="python old"),
        pytest.param(lambda: doctor.check_python((3, 11, 2), ""), "fail", "Alpine", id="musl"),
        pytest.param(lambda: doctor.check_python((3, 11, 2), "2.27"), "fail", "2.28", id="glibc ancient"),
        pytest.param(lambda: doctor.check_bytecode(("tfx",), writes_bytecode=False), "warn", "tfx", id="no bytecode"),
        pytest.param(lambda: doctor.check_bytecode(("tfx",), writes_bytecode=True), "ok", "first", id="bytecode later"),
        pytest.param(lambda: doctor.check_installer("/nowhere"), "warn", "neither uv nor pip", id="no installer"),
        pytest.param(lambda: doctor.check_memory(2000), "warn", "2000 MB", id="little memory"),
        pytest.param(lambda: doctor.check_memory(20000), "ok", "20000 MB", id="memory"),
        pytest.param(lambda: doctor.check_writable(Path("/proc/vouch")), "fail", "/proc", id="read-only"),
        pytest.param(
            lambda: doctor.check_disk(Path("/"), least_mb=10**9, good_mb=10**9), "fail", "VOUCH_VAR", id="full"
        ),
        pytest.param(lambda: doctor.check_disk(Path("/"), least_mb=0, good_mb=10**9), "warn", "VOUCH_VAR", id="low"),
        pytest.param(lambda: doctor.check_docker("/nowhere"), "warn", "not installed", id="no docker"),
        pytest.param(lambda: doctor.check_model_server("/nowhere"), "ok", "the embedded one", id="no model server"),
    ],
)
def test_each_check_judges_what_it_is_told(check: Callable[[], Check], state: str, words: str) -> None:
    found = check()

    assert found.state == state
    assert words in f"{found.found} {found.cure}"
    assert bool(found.cure) == (state != "ok"), "a cure for every complaint, and only then"


@pytest.mark.parametrize(
    ("installed", "python", "state", "words"),
    [
        pytest.param({**THING, "alpha": Installed("1.0")}, (3, 11, 2), "ok", "2 as locked", id="old line"),
        pytest.param({**THING, "alpha": Installed("2.0")}, (3, 13, 0), "ok", "2 as locked", id="new line"),
        pytest.param(
            {**THING, "alpha": Installed("2.0")}, (3, 11, 2), "fail", "alpha 2.0, wanted 1.0", id="other line"
        ),
        pytest.param({"alpha": Installed("1.0")}, (3, 11, 2), "fail", "some-thing missing", id="missing"),
    ],
)
def test_packages_are_compared_with_the_lock_of_this_python(
    installed: dict[str, Installed], python: tuple[int, int, int], state: str, words: str
) -> None:
    found = doctor.check_packages(LOCK, installed, python)

    assert found.state == state
    assert words in found.found


def test_a_wheel_for_another_python_is_refused_and_ours_are_not(machine: Machine) -> None:
    foreign = {"odd": Installed("1", frozenset({"cp27-cp27m-manylinux1_x86_64"}))}

    assert doctor.check_wheels(machine.installed, machine.supported_tags).state == "ok"
    found = doctor.check_wheels({**machine.installed, **foreign}, machine.supported_tags)
    assert found.state == "fail"
    assert "odd" in found.found


def test_a_taken_port_is_named_and_a_free_one_is_not() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        taken = doctor.check_port(port, "model server")
    free = doctor.check_port(port, "model server")

    assert taken.state == "warn"
    assert str(port) in taken.cure
    assert free.state == "ok"


def test_the_ports_looked_at_are_those_that_the_programs_listen_on() -> None:
    start = {parameter.name: parameter.default for parameter in serving_cli.commands["start"].params}
    assert set(doctor.PORTS) == {start["rest_port"], start["grpc_port"], WebSettings.model_fields["port"].default}
    assert doctor.PORTS[WebSettings.model_fields["port"].default] == "web page"


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    """Return a file with the tables of ML Metadata that the doctor reads."""
    file = tmp_path / "metadata.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE Execution (id INTEGER PRIMARY KEY, last_known_state INT)")
        connection.execute("CREATE TABLE MLMDEnv (schema_version INT)")
        connection.execute("INSERT INTO MLMDEnv VALUES (?)", (doctor.METADATA_VERSION,))
        connection.executemany("INSERT INTO Execution (last_known_state) VALUES (?)", [(3,)] * 2000)
    connection.close()
    return file


def test_sound_metadata_passes_and_so_does_none(metadata: Path) -> None:
    assert doctor.check_metadata(metadata).state == "ok"
    assert doctor.check_metadata(metadata.with_name("none.sqlite")) == Check("ML Metadata", "ok", "none yet")


def test_executions_that_never_ended_are_named(metadata: Path) -> None:
    with sqlite3.connect(metadata) as connection:
        connection.execute("UPDATE Execution SET last_known_state = 2 WHERE id IN (7, 9)")
    connection.close()

    found = doctor.check_metadata(metadata)

    assert found.state == "warn"
    assert "7; 9" in found.found


def test_locked_metadata_names_the_process_that_holds_it(metadata: Path) -> None:
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN EXCLUSIVE');"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(metadata)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        found = doctor.check_metadata(metadata, timeout_s=0.05)
        holder.communicate("")

    assert found.state == "fail"
    assert f"process {holder.pid} " in found.found


@pytest.mark.parametrize("offset", [pytest.param(0, id="header"), pytest.param(8192, id="page")])
def test_damaged_metadata_is_refused(metadata: Path, offset: int) -> None:
    with metadata.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 4096)

    found = doctor.check_metadata(metadata)

    assert found.state == "fail"
    assert "lineage" in found.cure


def test_metadata_of_another_program_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "metadata.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE other (id INTEGER)")
    connection.close()

    assert doctor.check_metadata(file).state == "fail"


@pytest.mark.parametrize(
    ("script", "state", "words"),
    [
        pytest.param("echo 28.0.1", "ok", "engine 28.0.1", id="engine"),
        pytest.param("echo Cannot connect >&2; exit 1", "warn", "client only: Cannot connect", id="no engine"),
        pytest.param("read forever <&9", "warn", "client only", id="broken client"),
    ],
)
def test_docker_is_asked_for_its_engine(tmp_path: Path, script: str, state: str, words: str) -> None:
    client = tmp_path / "docker"
    client.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    client.chmod(0o755)

    found = doctor.check_docker(str(tmp_path))

    assert found.state == state
    assert words in found.found


def test_a_real_examination_answers_for_every_part(machine: Machine, tmp_path: Path) -> None:
    checks = doctor.check_all(machine, var=tmp_path / "var", ports={0: "nobody"})

    assert [check.name for check in checks if check.state == "fail"] == []
    assert not (tmp_path / "var").exists(), "looking changes nothing"
    text = doctor.render(checks)
    assert all(check.found in text and check.cure in text for check in checks)
    assert doctor.exit_code(checks) == 0


def test_a_wrong_machine_fails_as_a_whole(machine: Machine, tmp_path: Path) -> None:
    wrong = dataclasses.replace(machine, platform="Darwin arm64", installed={})

    checks = doctor.check_all(wrong, var=tmp_path, ports={})

    assert [check.name for check in checks if check.state == "fail"] == ["machine", "packages"]
    assert doctor.exit_code(checks) == 5
    assert "2 failed" in doctor.render(checks)


def test_the_doctor_imports_no_tensorflow() -> None:
    code = "import pipeline.doctor, sys; print([m for m in ('tensorflow', 'tfx', 'apache_beam') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=doctor.ROOT)

    assert result.stdout == "[]\n"


def test_metadata_of_another_version_is_refused(metadata: Path) -> None:
    from pipeline.history import open_store

    fresh = metadata.with_name("fresh.sqlite")
    open_store(fresh)
    assert doctor.check_metadata(fresh).state == "ok", "METADATA_VERSION is the library's"
    with sqlite3.connect(fresh) as connection:
        connection.execute("UPDATE MLMDEnv SET schema_version = 11")
    connection.close()
    found = doctor.check_metadata(fresh)
    assert found.state == "fail"
    assert "version 11" in found.found
