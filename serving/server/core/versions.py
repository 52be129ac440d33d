"""The versions of the models: what state each is in, and which transition comes next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from serving.server.core.handles import Loaded
from serving.server.status import Code, StatusError

T = TypeVar("T")


class State(IntEnum):
    """Where a version stands, as ModelVersionStatus numbers it."""

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
    """What is told of a version to the outside."""

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
        """Return what is told of this version."""
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
