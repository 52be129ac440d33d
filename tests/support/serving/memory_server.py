"""A model server in memory that obeys configs as TensorFlow Serving does, and loads in no time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from serving.client.errors import InvalidRequest, ModelNotFound, ModelServerDown, ModelServerFailed
from serving.client.grpc import GrpcClient
from serving.client.retry import Clock
from serving.client.types import NEWEST, Metadata, VersionSpec, VersionStatus
from serving.release.servers import ReleaseContext


@dataclass(eq=False)
class MemoryServer:
    """What a server has of each model, and what it was told."""

    address: str = "memory:1"
    is_down: bool = False
    statuses: dict[str, dict[int, VersionStatus]] = field(default_factory=dict)
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    reloads: int = 0

    def status(self, model: str, spec: VersionSpec = NEWEST) -> tuple[VersionStatus, ...]:
        self._answer(model)
        return tuple(self.statuses[model][version] for version in sorted(self.statuses[model], reverse=True))

    def metadata(self, model: str, spec: VersionSpec = NEWEST) -> Metadata:
        self._answer(model)
        version = self.labels[model].get(spec.label or "")
        if version not in self.available(model):
            raise ModelNotFound(f"{model} {spec}")
        return Metadata(version)

    def predict(
        self, model: str, inputs: Mapping[str, list[float]], spec: VersionSpec = NEWEST, *, signature: str = ""
    ) -> dict[str, Any]:
        """Answer as `tests.support.serving.versions.tiny_model` does."""
        self._answer(model)
        x = inputs["x"]
        return {"probabilities": [[1 - p, p] for p in x], "label": ["M" if p > 0.5 else "B" for p in x]}

    def reload_config(self, config: Any) -> None:
        self._answer()
        self.reloads += 1
        entries = {entry.name: entry for entry in config.model_config_list.config}
        for name, entry in entries.items():
            for label, version in entry.version_labels.items():
                if label in self.labels.get(name, {}) and version not in self.available(name):
                    raise InvalidRequest(f"label {label} of {name} cannot move to version {version}")
        new = entries.keys() - self.statuses.keys()
        self.statuses = {name: self._loaded(entry) for name, entry in entries.items()}
        self.labels = {name: dict(self.labels.get(name, {})) for name in entries}
        if failed := [name for name in new if len(self.available(name)) < len(self.statuses[name])]:
            raise ModelServerFailed(f"{failed} did not become available")
        self.labels = {name: dict(entry.version_labels) for name, entry in entries.items()}

    def available(self, model: str) -> set[int]:
        known = self.statuses.get(model, {})
        return {version for version, status in known.items() if status.state == "AVAILABLE"}

    def _loaded(self, entry: Any) -> dict[int, VersionStatus]:
        seen = dict(self.statuses.get(entry.name, {}))
        wanted = set(entry.model_version_policy.specific.versions)
        for version in seen.keys() - wanted:
            seen[version] = VersionStatus(version, "END")
        for version in wanted:
            graph = Path(entry.base_path) / str(version) / "saved_model.pb"
            before = seen.get(version)
            if graph.exists() and not (before and (before.state == "AVAILABLE" or before.error)):
                is_sound = graph.read_bytes() != b"no graph"
                failed = VersionStatus(version, "END", "DATA_LOSS", "no graph")
                seen[version] = VersionStatus(version, "AVAILABLE") if is_sound else failed
        return seen

    def _answer(self, model: str | None = None) -> None:
        if self.is_down:
            raise ModelServerDown(f"{self.address} gives no answer")
        if model is not None and model not in self.statuses:
            raise ModelNotFound(model)


def memory_context(root: Path, *servers: MemoryServer, **options: Any) -> ReleaseContext:
    """Release on servers in memory, by a clock on which no wait takes time."""
    seconds = [0.0]
    clock = Clock(now=lambda: seconds[0], sleep=lambda pause: seconds.append(seconds.pop() + pause))
    clients = cast(tuple[GrpcClient, ...], servers)
    return ReleaseContext(root, clients, "tester", **{"load_timeout_s": 20, "clock": clock, **options})
