"""The versions of the models: the state of each, which transition comes next, and the handles that requests hold."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from serving.server.config import NO_LABELS
from serving.server.status import Code, StatusError, invalid_argument, not_found

T = TypeVar("T")


class Loaded(Generic[T]):
    """A loaded version and the count of those who use it."""

    __slots__ = ("handles", "lock", "name", "on_idle", "servable", "version")

    def __init__(self, name: str, version: int, servable: T) -> None:
        self.name = name
        self.version = version
        self.servable = servable
        self.lock = threading.Lock()
        self.handles = 0
        self.on_idle: Callable[[], None] | None = None  # set when the version retires: nobody new may take it

    def retire(self, on_idle: Callable[[], None]) -> None:
        """Refuse new handles, and call `on_idle` once the last one is released: at once if there is none."""
        with self.lock:
            self.on_idle = on_idle
            is_idle = self.handles == 0
        if is_idle:
            on_idle()


class Handle(Generic[T]):
    """The right to use a loaded version. Leave its `with` block, or call `release`, as soon as the work is done."""

    __slots__ = ("_loaded", "name", "servable", "version")

    def __init__(self, loaded: Loaded[T]) -> None:
        self.name = loaded.name
        self.version = loaded.version
        self.servable = loaded.servable
        self._loaded: Loaded[T] | None = loaded

    def __enter__(self) -> Handle[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the version back; a second time does nothing."""
        loaded = self._loaded
        if loaded is None:
            return
        on_idle = None
        with loaded.lock:
            if self._loaded is None:  # another thread was faster
                return
            self._loaded = None
            loaded.handles -= 1
            if not loaded.handles:
                on_idle = loaded.on_idle
        if on_idle is not None:
            on_idle()


class Available(Generic[T]):
    """The versions that requests may use. Tables are replaced whole and never changed, so readers take no lock.

    There is one writer at a time: the manager, under its lock.
    """

    def __init__(self) -> None:
        self._models: Mapping[str, Mapping[int, Loaded[T]]] = {}
        self._labels: Mapping[str, Mapping[str, int]] = {}

    def acquire(self, name: str, version: int | None = None, label: str | None = None) -> Handle[T]:
        """Return a handle of a version: the numbered one, the labelled one, or else the largest available.

        Raises StatusError: INVALID_ARGUMENT for an empty name or an unknown label, NOT_FOUND for what is not loaded.
        """
        if not name:
            raise invalid_argument("ModelSpec has no name specified.")
        while True:
            if label:
                version = self._labelled(name, label)
            versions = self._models.get(name, {})
            loaded = versions.get(max(versions, default=0) if version is None else version)
            if loaded is None:
                wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise not_found(f"Servable not found for request: {wanted}")
            with loaded.lock:
                if loaded.on_idle is None:
                    loaded.handles += 1
                    return Handle(loaded)
            # retired between the two looks, hence already gone from the table

    def _labelled(self, name: str, label: str) -> int:
        version = self.labels(name).get(label)
        if version is None:
            raise invalid_argument(f"Unrecognized servable version label: {label}")
        return version

    def labels(self, name: str) -> Mapping[str, int]:
        return self._labels.get(name, NO_LABELS)

    def set_labels(self, labels: Mapping[str, Mapping[str, int]]) -> None:
        self._labels = labels

    def add(self, loaded: Loaded[T]) -> None:
        self._replace(loaded.name, {**self._models.get(loaded.name, {}), loaded.version: loaded})

    def remove(self, loaded: Loaded[T]) -> None:
        """Keep new requests from a version; to be called before it retires."""
        rest = {number: other for number, other in self._models.get(loaded.name, {}).items() if other is not loaded}
        self._replace(loaded.name, rest)

    def _replace(self, name: str, versions: Mapping[int, Loaded[T]]) -> None:
        self._models = {**self._models, name: versions}


class State(IntEnum):
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class VersionId(NamedTuple):
    name: str
    version: int

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.version}}}"


@dataclass(frozen=True)
class VersionStatus:
    version: int
    state: State
    code: Code = Code.OK
    message: str = ""


@dataclass
class Version(Generic[T]):
    """A version's record; it outlives what was loaded, so it holds an error's words and never the error."""

    id: VersionId
    path: Path
    is_aspired: bool = True
    state: State = State.START
    failures: int = 0
    retry_at: float | None = None  # monotonic seconds; None while an attempt runs or none is due
    loaded: Loaded[T] | None = None
    code: Code = Code.OK
    message: str = ""

    def status(self) -> VersionStatus:
        return VersionStatus(self.id.version, self.state, self.code, self.message)

    def end(self, error: StatusError | None = None) -> None:
        """Let the version rest; with an error it counts as failed."""
        self.state, self.loaded, self.retry_at = State.END, None, None
        if error is not None:
            self.code, self.message = error.code, error.message


class Action(Enum):
    """A transition; unloading comes first, which frees memory."""

    UNLOAD = 0
    LOAD = 1


def next_action(versions: Iterable[Version[T]], is_any_wanted: bool) -> tuple[Action, Version[T]] | None:
    """Return a model's next transition, which preserves availability, or None.

    A loaded version no longer aspired goes, smallest first, unless it is the last one while one that is wanted is not
    yet there. Then the largest new aspired version is loaded. What is wanted may be none of the aspired: a version
    wanted again while it goes is aspired only once it has ended.
    """
    known = list(versions)
    aspired = [version for version in known if version.is_aspired]
    leftover = [version for version in known if version.state is State.AVAILABLE and not version.is_aspired]
    has_replacement = any(version.state is State.AVAILABLE for version in aspired)
    if leftover and (not is_any_wanted or has_replacement or len(leftover) > 1):
        return Action.UNLOAD, min(leftover, key=lambda version: version.id.version)
    fresh = [version for version in aspired if version.state is State.START]
    if fresh:
        return Action.LOAD, max(fresh, key=lambda version: version.id.version)
    return None
