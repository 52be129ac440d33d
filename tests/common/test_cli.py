from __future__ import annotations

import signal
import subprocess
import sys

from tests.support.paths import ROOT

PROGRAM = """
import signal, click
from common.cli import Command
@click.command(cls=Command)
def main():
    print("ready", flush=True)
    signal.pause()
main()
"""


def test_a_scripts_background_job_can_be_interrupted() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "interrupted\n")
