from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from common.cli import INTERRUPTED, Command, Group
from common.errors import GateRefused
from tests.support.paths import ROOT

ENOSPC = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/var/x")
EROFS = OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize("kind", [Command, Group])
@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (GateRefused("the gate said no"), 4, "error: the gate said no\n"),
        (
            ENOSPC,
            5,
            "error: this machine refuses /var/x\n  got: No space left on device\n  next: make room on the disk",
        ),
        (EROFS, 5, "error: this machine refuses to go on\n  got: Read-only file system\n  next: remount it"),
        (OSError("odd"), 5, "  got: OSError('odd')\n"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted\n"),
    ],
    ids=["ours", "full disk", "read-only", "unknown", "Ctrl-C"],
)
def test_an_error_is_text_and_an_exit_code(
    kind: type[click.Command], error: BaseException, code: int, told: str
) -> None:
    def fail() -> None:
        raise error

    command = Command("fail", callback=fail)
    line = Group("line", commands=[command]) if kind is Group else command
    done = CliRunner().invoke(line, ["fail"] if kind is Group else [])
    assert done.exit_code == code
    assert told in done.output
    assert "Traceback" not in done.output


def test_a_surprise_keeps_its_traceback() -> None:
    def fail() -> None:
        raise ValueError("a fault of ours")

    assert isinstance(CliRunner().invoke(Command("fail", callback=fail)).exception, ValueError)


def test_a_real_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    done = CliRunner().invoke(Command("fail", callback=lambda: (file / "x").mkdir()))
    assert (done.exit_code, str(file / "x") in done.output) == (5, True)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_that_lacks_a_letter_shows_a_question_mark(encoding: str) -> None:
    code = "from common.cli import Command; Command('x', callback=lambda: print('\u2713 done')).main([])"
    variables = {**os.environ, "PYTHONIOENCODING": encoding}
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=variables, capture_output=True, check=True)
    assert said.stdout == b"? done\n"
