"""Tools that check what cannot be run here, and a stand-in for `tensorflow_model_server`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def check_with() -> Callable[..., str]:
    """Run a checking tool, from PATH or `.venv`, that must succeed; skip if the machine has none."""

    def check(tool: str, *arguments: object, cwd: Path = ROOT, **more: Any) -> str:
        found = shutil.which(tool, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if found is None:
            pytest.skip(f"{tool} is not installed")
        done = subprocess.run(
            [found, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60, check=False, **more
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    return check
