"""A running server with room for many models, and what tests ask of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.client.errors import ModelNotFound
from serving.client.grpc import GrpcClient
from serving.client.types import VersionSpec
from serving.launch.launcher import Running, Start, launch
from serving.release import commands as release
from serving.release.servers import ReleaseContext
from tests.support.serving.versions import copy_version, tiny_model

names = (f"model_{number}" for number in itertools.count())


@dataclass(frozen=True)
class Hall:
    """A running server and the folder it serves."""

    running: Running
    client: GrpcClient
    tiny: Path

    @property
    def context(self) -> ReleaseContext:
        return ReleaseContext(self.running.log.parent, (self.client,), "tester", load_timeout_s=20)

    def model(self, *versions: int) -> str:
        """A model with versions, the first of which is released."""
        name = next(names)
        copy_version(self.tiny, self.base(name), versions[0])
        release.promote(self.context, name)
        for version in versions[1:]:
            copy_version(self.tiny, self.base(name), version)
        return name

    def base(self, model: str) -> Path:
        return self.context.root / model

    def loaded(self, model: str) -> set[int]:
        return {found.version for found in self.client.status(model) if found.state == "AVAILABLE"}

    def version(self, model: str, label: str | None = None) -> int | None:
        """The version that answers, None if there is no such label."""
        try:
            return self.client.metadata(model, VersionSpec(label=label)).version
        except ModelNotFound:
            return None

    def settles(self, model: str, *versions: int) -> None:
        """Wait until just these versions are loaded."""
        deadline = time.monotonic() + 10
        while self.loaded(model) != set(versions):
            assert time.monotonic() < deadline, self.loaded(model)
            time.sleep(0.02)


@contextmanager
def open_hall(folder: Path) -> Iterator[Hall]:
    """Start a server on a model `first`, which has version 1."""
    tiny, root = tiny_model(folder / "tiny"), folder / "serving"
    copy_version(tiny, root / "first", 1)
    with launch(Start(root, 0, 0)) as running, closing(GrpcClient(running.addresses.grpc)) as client:
        yield Hall(running, client, tiny)
