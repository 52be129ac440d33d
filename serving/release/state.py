"""What is released, as files: the state and an append-only log for each model, one lock for all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from common.adapters import adapter
from common.errors import DataError, EnvironmentProblem
from common.files import disk_problems, locked, write_text
from serving.registry.queue import Released, announce
from serving.repository.layout import CANDIDATE, MAX_VERSION, STABLE

STATE, LOG = ".release.json", ".release.jsonl"  # no numbers, so no model server takes them for versions
LOCK, HOLDER = ".release_lock", ".release_holder.json"
CONFIG = "models.config"
DONE = "done"

_STRICT = ConfigDict(strict=True, extra="forbid")
_Version = Annotated[int, Field(gt=0, le=MAX_VERSION)]


def utc_now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class State:
    """Which versions hold which labels. `previous` stays loaded for a rollback at once."""

    __pydantic_config__ = _STRICT

    stable: _Version
    previous: _Version | None = None
    candidate: _Version | None = None
    weight_percent: Annotated[float, Field(ge=0, le=100)] = 0.0  # the candidate's share of a router's requests

    def __str__(self) -> str:
        words = f"version {self.stable} is stable"
        if self.candidate:
            words += f", {self.candidate} is candidate with {self.weight_percent:g}% of the requests"
        return words + (f"; {self.previous} is kept loaded for a rollback" if self.previous else "")

    @property
    def labels(self) -> dict[str, int]:
        return {STABLE: self.stable} | ({CANDIDATE: self.candidate} if self.candidate else {})

    def roles(self, version: int) -> list[str]:
        """Return what a version is: a label, or `previous`; more than one if they are the same."""
        held = {STABLE: self.stable, CANDIDATE: self.candidate, "previous": self.previous}
        return [role for role, holder in held.items() if holder == version]

    @property
    def loaded(self) -> tuple[int, ...]:
        return tuple(sorted({version for version in (self.stable, self.previous, self.candidate) if version}))


@dataclass(frozen=True)
class Entry:
    """One line of the release log. `outcome` is `done`, or why it was undone."""

    __pydantic_config__ = _STRICT

    id: str
    time: str  # UTC, ISO 8601
    who: str
    what: str
    before: State | None
    after: State
    run_id: str
    digest: str
    verdict: str
    outcome: str = DONE


@dataclass(frozen=True)
class Intent:
    """A change under way, written down before anything is done. Once `is_decided` it will be completed."""

    __pydantic_config__ = _STRICT

    entry: Entry
    is_decided: bool = False


@dataclass(frozen=True)
class Record:
    __pydantic_config__ = _STRICT

    state: State
    intent: Intent | None = None

    @property
    def wanted(self) -> State:
        """Return the state to go for: a change that is decided will be completed."""
        return self.intent.entry.after if self.intent and self.intent.is_decided else self.state

    @property
    def routed(self) -> State:
        """Return the state that a router goes by right now.

        During a change it is the smaller share of before and after, so that no request goes to a label not yet, or no
        longer, there.
        """
        if self.intent is None:
            return self.state
        state, after = self.state, self.intent.entry.after
        share = min(state.weight_percent, after.weight_percent) if state.candidate == after.candidate else 0.0
        return State(state.stable, candidate=state.candidate if share else None, weight_percent=share)


class Store:
    def __init__(self, root: Path, model: str) -> None:
        self.base = root / model

    def read(self) -> Record | None:
        """Return the record, None before the first release. Raises DataError if the file is no state."""
        path = self.base / STATE
        try:
            return adapter(Record).validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} is no release state",
                got=error,
                fix=f"any release command, or `start`, restores it from {LOG} beside it",
            ) from None

    def intact(self) -> Record | None:
        with suppress(DataError):
            return self.read()
        return None

    def write(self, record: Record) -> None:
        write_text(self.base / STATE, json.dumps(asdict(record), indent=2) + "\n")

    def log(self, entry: Entry) -> None:
        """Append an entry, unless it is the last one already: a change completed after a crash is told once.

        What was done is put down for MLflow, too.
        """
        if entry.outcome == DONE:
            labels = entry.after.stable, entry.after.candidate
            announce(self.base.parent, Released(entry.id, self.base.name, entry.time, entry.who, entry.what, *labels))
        entries = self.history()
        if entries and (entries[-1].id, entries[-1].outcome) == (entry.id, entry.outcome):
            return
        with (self.base / LOG).open("ab+") as file:
            if file.tell() and not _ends_in_newline(file):
                file.write(b"\n")  # a line that a crash cut short stays one bad line
            file.write(json.dumps(asdict(entry)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def history(self) -> tuple[Entry, ...]:
        """Return the log, oldest first, without what a crash left of a line."""
        try:
            lines = (self.base / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return ()
        return tuple(entry for line in lines if (entry := _entry_or_none(line)))


def routing(root: Path, model: str) -> State | None:
    """Return the state that a router goes by right now, None before the first release."""
    record = Store(root, model).read()
    return record.routed if record else None


def release_disk_problems(root: Path) -> AbstractContextManager[None]:
    """Raise EnvironmentProblem where the releases under a folder cannot be read or written."""
    return disk_problems(
        f"the releases under {root} cannot be read or written",
        "make room on the disk, or let this user write there, and run again; nothing is lost",
    )


@contextmanager
def one_at_a_time(root: Path, who: str) -> Iterator[None]:
    """Hold the lock on all releases. Raises EnvironmentProblem that names who holds it, and since when."""
    holder = root / HOLDER
    with release_disk_problems(root), ExitStack() as stack:
        try:
            stack.enter_context(locked(root / LOCK, "another release is going on"))
        except EnvironmentProblem as busy:
            raise EnvironmentProblem(busy.what, got=_holder(holder) or busy.got, fix=busy.fix) from None
        with suppress(OSError):  # without it the others are told the process only
            write_text(holder, json.dumps({"who": who, "process": os.getpid(), "since": utc_now()}) + "\n")
        yield


def _holder(path: Path) -> str:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return f"{values['who']}, process {values['process']}, since {values['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _ends_in_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _entry_or_none(line: str) -> Entry | None:
    with suppress(ValueError):
        return adapter(Entry).validate_json(line)
    return None
