"""Spans of examples brought to a folder elsewhere and back: on this machine, on a share, or in an object store.

    files/md5/0a/1b2c…           a file by its MD5, as DVC lays out a remote: `dvc pull` reads it, too
    spans/<model>/<span>/*.dvc   DVC's pointers, by which a machine without any span finds them all

What is there is never written again, so a push that was ended in between goes on where it was.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem

from common.errors import ConfigError, DataError, EnvironmentProblem
from common.files import sync
from common.records.spans import SUMMARY
from monitoring.collect.spans import INCOMING, REPLACED, Spans, md5, sha256, write_dvc_pointers

SUFFIX = ".dvc"
_MD5 = re.compile(r"^- md5: ([0-9a-f]{32})$", re.MULTILINE)


@dataclass(frozen=True)
class Moved:
    """What a push or a pull did: files by span, and how many there are no longer since their rows were forgotten."""

    spans: dict[int, int]
    removed: int = 0


@dataclass(frozen=True)
class Remote:
    """The place of one model's spans."""

    files: FileSystem
    root: str
    model: str

    @staticmethod
    def of(place: str, model: str) -> Remote:
        """Understand a path, or an address such as `s3://bucket/folder`. Raises ConfigError."""
        try:
            files, root = FileSystem.from_uri(place) if "://" in place else (LocalFileSystem(), os.path.abspath(place))
        except (pa.ArrowException, OSError, ValueError) as error:
            wanted = "a path, or such as s3://bucket/folder or gs://bucket/folder"
            raise ConfigError("this is no place for spans", got=f"{place}: {error}", wanted=wanted) from None
        return Remote(files, root.rstrip("/"), model)

    def push(self, spans: Spans) -> Moved:
        """Bring all spans there; what only spans of before a deletion request had is removed.

        Raises EnvironmentProblem.
        """
        moved: dict[int, int] = {}
        with self._problems(), spans.adding():
            before = {digest for span in self.spans() for digest in self._pointers(span).values()}
            for number in spans.numbers():
                folder = spans.folder(number)
                pointers = {path.name: path for path in write_dvc_pointers(folder)}
                for name, pointer in pointers.items():
                    digest = _digest(pointer.read_text(encoding="utf-8"), name)
                    if not self._has(self._content(digest)):
                        self._write(folder / name.removesuffix(SUFFIX), self._content(digest))
                        moved[number] = moved.get(number, 0) + 1
                self._put_pointers(number, pointers)
            now = set(self._all_digests())
            for digest in before - now:
                self.files.delete_file(self._content(digest))
        return Moved(moved, len(before - now))

    def pull(self, spans: Spans) -> Moved:
        """Bring here the spans that are missing, or of which a later version is there. Raises DataError.

        A span that differs without being another version of the same is left, and told.
        """
        moved: dict[int, int] = {}
        with self._problems(), spans.adding():
            for number in self.spans():
                pointers = self._pointers(number)
                if self._is_wanted(spans, number, pointers):
                    self._fetch(spans, number, pointers)
                    moved[number] = len(pointers)
        return Moved(moved)

    def spans(self) -> list[int]:
        """Return the spans that are there."""
        names = [PurePosixPath(info.path).name for info in self._listed(f"spans/{self.model}", FileType.Directory)]
        return sorted(int(name) for name in names if name.isdecimal())

    def _is_wanted(self, spans: Spans, number: int, pointers: Mapping[str, str]) -> bool:
        folder = spans.folder(number)
        if not folder.exists():
            return True
        here = {path.name: md5(path) for path in folder.iterdir() if path.suffix != SUFFIX}
        if here == pointers:
            return False
        there = json.loads(self._read(self._content(pointers[SUMMARY]))) if SUMMARY in pointers else {}
        ours = json.loads((folder / SUMMARY).read_text(encoding="utf-8")) if SUMMARY in here else {}
        if there.get("version", 1) == ours.get("version", 1):
            fix = "push them from one machine alone; move one of the two away"
            raise DataError(f"{folder} and the span {number} of the same version there differ", fix=fix)
        return bool(there.get("version", 1) > ours.get("version", 1))

    def _fetch(self, spans: Spans, number: int, pointers: Mapping[str, str]) -> None:
        """Bring a span here, whole or not at all; each file is what its pointer says."""
        spans.parent.mkdir(parents=True, exist_ok=True)
        folder, replaced = spans.folder(number), spans.parent / f"{REPLACED}{number}"
        staged = Path(tempfile.mkdtemp(prefix=f"{INCOMING}{number}-", dir=spans.parent))
        try:
            for name, digest in pointers.items():
                fetched = staged / name
                with self.files.open_input_stream(self._content(digest)) as source, fetched.open("wb") as target:
                    shutil.copyfileobj(source, target)
                if md5(fetched) != digest:
                    raise DataError(f"{name} of span {number} is damaged there", wanted=digest, fix="push it again")
            _check_sums(staged, number)
            write_dvc_pointers(staged)
            staged.chmod(0o755)
            sync(*staged.iterdir(), staged)
            if folder.exists():
                os.rename(folder, replaced)
            os.rename(staged, folder)
            sync(spans.parent)
            shutil.rmtree(replaced, ignore_errors=True)
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def _pointers(self, span: int) -> dict[str, str]:
        """Return a span's files there with their MD5."""
        infos = self._listed(f"spans/{self.model}/{span}", FileType.File)
        names = {PurePosixPath(info.path).name: info.path for info in infos if info.path.endswith(SUFFIX)}
        return {
            name.removesuffix(SUFFIX): _digest(self._read(path).decode(), path) for name, path in sorted(names.items())
        }

    def _put_pointers(self, span: int, pointers: Mapping[str, Path]) -> None:
        base = f"{self.root}/spans/{self.model}/{span}"
        for name, path in pointers.items():
            self._write(path, f"{base}/{name}")
        for info in self._listed(f"spans/{self.model}/{span}", FileType.File):
            if PurePosixPath(info.path).name not in pointers:
                self.files.delete_file(info.path)

    def _all_digests(self) -> Iterator[str]:
        """Yield what the pointers of all models there name."""
        selector = FileSelector(f"{self.root}/spans", recursive=True, allow_not_found=True)
        for info in self.files.get_file_info(selector):
            if info.path.endswith(SUFFIX):
                yield _digest(self._read(info.path).decode(), info.path)

    def _content(self, digest: str) -> str:
        return f"{self.root}/files/md5/{digest[:2]}/{digest[2:]}"

    def _has(self, path: str) -> bool:
        return bool(self.files.get_file_info(path).type == FileType.File)

    def _listed(self, folder: str, kind: FileType) -> list[FileInfo]:
        selector = FileSelector(f"{self.root}/{folder}", allow_not_found=True)
        return [info for info in self.files.get_file_info(selector) if info.type == kind]

    def _read(self, path: str) -> bytes:
        with self.files.open_input_stream(path) as source:
            return bytes(source.read())

    def _write(self, source: Path, path: str) -> None:
        """Write a file under another name first, so that what has its name is whole."""
        self.files.create_dir(str(PurePosixPath(path).parent), recursive=True)
        part = f"{path}.{secrets.token_hex(8)}.part"
        with source.open("rb") as reader, self.files.open_output_stream(part) as writer:
            shutil.copyfileobj(reader, writer)
        self.files.move(part, path)

    @contextmanager
    def _problems(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            fix = "see that it can be reached and written, then do it again: what is there already stays"
            raise EnvironmentProblem(f"spans cannot be moved from or to {self.root}", got=error, fix=fix) from error


def _digest(pointer: str, name: str) -> str:
    if not (match := _MD5.search(pointer)):
        raise DataError(f"{name} is no pointer of DVC", fix="delete it, and push again")
    return match[1]


def _check_sums(folder: Path, number: int) -> None:
    """Raise DataError unless a span's files are those that its summary names."""
    if (folder / SUMMARY).is_file():
        for name, digest in json.loads((folder / SUMMARY).read_text(encoding="utf-8")).get("sha256", {}).items():
            if not (folder / name).is_file() or sha256(folder / name) != digest:
                raise DataError(f"{name} of span {number} is not what its summary says", fix="push it again")
