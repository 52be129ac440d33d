"""The rivals' own Python environment: they need other versions than the project, and the project does without them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from bench.pipeline import ROOT
from bench.processes import Command, run
from common.errors import EnvironmentProblem
from common.files import write_text

LOCK = Path(__file__).with_name("requirements.txt")
INSTALL_S = 1800.0


def environment(folder: Path) -> Path:
    """Return the environment's `bin`, made from the lock if it is not there yet (2.5 GB, a few minutes)."""
    venv = folder / "venv"
    stamp, wanted = venv / ".stamp", f"{hashlib.sha256(LOCK.read_bytes()).hexdigest()} {sys.version}"
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        uv = ROOT / ".venv" / "bin" / "uv"
        if not uv.is_file():
            raise EnvironmentProblem("there is no uv to make the rivals' environment with", fix="make setup")
        print(f"making {venv} for the rivals: 2.5 GB, a few minutes", file=sys.stderr)
        log = folder / "install.log"
        run(Command([str(uv), "venv", "--clear", "--python", sys.executable, str(venv)], log), INSTALL_S)
        python = str(venv / "bin" / "python")
        run(
            Command(
                [str(uv), "pip", "install", "--python", python, "--no-deps", "--compile-bytecode", "-r", str(LOCK)], log
            ),
            INSTALL_S,
        )
        write_text(stamp, wanted)
    return venv / "bin"
