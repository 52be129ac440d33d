"""The watcher's Dockerfile, as far as it can be checked without an engine."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from common.paths import WATCHER
from tests.support.paths import ROOT

DOCKERFILE = ROOT / "monitoring" / "Dockerfile"
LINES = DOCKERFILE.read_text(encoding="utf-8").splitlines()


def instructions(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def pinned(path: Path) -> set[str]:
    return set(re.findall(r"^([\w.-]+==\S+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE))


def test_it_takes_only_what_the_ignore_file_lets_through() -> None:
    ignored = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text("utf-8").splitlines()
    lines = [line for line in ignored if line and line[0] != "#"]
    copied = {name.partition("/")[0] for line in instructions("COPY") for name in shlex.split(line)[:-1]}
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert copied == {"common", "config", "serving", "monitoring", "requirements-mlflow.txt"}
    assert {"serving/server", "monitoring/alertmanager/secrets"} <= set(lines)


def test_it_runs_as_a_numbered_user_that_is_not_root_and_is_asked_at_its_port() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instructions("USER")[-1])
    assert instructions("EXPOSE") == [str(WATCHER)]
    assert f"127.0.0.1:{WATCHER}/livez" in DOCKERFILE.read_text(encoding="utf-8")


def test_its_packages_are_those_of_the_locks_and_tensorflow_is_not_among_them() -> None:
    packages = pinned(ROOT / "monitoring" / "requirements.txt")
    assert packages <= pinned(ROOT / "requirements.txt")
    content = DOCKERFILE.read_text(encoding="utf-8")
    assert content.count("--require-hashes") == content.count("pip install") == 2
    assert not {"tensorflow", "tfx", "keras"} & {package.partition("==")[0] for package in packages}


@pytest.mark.slow
def test_what_the_watcher_imports_is_in_its_image(tmp_path: Path) -> None:
    code = (
        "import sys; from monitoring.cli import main\n"
        "try: main(['watch', '--once', '--grpc', '127.0.0.1:1'])\n"
        "except SystemExit:\n"
        "    for module in [*sys.modules.values()]: print(getattr(module, '__file__', ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"VOUCH_VAR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    ours = [path for line in done.stdout.splitlines() if (path := Path(line)).is_relative_to(ROOT) and path.is_file()]
    assert any(path.name == "rounds.py" for path in ours)
    owners, packages = packages_distributions(), pinned(ROOT / "monitoring" / "requirements.txt")
    names = {package.partition("==")[0] for package in packages} | {"mlflow"}  # which has a lock of its own
    for module in {name for path in ours if ".venv" not in path.parts for name in imported(path)}:
        if module in owners:
            assert {owner.lower().replace("_", "-") for owner in owners[module]} & names, module


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports at its top."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield statement.module.partition(".")[0]


@pytest.mark.slow
def test_hadolint_finds_nothing(check_with: Callable[..., str]) -> None:
    check_with("hadolint", "monitoring/Dockerfile")
