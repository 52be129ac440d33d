"""The fresh process that the probe runs in. It can be started early, so that importing TensorFlow costs no time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from components.probe.child import ProbeReport, SignatureReport

_waiting: list[subprocess.Popen[str]] = []  # at most one, started by `warm_up` and not yet used


def warm_up() -> None:
    """Start a child that imports TensorFlow and waits for its order."""
    if not _waiting:
        _waiting.append(_start())


def dismiss() -> None:
    """End a child that got no order."""
    while _waiting:
        _end(_waiting.pop())


def run_child(folder: Path, timeout_s: float) -> ProbeReport:
    """Probe a model in a fresh process; one that dies or hangs is reported as a failed load."""
    child = _waiting.pop() if _waiting else _start()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "report.json"
        try:
            _, errors = child.communicate(json.dumps([str(folder), str(out)]) + "\n", timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return ProbeReport(f"no answer within {timeout_s:g} s", timeout_s, 0.0, ())
        finally:
            _end(child)
        if not out.is_file():
            last = (errors.strip().splitlines() or ["no message"])[-1]
            return ProbeReport(f"the loading process ended with code {child.returncode}: {last}", 0.0, 0.0, ())
        values = json.loads(out.read_text(encoding="utf-8"))
    signatures = tuple(SignatureReport(**signature) for signature in values.pop("signatures"))
    return ProbeReport(signatures=signatures, **values)


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "components.probe.child"],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stderr):
        if stream:
            stream.close()
