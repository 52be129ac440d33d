"""Tools that check what cannot be run here, and a stand-in for `tensorflow_model_server`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.programs import program


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def check_with() -> Callable[..., str]:
    """Run a checking tool, from PATH or `.venv`, that must succeed."""

    def check(tool: str, *arguments: object, cwd: Path = ROOT, **more: Any) -> str:
        done = subprocess.run(
            [program(tool), *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **more,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    return check
