"""A manager of versions that load to nothing, and what its tests wait on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.server.config import ModelConfig
from serving.server.core.manager import Manager
from serving.server.core.transitions import ManagerOptions
from serving.server.core.versions import State, VersionId
from serving.server.status import Code, StatusError

LIMIT_S = 60.0
FAST = ManagerOptions(poll_wait_s=0.01, max_num_load_retries=0)


class Fake:
    """What a version loads to in these tests."""

    def __init__(self, version: VersionId) -> None:
        self.id = version
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Loader:
    """Load fakes; a file `broken` in the folder is the error, a closed gate makes a version's load wait."""

    def __init__(self) -> None:
        self.gates: dict[VersionId, threading.Event] = {}
        self.loaded: list[VersionId] = []
        self.attempts: list[VersionId] = []

    def __call__(self, version: VersionId, folder: Path) -> Fake:
        self.attempts.append(version)
        if version in self.gates:
            assert self.gates[version].wait(LIMIT_S)
        if (folder / "broken").exists():
            raise StatusError(Code.DATA_LOSS, (folder / "broken").read_text())
        self.loaded.append(version)
        return Fake(version)

    def hold(self, name: str, version: int) -> threading.Event:
        return self.gates.setdefault(VersionId(name, version), threading.Event())


Make = Callable[..., "Manager[Fake]"]


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "this never came true"
        threading.Event().wait(0.002)


def export(base: Path, *versions: int, broken: str = "") -> Path:
    for version in versions:
        folder = base.parent / f"{version}.tmp"
        folder.mkdir(parents=True)
        if broken:
            (folder / "broken").write_text(broken)
        base.mkdir(exist_ok=True)
        folder.rename(base / str(version))
    return base


def states(manager: Manager[Fake], name: str = "m") -> dict[int, State]:
    try:
        return {version.version: version.state for version in manager.status(name)}
    except StatusError:
        return {}


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(StatusError) as refused:
        call()
    return str(refused.value)


def model(base: Path, **values: object) -> ModelConfig:
    return ModelConfig("m", str(base), **values)  # type: ignore[arg-type]
