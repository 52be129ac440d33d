"""Spans of examples on disk, as `data.source` names them: a folder a span, whole or not there.

    data/name/span-{SPAN}/*.csv

A span that somebody's rows were taken out of on request is another version of it, which its summary says. One of which
no model came is withdrawn: the next does not build on it, and its number is not given again.

A new span has every file of the one before, byte for byte, and one more with the rows that were collected, for a run
reads the newest span alone. Names that begin with `_` are no examples:

    _provenance.parquet   where each collected row of this span and of those before comes from
    _set_aside.parquet    rows that were not taken, and why
    _span.json            what was done, with the SHA-256 of each file
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from common.errors import ConfigError, DataError
from common.files import disk_problems, locked, sync
from common.records.spans import SUMMARY

INCOMING, REPLACED, WITHDRAWN = ".incoming-span-", ".replaced-span-", ".withdrawn-span-"
_SPAN = re.compile(r"\{SPAN(?::(\d+))?\}")
_OTHERS = re.compile(r"\{(?:VERSION(?::\d+)?|YYYY|MM|DD)\}")


@dataclass(frozen=True)
class Spans:
    """Where a model's spans lie. `folder_pattern` is the span's folder with its placeholder, `files` a wildcard."""

    parent: Path
    folder_pattern: str
    files: str

    @staticmethod
    def of(source: Path | str) -> Spans:
        """Understand `data.source`. Raises ConfigError unless each span is a folder of its own on this machine."""
        place = Path(os.path.normpath(source))  # for people to read; a link stays a link
        folder = place.parent
        is_plain = isinstance(source, Path) and len(_SPAN.findall(str(place))) == 1 and not _OTHERS.search(str(place))
        if not (is_plain and _SPAN.search(folder.name) and any(letter in place.name for letter in "*?")):
            raise ConfigError(
                "data.source does not name a folder of files for each span",
                got=place,
                wanted="such as ../../data/NAME/span-{SPAN}/*.csv",
                fix="put the file you have into span-1, and change data.source",
            )
        return Spans(folder.parent, folder.name, place.name)

    def numbers(self) -> list[int]:
        """Return the spans that there are, in rising order."""
        before, after = (re.escape(part) for part in _SPAN.split(self.folder_pattern)[::2])
        pattern = re.compile(f"{before}(\\d+){after}")
        children = self.parent.iterdir() if self.parent.is_dir() else ()
        matches = (pattern.fullmatch(child.name) for child in children if child.is_dir())
        return sorted(int(match[1]) for match in matches if match)

    def newest(self) -> int:
        """Raises DataError if there is none."""
        if not (numbers := self.numbers()):
            raise DataError(
                f"there is no span under {self.parent}",
                wanted=self.folder_pattern.replace("{SPAN}", "1"),
                fix="put the examples there; what is collected is added to them",
            )
        return numbers[-1]

    def folder(self, number: int) -> Path:
        placeholder = _SPAN.search(self.folder_pattern)
        assert placeholder
        width = int(placeholder[1] or 0)
        return self.parent / _SPAN.sub(str(number).zfill(width), self.folder_pattern)

    def examples(self, number: int) -> list[Path]:
        """Return a span's files of examples, by name."""
        files = (path for path in self.folder(number).iterdir() if path.is_file())
        return sorted(path for path in files if fnmatch(path.name, self.files) and path.name[0] not in "._")

    def following(self) -> int:
        """Return the number of the next span. Raises DataError if there is none to build on."""
        return max([self.newest(), *self.withdrawn()]) + 1

    def was_collected(self, number: int) -> bool:
        """Return whether `collect` made a span, and nobody put it there by hand."""
        return (self.folder(number) / SUMMARY).is_file()

    def withdrawn(self) -> dict[int, Path]:
        """Return the folders of the spans that were withdrawn, by number."""
        folders = self.parent.glob(f"{WITHDRAWN}*") if self.parent.is_dir() else ()
        return {int(folder.name.removeprefix(WITHDRAWN)): folder for folder in folders}

    def withdraw(self, number: int) -> None:
        """Put a span out of sight, if it is the newest; nothing is lost, for the log still has its rows."""
        with self.adding():
            if len(numbers := self.numbers()) > 1 and numbers[-1] == number:
                os.rename(self.folder(number), self.parent / f"{WITHDRAWN}{number}")
                sync(self.parent)

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Keep out who else would add a span. Raises EnvironmentProblem."""
        with locked(self.parent / ".collect_lock", f"another process adds a span to {self.parent}"):
            self._clear_up()
            yield

    def _clear_up(self) -> None:
        """Undo what a process that was killed had begun."""
        for leftover in self.parent.glob(f"{INCOMING}*"):
            shutil.rmtree(leftover)
        for replaced in self.parent.glob(f"{REPLACED}*"):
            folder = self.folder(int(replaced.name.removeprefix(REPLACED)))
            if folder.exists():
                shutil.rmtree(replaced)
            else:
                os.rename(replaced, folder)

    def rewrite(self, number: int, change: Callable[[Path], int]) -> None:
        """Put another version of a span in its place; `change` takes rows out of a copy and says how many.

        DVC's pointers are left out: they would name what is gone. Raises EnvironmentProblem.
        """
        folder, replaced = self.folder(number), self.parent / f"{REPLACED}{number}"
        with disk_problems(f"{folder} cannot be rewritten", "make room, or let this user write there, and do it again"):
            staged = Path(tempfile.mkdtemp(prefix=f"{INCOMING}{number}-", dir=self.parent))
            try:
                for path in (path for path in folder.iterdir() if path.suffix != ".dvc"):
                    shutil.copy2(path, staged)
                rows = change(staged)
                facts = json.loads((staged / SUMMARY).read_text(encoding="utf-8"))
                (staged / SUMMARY).unlink()
                version = facts.get("version", 1) + 1
                _describe(staged, {**facts, "version": version, "forgotten": facts.get("forgotten", 0) + rows})
                os.rename(folder, replaced)
                os.rename(staged, folder)
                sync(self.parent)
                shutil.rmtree(replaced)
            finally:
                shutil.rmtree(staged, ignore_errors=True)

    def add(self, fill: Callable[[Path], Mapping[str, Any]]) -> Path:
        """Add the next span with the files of the newest; `fill` writes what is new and returns the summary.

        It appears by a rename, so that no run sees half of it. Raises EnvironmentProblem.
        """
        newest, number = self.newest(), self.following()
        folder = self.folder(number)
        with disk_problems(
            f"{folder} cannot be written", "make room, or let this user write there; nothing was changed"
        ):
            staged = Path(tempfile.mkdtemp(prefix=f"{INCOMING}{number}-", dir=self.parent))
            try:
                for path in self.examples(newest):
                    shutil.copy2(path, staged)
                facts = fill(staged)
                _describe(staged, {"span": number, "version": 1, "before": newest, **facts})
                os.rename(staged, folder)
                sync(self.parent)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
        return folder


def _describe(staged: Path, facts: Mapping[str, Any]) -> None:
    """Write a span's summary, and have the disk hold all of it."""
    sums = {path.name: sha256(path) for path in sorted(staged.iterdir())}
    (staged / SUMMARY).write_text(json.dumps({**facts, "sha256": sums}, indent=2) + "\n", encoding="utf-8")
    staged.chmod(0o755)  # what mkdtemp makes is for its maker alone
    sync(*staged.iterdir(), staged)


def sha256(path: Path) -> str:
    return _digest(path, hashlib.sha256())


def md5(path: Path) -> str:
    """Return what DVC knows a file by. It is no protection: that is the SHA-256 in the summary."""
    return _digest(path, hashlib.md5(usedforsecurity=False))


def _digest(path: Path, hashed: Any) -> str:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hashed.update(block)
    return str(hashed.hexdigest())


def write_dvc_pointers(folder: Path) -> list[Path]:
    """Write beside each file of a span what DVC knows it by; return the pointers."""
    pointers = []
    for path in sorted(path for path in folder.iterdir() if path.suffix != ".dvc"):
        pointer = path.with_name(f"{path.name}.dvc")
        text = f"outs:\n- md5: {md5(path)}\n  size: {path.stat().st_size}\n  hash: md5\n  path: {path.name}\n"
        pointer.write_text(text, encoding="utf-8")
        pointers.append(pointer)
    return pointers
