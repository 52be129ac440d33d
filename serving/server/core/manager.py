"""Which models are served: the config, its reloads, the versions found on disk, and what is known of each."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from serving.server.config import Latest, ModelConfig, Policy, Specific
from serving.server.core.transitions import TICK_S, Closable, ManagerOptions, Periodic, Transitions
from serving.server.core.versions import State, Version, VersionId, VersionStatus
from serving.server.status import Code, StatusError, failed_precondition, invalid_argument, not_found

LOG = logging.getLogger("serving")
T = TypeVar("T", bound=Closable)


class Manager(Generic[T]):
    """Find, load and serve versions in threads of its own. Requests only ever call `acquire` and `status`.

    `acquire(name, version, label)` is that of `Available`: a handle to be used in a `with` block, or StatusError.
    """

    def __init__(self, load: Callable[[VersionId, Path], T], options: ManagerOptions | None = None) -> None:
        """Take what loads a version; it is called in several threads at once and may raise any Exception."""
        self._options = options or ManagerOptions()
        self._transitions = Transitions(load, self._options)
        self._configs: Mapping[str, ModelConfig] = {}  # replaced whole, under the transitions' lock
        self._source = Source()
        self._polls = Periodic("serving-source", self._poll, self._options.poll_wait_s or None)
        self.acquire = self._transitions.available.acquire

    def start(self, models: Iterable[ModelConfig] | None) -> None:
        self.apply(models)
        self._transitions.start()
        if self._options.poll_wait_s >= 0:
            self._polls.start()

    def wait_until_available(self, timeout_s: float | None = None) -> None:
        """Wait until each model has a version available, then load with the threads asked for.

        Raises StatusError: UNKNOWN if a load failed for good, DEADLINE_EXCEEDED, CANCELLED when stopped meanwhile.
        """
        self._wait("servable(s)", self._configs, timeout_s)
        self._transitions.end_initial_load()

    def apply(self, models: Iterable[ModelConfig] | None) -> list[str]:
        """Replace the models and all labels, and return the newly named ones; None changes nothing.

        Models left out are unloaded in the background, kept ones go on serving. Raises StatusError FAILED_PRECONDITION
        for a label to an unavailable version; then nothing has changed.
        """
        if models is None:
            LOG.info("Taking no action for empty config.")
            return []
        configs = {model.name: model for model in models}
        available = self._transitions.available
        with self._transitions.changed:
            labels = _assigned(
                configs.values(), available.labels, self._is_available, self._options.allows_labels_for_unavailable
            )
            old, self._configs = self._configs, configs
            available.set_labels(labels)
            self._transitions.want({name: {} for name in old if name not in configs})
            self._transitions.changed.notify_all()
        self._polls.wake()
        return [name for name in configs if name not in old]

    def reload(self, models: Iterable[ModelConfig] | None, timeout_s: float | None = None) -> None:
        """Apply a config and wait until its newly named models are available.

        Raises StatusError as `apply` and `wait_until_available` do; a config once applied stays, even then.
        """
        self._wait("model(s)", self.apply(models), timeout_s)

    def is_configured(self, name: str) -> bool:
        return name in self._configs

    def status(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Return all versions ever seen of a model, newest first, or the one. Raises StatusError NOT_FOUND."""
        with self._transitions.changed:
            known = self._transitions.versions.get(name, {})
            if version is not None:
                if version not in known:
                    raise not_found(f"Could not find version {version} of model {name}")
                return [known[version].status()]
            if not known:
                raise not_found(f"Could not find any versions of model {name}")
            return [known[number].status() for number in sorted(known, reverse=True)]

    def stop(self, timeout_s: float = 0.0) -> None:
        """End the threads, refuse all requests and unload what nobody uses, waiting so long for those who do.

        A load under way cannot be stopped; it is closed when it is done.
        """
        self._polls.stop(TICK_S)
        self._transitions.stop(timeout_s)

    def _poll(self) -> None:
        configs = self._configs
        paths = self._source.poll(configs.values())
        with self._transitions.changed:
            if paths is not None and configs is self._configs:  # a new config looks again by itself
                self._transitions.want(paths)

    def _wait(self, what: str, names: Iterable[str], timeout_s: float | None) -> None:
        reached: list[Version[T] | None] = []

        def is_over() -> bool:
            reached[:] = [self._outcome(name) for name in names if name in self._configs]
            return self._transitions.is_stopped or None not in reached

        with self._transitions.changed:
            if not self._transitions.changed.wait_for(is_over, timeout_s):
                raise StatusError(Code.DEADLINE_EXCEEDED, "The models are not yet available.")
            if self._transitions.is_stopped:
                raise StatusError(Code.CANCELLED, "The server is stopping.")
            failed = [version for version in reached if version is not None and version.state is State.END]
            listed = "".join(f"{v.id} due to error: {v.code.name}: {v.message}}}, " for v in failed)
        if failed:
            raise StatusError(Code.UNKNOWN, f"{len(failed)} {what} did not become available: {{{listed}}}")

    def _outcome(self, name: str) -> Version[T] | None:
        """Return the largest aspired version that is available or has failed, if there is one."""
        known = self._transitions.versions.get(name, {})
        done = [v for v in known.values() if v.is_aspired and v.state in (State.AVAILABLE, State.END)]
        return max(done, key=lambda version: version.id.version, default=None)

    def _is_available(self, name: str, version: int) -> bool:
        known = self._transitions.versions.get(name, {}).get(version)
        return known is not None and known.state is State.AVAILABLE


