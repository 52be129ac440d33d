from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.server.config import ModelConfig
from serving.server.core.manager import Manager
from serving.server.core.transitions import ManagerOptions
from tests.support.serving.fakes import FAST, Fake, Loader, Make


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def make(loader: Loader) -> Iterator[Make]:
    made: list[Manager[Fake]] = []

    def start(*models: ModelConfig, options: ManagerOptions = FAST) -> Manager[Fake]:
        made.append(Manager(loader, options))
        made[-1].start(models)
        return made[-1]

    yield start
    for gate in loader.gates.values():
        gate.set()
    for manager in made:
        manager.stop()
