"""The Dockerfile of the controller and its pipeline, as far as it can be checked without an engine."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from common.paths import CONTROLLER
from tests.support.paths import ROOT

DOCKERFILE = ROOT / "pipeline" / "Dockerfile"
LINES = DOCKERFILE.read_text(encoding="utf-8").splitlines()
COPIED = {name for line in LINES if line.startswith("COPY ") for name in shlex.split(line)[1:-1]}


def test_it_takes_only_what_the_ignore_file_lets_through() -> None:
    lines = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert next(line for line in lines if line[0] != "#") == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == COPIED
    assert "monitoring/alertmanager/secrets" in lines


def test_all_of_ours_that_a_run_imports_is_in_it() -> None:
    rooms = [name for name in COPIED if (ROOT / name).is_dir()]
    files = [ROOT / "local_runner.py", *(path for name in rooms for path in (ROOT / name).rglob("*.py"))]
    found = {name.partition(".")[0] for path in files for name in imported(path)}
    ours = {name for name in found if (ROOT / name / "__init__.py").is_file() or (ROOT / f"{name}.py").is_file()}
    assert {"components", "pipeline", "monitoring"} <= ours <= {name.removesuffix(".py") for name in COPIED}


def imported(path: Path) -> list[str]:
    """The modules that a file imports, wherever it does."""
    nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    named = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return named + [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]


def test_it_runs_as_a_numbered_user_and_is_asked_at_its_port() -> None:
    content = DOCKERFILE.read_text(encoding="utf-8")
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", content, flags=re.MULTILINE)
    assert f"\nEXPOSE {CONTROLLER}\n" in content
    assert f"127.0.0.1:{CONTROLLER}/livez" in content


def test_its_packages_are_those_of_the_lock_by_their_hashes() -> None:
    [line] = [line for line in LINES if "pip install" in line]
    assert {"--no-deps", "--require-hashes", "requirements.txt"} <= set(line.split())


@pytest.mark.slow
def test_hadolint_finds_nothing(check_with: Callable[..., str]) -> None:
    check_with("hadolint", "pipeline/Dockerfile")