def _assigned(
    models: Iterable[ModelConfig],
    current: Callable[[str], Mapping[str, int]],
    is_available: Callable[[str, int], bool],
    allows_unavailable: bool = False,
) -> dict[str, Mapping[str, int]]:
    """Return all models' labels as a new config has them; those it leaves out vanish.

    A label points to an available version; with `allows_unavailable` a new one may point anywhere, and one in use may
    stay where it is. Raises StatusError FAILED_PRECONDITION otherwise.
    """
    labels: dict[str, Mapping[str, int]] = {}
    for model in models:
        in_use = current(model.name)
        for label, version in model.labels.items():
            may_point_anywhere = allows_unavailable and in_use.get(label, version) == version
            if not may_point_anywhere and not is_available(model.name, version):
                raise failed_precondition(
                    f"Request to assign label to version {version} of model {model.name}, "
                    "which is not currently available for inference"
                )
        if model.labels:
            labels[model.name] = dict(model.labels)
    return labels


_NUMBER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_INT64 = range(-(2**63), 2**63)


class Source:
    """Look for versions; what is amiss is logged when it appears, not at every look."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def poll(self, models: Iterable[ModelConfig]) -> dict[str, dict[int, Path]] | None:
        """Return each model's versions to serve and their folders; None if any base path cannot be read.

        A share that is away for a moment must not unload anything, not even of another model.
        """
        problems: list[str] = []
        by_model: dict[str, dict[int, Path]] = {}
        try:
            for model in models:
                by_model[model.name] = _versions(model, problems)
        except StatusError as error:
            problems.append(f"FileSystemStoragePathSource encountered a filesystem access error: {error.message}")
            return None
        finally:
            self._tell(problems)
        return by_model

    def _tell(self, problems: list[str]) -> None:
        for problem in problems:
            if problem not in self._told:
                LOG.warning("%s", problem)
        self._told = set(problems)


def local_path(base_path: str) -> Path:
    """Return the folder a base path names: an absolute path or a `file://` URI, whose host does not matter."""
    if base_path.startswith("file://"):
        _, slash, rest = base_path.removeprefix("file://").partition("/")
        return Path(slash + rest)
    return Path(base_path)


def choose(policy: Policy, versions: Iterable[int]) -> list[int]:
    known = sorted(versions)
    if isinstance(policy, Latest):
        return known[-policy.count :]
    if isinstance(policy, Specific):
        return [version for version in known if version in policy.versions]
    return known


def _versions(model: ModelConfig, problems: list[str]) -> dict[int, Path]:
    base_path = local_path(model.base_path)
    try:
        with os.scandir(base_path) as children:
            names = sorted(child.name for child in children)  # a file is taken for a version, too, and fails to load
    except OSError as error:
        raise invalid_argument(
            f"Could not find base path {model.base_path} for servable {model.name} with error {error}"
        ) from None
    folders = _numbered(names, problems)
    chosen = choose(model.policy, folders)
    if isinstance(model.policy, Specific):
        problems += [
            f"Version {version} of servable {model.name}, which was requested to be served as a 'specific' version in "
            "the servable's version policy, was not found in the file system"
            for version in sorted(model.policy.versions.difference(chosen))
        ]
    if not chosen:
        problems.append(
            f"No versions of servable {model.name} found under base path {model.base_path}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )
    return {version: base_path / folders[version] for version in chosen}


def _numbered(names: Iterable[str], problems: list[str]) -> Mapping[int, str]:
    """Return the folders by their numbers; of two with the same number the last by name counts."""
    folders: dict[int, str] = {}
    for name in names:
        if not _NUMBER.fullmatch(name) or int(name) not in _INT64:
            continue
        version = int(name)
        if version in folders:
            problems.append(
                f"Duplicate version directories detected. Version {version} will be loaded from {name}, "
                f"{folders[version]} will be ignored."
            )
        folders[version] = name
    return folders
