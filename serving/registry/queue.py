"""What is to be told to MLflow, as files: runs and releases append to it, the replayer alone takes from it.

An entry is a file named by its id, so that to append it twice is to append it once. Nothing here knows MLflow: whoever
appends neither imports it nor waits for it.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from common.adapters import adapter
from common.files import sync, write_text

FOLDER = ".registry"  # among the models; no number and no versions in it, so no model server takes it for a model
MAX_ENTRIES = 1000
MAX_ATTEMPTS = 5

_STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True)
class RunEnded:
    """A run of the pipeline, by what it left on disk; a place is None where the run did not get that far."""

    __pydantic_config__ = _STRICT

    model: str
    run_id: str
    started: str  # UTC, ISO 8601, as `time`
    time: str  # when it ended
    state: str  # complete, failed, incomplete, as ML Metadata has it
    version: int | None  # pushed by it, or found pushed
    command: str
    metadata: str  # ML Metadata's file
    executions: dict[str, int]  # by component
    folder: str  # of its log
    report: str | None
    schema: str | None
    statistics: str | None
    verdicts: dict[str, str]  # by gate, as a sentence
    kind: Literal["run"] = "run"

    @property
    def id(self) -> str:
        return f"run-{self.model}-{self.run_id}"


@dataclass(frozen=True)
class Released:
    """A release that was made: which versions hold the labels from then on."""

    __pydantic_config__ = _STRICT

    release: str  # the id that its transaction has
    model: str
    time: str
    who: str
    what: str
    stable: int
    candidate: int | None
    kind: Literal["release"] = "release"

    @property
    def id(self) -> str:
        return f"release-{self.model}-{self.release}"


Entry = Annotated[RunEnded | Released, Field(discriminator="kind")]


@dataclass(frozen=True)
class Waiting:
    """An entry that MLflow has not been told yet, and what went wrong when it was last tried."""

    entry: Entry
    attempts: int = 0
    problem: str = ""


class Queue:
    """The entries under a folder of models: those that wait, and those that MLflow would not take."""

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER / "queue"
        self.refused_folder = root / FOLDER / "refused"

    def append(self, entry: RunEnded | Released) -> None:
        """Put an entry on disk; in a full queue the oldest makes room. Raises OSError."""
        self._write(self.folder, Waiting(entry))
        _keep_newest(self.folder)

    def waiting(self) -> list[Waiting]:
        """Return the entries in the order in which they happened."""
        return _read(self.folder)

    def refused(self) -> list[Waiting]:
        """Return the entries that were given up."""
        return _read(self.refused_folder)

    def remove(self, entry: RunEnded | Released) -> None:
        _path(self.folder, entry).unlink(missing_ok=True)

    def put_off(self, waiting: Waiting, problem: str) -> None:
        """Keep an entry for another attempt, or give it up after too many, so that it never holds up the others."""
        tried = replace(waiting, attempts=waiting.attempts + 1, problem=problem)
        if tried.attempts < MAX_ATTEMPTS:
            self._write(self.folder, tried)
            return
        self._write(self.refused_folder, tried)
        _keep_newest(self.refused_folder)
        self.remove(tried.entry)

    def try_again(self) -> None:
        """Take what was given up into the queue again."""
        for given_up in self.refused():
            self._write(self.folder, Waiting(given_up.entry))
            _path(self.refused_folder, given_up.entry).unlink(missing_ok=True)

    def _write(self, folder: Path, waiting: Waiting) -> None:
        write_text(_path(folder, waiting.entry), json.dumps(asdict(waiting), indent=1) + "\n")
        sync(folder)


def announce(root: Path, entry: RunEnded | Released) -> None:
    """Append an entry; a disk that will not take it is logged. No run and no release ever fails for it."""
    try:
        Queue(root).append(entry)
    except OSError as error:
        logging.getLogger(__name__).warning("MLflow will not be told of %s: %s", entry.id, error)


def _path(folder: Path, entry: RunEnded | Released) -> Path:
    return folder / f"{entry.id}.json"


def _names(folder: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return [name for name in os.listdir(folder) if name.endswith(".json") and not name.startswith(".")]
    return []


def _keep_newest(folder: Path) -> None:
    names = _names(folder)
    if len(names) <= MAX_ENTRIES:
        return
    paths = [folder / name for name in names]
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))[: len(paths) - MAX_ENTRIES]:
        logging.getLogger(__name__).warning("%s is full: MLflow will not be told of %s", folder, path.stem)
        path.unlink(missing_ok=True)


def _read(folder: Path) -> list[Waiting]:
    entries = []
    for name in _names(folder):
        try:
            entries.append(adapter(Waiting).validate_json((folder / name).read_bytes()))
        except FileNotFoundError:
            continue  # another process has just taken it
        except ValueError as error:
            logging.getLogger(__name__).warning("%s is no entry and is left alone: %s", folder / name, error)
    return sorted(entries, key=lambda waiting: (waiting.entry.time, waiting.entry.id))
