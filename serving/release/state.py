"""What is released, as files: the state and an append-only log for each model, one lock and one config for all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import DataError, EnvironmentProblem
from common.files import locked, write_text

STATE, LOG = ".release.json", ".release.jsonl"  # no numbers, so no model server takes them for versions
LOCK, HOLDER = ".release_lock", ".release_holder.json"
CONFIG = "models.config"
STABLE, CANDIDATE = "stable", "candidate"


@dataclass(frozen=True)
class State:
    """Which versions hold which labels. `previous` stays loaded for a rollback at once."""

    stable: int
    previous: int | None = None
    candidate: int | None = None
    weight_percent: float = 0.0  # share of the traffic that a router gives to the candidate

    def __str__(self) -> str:
        told = f"version {self.stable} is stable"
        if self.candidate:
            told += f", {self.candidate} is candidate with {self.weight_percent:g}% of the requests"
        return told + (f"; {self.previous} is kept loaded for a rollback" if self.previous else "")

    @property
    def labels(self) -> dict[str, int]:
        """Return version by label."""
        return {STABLE: self.stable} | ({CANDIDATE: self.candidate} if self.candidate else {})

    @property
    def loaded(self) -> tuple[int, ...]:
        """Return the versions to keep loaded, in rising order."""
        return tuple(sorted({version for version in (self.stable, self.previous, self.candidate) if version}))


@dataclass(frozen=True)
class Entry:
    """One line of the release log. `outcome` is `done`, or why it was undone."""

    id: str
    time: str  # UTC, ISO 8601
    who: str
    what: str
    before: State | None
    after: State
    run_id: str
    digest: str
    verdict: str
    outcome: str = "done"


@dataclass(frozen=True)
class Intent:
    """A change under way, written down before anything is done. Once `is_decided` it will be completed."""

    entry: Entry
    is_decided: bool = False


@dataclass(frozen=True)
class Record:
    """All that the state file holds."""

    state: State
    intent: Intent | None = None

    @property
    def wanted(self) -> State:
        """Return the state to go for: a change that is decided will be completed."""
        return self.intent.entry.after if self.intent and self.intent.is_decided else self.state


@dataclass(frozen=True)
class Routing:
    """How a router divides its requests: `weight_percent` of them to the label `candidate`, if there is one."""

    stable: int
    candidate: int | None
    weight_percent: float


class Store:
    """The files of one model."""

    def __init__(self, root: Path, model: str) -> None:
        self.base = root / model

    def read(self) -> Record | None:
        """Return the record, None before the first release. Raises DataError if the file is no state."""
        path = self.base / STATE
        try:
            return _record(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path} is no release state",
                got=error,
                fix=f"look at {LOG} beside it, remove the file and run: python -m serving start",
            ) from None

    def write(self, record: Record) -> None:
        """Replace the record, whole or not at all."""
        write_text(self.base / STATE, json.dumps(asdict(record), indent=2) + "\n")

    def log(self, entry: Entry) -> None:
        """Append an entry, unless it is the last one already: a change completed after a crash is told once."""
        told = self.history()
        if told and (told[-1].id, told[-1].outcome) == (entry.id, entry.outcome):
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


def routing(root: Path, model: str) -> Routing | None:
    """Return how to route right now, None before the first release.

    During a change it is the smaller share of before and after, so that no request goes to a label not yet, or no
    longer, there. Read from one file that is only ever replaced whole.
    """
    record = Store(root, model).read()
    if record is None:
        return None
    state = record.state
    if record.intent:
        after = record.intent.entry.after
        share = min(state.weight_percent, after.weight_percent) if state.candidate == after.candidate else 0.0
        state = replace(state, candidate=state.candidate if share else None, weight_percent=share)
    return Routing(state.stable, state.candidate, state.weight_percent)


@contextmanager
def one_at_a_time(root: Path, who: str, now: str) -> Iterator[None]:
    """Hold the lock on all releases. Raises EnvironmentProblem that names who holds it, and since when."""
    holder = root / HOLDER
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(root / LOCK, "another release is going on"))
        except EnvironmentProblem as busy:
            raise EnvironmentProblem(busy.what, got=_told(holder) or busy.got, fix=busy.fix) from None
        write_text(holder, json.dumps({"who": who, "process": os.getpid(), "since": now}) + "\n")
        yield


def _told(holder: Path) -> str:
    try:
        said = json.loads(holder.read_text(encoding="utf-8"))
        return f"{said['who']}, process {said['process']}, since {said['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _ends_in_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _record(values: dict[str, Any]) -> Record:
    intent = values["intent"]
    return Record(State(**values["state"]), Intent(_entry(intent["entry"]), intent["is_decided"]) if intent else None)


def _entry(values: dict[str, Any]) -> Entry:
    before = values.pop("before")
    return Entry(**values | {"before": State(**before) if before else None, "after": State(**values["after"])})


def _entry_or_none(line: str) -> Entry | None:
    try:
        return _entry(json.loads(line))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
