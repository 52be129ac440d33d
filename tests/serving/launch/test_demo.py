"""A command beside a server: told where it is, and both end together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import ConfigError, EnvironmentProblem
from serving.client.types import Addresses
from serving.launch.backends import Program
from serving.launch.demo import run_beside
from serving.launch.launcher import Running

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


@pytest.mark.parametrize("command", ["/no/such/program", "'"], ids=["no program", "no shell words"])
def test_a_command_that_cannot_be_run_is_told(tmp_path: Path, command: str) -> None:
    server = running(tmp_path)
    with pytest.raises(ConfigError, match="cannot be run"):
        run_beside(server, command)
    server.process.kill()
