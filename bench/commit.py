"""The web app of this checkout, and that of another commit with an environment of what it locks."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from bench.load import Command, run, running, wait_until
from bench.report import ROOT
from serving.client.types import Addresses
from serving.repository.layout import MANIFEST, TRAINING

GIT_S, INSTALL_S, START_S = 60.0, 900.0, 60.0
NEWER_SETTINGS = {
    "split": ("seed", "by", "time"),
    "model": ("seed",),
    "evaluation": ("when_not_comparable", "plain_margin", "when_plain_is_better", "thresholds"),
}


@dataclass(frozen=True)
class Checkout:
    root: Path
    python: Path


HERE = Checkout(ROOT, Path(sys.executable))


@dataclass(frozen=True)
class WebApp:
    """A running web app: its address, its first process, and the root of its state."""

    url: str
    pid: int
    var: Path


@contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Checkout]:
    """Take a commit out under a folder and install what its web app locks; both are gone afterwards.

    Raises RunFailed if there is no such commit, or a package cannot be had.
    """
    files, environment, log = folder / "files", folder / "environment", folder / "checkout.log"
    python, uv = environment / "bin" / "python", Path(sys.executable).with_name("uv")
    worktree = ["git", "-C", str(ROOT), "worktree"]
    run(Command([*worktree, "add", "--force", "--detach", str(files), commit], log), GIT_S)
    try:
        run(Command([str(uv), "venv", "--quiet", "--python", sys.executable, str(environment)], log), INSTALL_S)
        lock = files / "webapp" / "requirements.txt"
        install = [str(uv), "pip", "install", "--quiet", "--no-deps", "--compile-bytecode", "--python", str(python)]
        run(Command([*install, "-r", str(lock)], log), INSTALL_S)
        yield Checkout(files, python)
    finally:
        run(Command([*worktree, "remove", "--force", str(files)], folder / "remove.log"), GIT_S)


@contextmanager
def web_app(of: Checkout, var: Path, addresses: Addresses, port: int = 0) -> Iterator[WebApp]:
    """Run a checkout's web app, as `python -m webapp` starts it, until it is ready."""
    environment = {
        "VOUCH_VAR": str(var),
        "VOUCH_MODEL_SERVER_REST": addresses.rest,
        "VOUCH_MODEL_SERVER_GRPC": addresses.grpc,
        "VOUCH_RATE_LIMIT": "",
    }
    words = [str(of.python), "-m", "webapp", f"--port={port}"]
    command = Command(words, var / "webapp.log", cwd=of.root, environment=environment)
    with running(command) as process:
        wait_until(lambda: is_ready(_url(command.log)), process, command, START_S)
        yield WebApp(_url(command.log), process.pid, var)


def is_ready(url: str) -> bool:
    with suppress(requests.RequestException):
        return bool(url) and requests.get(f"{url}/readyz", timeout=5).ok
    return False


def copy_model(base: Path, var: Path, *, for_an_older_commit: bool = False) -> None:
    """Copy a model's versions and its release, for an older commit without what it does not know of them."""
    copied = var / "serving" / base.name
    shutil.copytree(base, copied)
    for path in copied.glob(f"*/{MANIFEST}") if for_an_older_commit else ():
        manifest = json.loads(path.read_text(encoding="utf-8"))
        verdicts = manifest.pop("verdicts")
        manifest["sentences"] = {gate: verdict["sentence"] for gate, verdict in verdicts.items()}
        for newer in ("baseline", "identity"):
            manifest.pop(newer, None)
        training = path.with_name(Path(TRAINING).name)
        facts = json.loads(training.read_text(encoding="utf-8"))
        facts["settings"].pop("operating_point", None)
        for section, newer_keys in NEWER_SETTINGS.items():
            kept = {key: value for key, value in facts["settings"][section].items() if key not in newer_keys}
            facts["settings"][section] = kept
        training.write_text(json.dumps(facts), encoding="utf-8")
        manifest["checksums"][TRAINING] = hashlib.sha256(training.read_bytes()).hexdigest()
        path.write_text(json.dumps(manifest), encoding="utf-8")


def _url(log: Path) -> str:
    match = re.search(r"http://[\d.:]+", log.read_text(encoding="utf-8")) if log.exists() else None
    return match[0] if match else ""
