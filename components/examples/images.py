"""Read a folder of pictures for each class: upright RGB bytes, the label, and what the data gate asks of a picture.

All files are looked at once: what cannot be read is set aside, and what belongs together is found. Then they are read
again, in blocks of some megabytes. Between lies a kilobyte a picture, so that memory does not grow with their pixels.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from common.errors import DataError
from common.images import MAX_BYTES, ImageProblem, plain_bytes, read_header, statistics, thumbnail, upright
from components.examples.blocks import Block, ReadRequest
from components.examples.near_duplicates import Look, together
from components.examples.seen import Alike, Seen, Skipped
from config.data_settings import (
    IMAGE_BYTES,
    IMAGE_GROUP,
    IMAGE_HASH,
    IMAGE_HEADER,
    IMAGE_HISTOGRAM,
    IMAGE_NEAR,
    IMAGE_PATH,
    IMAGE_STATISTICS,
)

BLOCK_ROWS, BLOCK_BYTES = 256, 2**24
THREADS = 4
LOOKED_AT = 128  # width and height that statistics are taken of
LARGE_SHARE, LARGE_LEAST = 0.01, 5  # a group of so many pictures is no accident, and is not kept together
LISTED, SHOWN, SHOWN_OF_EACH = 100, 12, 4


@dataclass(frozen=True)
class _Looked:
    """What one pass keeps of a picture."""

    digest: str
    numbers: NDArray[np.float32]  # of IMAGE_STATISTICS, then IMAGE_HEADER
    histogram: NDArray[np.float32]
    look: Look


@dataclass(frozen=True)
class _Index:
    files: list[str]  # below the folder
    looked: list[_Looked]
    near: list[str]
    seen: Seen


def listed(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each file below a folder, hidden ones apart, in a fixed order: its path with slashes, and its state."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            if not name.startswith(".") and path.is_file():
                yield path.relative_to(folder).as_posix(), path.stat()


def listing_digest(folder: Path) -> str:
    """Return a digest of the files' names, sizes and times: whether anything has changed, without reading them."""
    hashed = hashlib.sha256()
    for path, state in listed(folder):
        hashed.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return hashed.hexdigest()


def class_of(path: str, request: ReadRequest) -> str | None:
    """Return the class of a file: that of the innermost folder above it which is called as a class."""
    for name in reversed(path.split("/")[:-1]):
        label = request.label_map.get(name, name)
        if label in request.classes:
            return label
    return None


class ImageSource:
    """A folder with a folder for each class, at any depth."""

    def __init__(self, folder: Path, request: ReadRequest) -> None:
        self._folder, self._request = folder, request
        if not folder.is_dir():
            raise DataError("there is no folder of pictures", got=folder, fix="correct data.source")

    def blocks(self) -> Iterator[Block]:
        """Read all pictures but those that were set aside."""
        index, first = self._index, 0
        while first < len(index.files):
            contents: list[bytes] = []
            size = 0
            for path in index.files[first : first + BLOCK_ROWS]:
                contents.append(plain_bytes(_read(self._folder / path)))
                size += len(contents[-1])
                if size > BLOCK_BYTES:
                    break
            yield Block(self._batch(first, contents), self._folder, first)
            first += len(contents)

    def places(self, file: Path, rows: Sequence[int]) -> list[str]:
        """Return the paths of rows."""
        return [str(file / self._index.files[row]) for row in rows]

    def independent_count(self) -> int | None:
        """Return how many files there are, those set aside not counted."""
        seen = self.seen
        return seen.files - seen.skipped_files - sum(seen.outside.values())

    @property
    def seen(self) -> Seen:
        return self._index.seen

    def _batch(self, first: int, contents: Sequence[bytes]) -> pa.RecordBatch:
        index, rows = self._index, slice(first, first + len(contents))
        looked, files = index.looked[rows], index.files[rows]
        numbers = np.stack([each.numbers for each in looked])
        histograms = np.stack([each.histogram for each in looked])
        offsets = np.arange(len(looked) + 1, dtype=np.int32) * histograms.shape[1]
        columns: dict[str, Any] = {
            IMAGE_BYTES: pa.array(contents, pa.binary()),
            self._request.label: pa.array([class_of(path, self._request) for path in files], pa.string()),
            IMAGE_PATH: pa.array(files, pa.string()),
            IMAGE_HASH: pa.array([each.digest for each in looked], pa.string()),
            IMAGE_NEAR: pa.array(index.near[rows], pa.string()),
            IMAGE_GROUP: pa.array([self._group(path) or path for path in files], pa.string()),
            IMAGE_HISTOGRAM: pa.ListArray.from_arrays(pa.array(offsets), pa.array(histograms.reshape(-1))),
        }
        names = (*IMAGE_STATISTICS, *IMAGE_HEADER)
        columns |= {name: pa.array(numbers[:, i]) for i, name in enumerate(names)}
        return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))

    def _group(self, path: str) -> str:
        """Return what the pattern finds in a path, nothing if it is not there."""
        found = re.search(self._request.images.group, path) if self._request.images.group else None
        return found[1] or "" if found else ""

    @cached_property
    def _index(self) -> _Index:
        """Look at every picture once. Raises DataError where one cannot be read and none may be set aside."""
        paths = [path for path, _ in listed(self._folder)]
        inside = [path for path in paths if class_of(path, self._request) is not None]
        if not inside:
            raise DataError(
                "no folder of pictures is called as a class",
                got=", ".join(sorted({path.split("/")[0] for path in paths})[:10]) or f"no file in {self._folder}",
                wanted=f"a folder for each of {', '.join(self._request.classes)}",
                fix="correct data.classes, or say by data.label_map which class a folder is",
            )
        files, looked, skipped = [], [], []
        for path, result in zip(inside, self._look_at_all(inside), strict=True):
            if isinstance(result, _Looked):
                files.append(path)
                looked.append(result)
            else:
                skipped.append(Skipped(path, result.kind, result.what))
        if skipped and self._request.images.bad_files == "refuse":
            raise DataError(
                f"{len(skipped)} of {len(inside)} files cannot be read as pictures",
                got="; ".join(f"{each.path}: {each.sentence}" for each in skipped[:5]),
                fix="mend or remove them, or set image.bad_files: skip",
            )
        near, alike, large = self._together(files, looked)
        outside = Counter(path.rpartition("/")[0] or "." for path in set(paths) - set(inside))
        seen = Seen(
            len(paths),
            tuple(skipped[:LISTED]),
            len(skipped),
            dict(outside.most_common()),
            tuple(self._shown(files, members) for members in alike[:SHOWN]),
            sum(map(len, alike)),
            large,
        )
        return _Index(files, looked, near, seen)

    def _look_at_all(self, paths: Sequence[str]) -> Iterator[_Looked | ImageProblem]:
        with ThreadPoolExecutor(THREADS, thread_name_prefix="pictures") as threads:
            rest = iter(paths)
            while some := list(islice(rest, 16 * THREADS)):
                yield from threads.map(lambda path: _look_at(self._folder / path), some)

    def _together(
        self, files: Sequence[str], looked: Sequence[_Looked]
    ) -> tuple[list[str], list[NDArray[np.int64]], int]:
        """Return what each picture is dealt by, the groups of near duplicates, and the size of one too large."""
        looks, digests = [each.look for each in looked], np.array([each.digest for each in looked])
        alike = groups(together(looks, digests.tolist()))
        most = max(LARGE_SHARE * len(files), LARGE_LEAST)
        # what is too large to be an accident is dealt one by one: it would make a split of its own
        large = {int(i) for members in alike if len(members) > most for i in members}
        dealt = np.array([i for i in range(len(files)) if i not in large], np.int64)
        roots = together([looks[i] for i in dealt], [self._group(files[i]) for i in dealt])
        near = digests.copy()
        for members in groups(roots):  # by the oldest: what is collected later must move no picture to another split
            places = dealt[members]
            near[places] = digests[min(places, key=lambda place: (_span(files[place]), digests[place]))]
        return near.tolist(), alike, len(alike[0]) if large else 0

    def _shown(self, files: Sequence[str], members: NDArray[np.int64]) -> Alike:
        paths = tuple(files[i] for i in members[:LISTED])
        pictures = [thumbnail(_read(self._folder / path), 64) for path in paths[:SHOWN_OF_EACH]]
        return Alike(len(members), paths, tuple(base64.b64encode(picture).decode() for picture in pictures))


def groups(roots: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the members of each group of several, the largest first."""
    order = np.argsort(roots, kind="stable")
    _, starts = np.unique(roots[order], return_index=True)
    return sorted((part for part in np.split(order, starts[1:]) if len(part) > 1), key=len, reverse=True)


def _span(path: str) -> int:
    """Return with which collection a picture came, 0 for those that were there before."""
    collected = re.match(r"collected-(\d+)/", path)
    return int(collected[1]) if collected else 0


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _look_at(path: Path) -> _Looked | ImageProblem:
    try:
        data = _read(path)
        header, image = read_header(data), upright(data)
    except ImageProblem as problem:
        return problem
    except OSError as error:
        return ImageProblem("BROKEN", f"the file cannot be read: {error.strerror}")
    look = Look.of(image)
    image.thumbnail((LOOKED_AT, LOOKED_AT), reducing_gap=2.0)
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).mean(axis=0)
    width, height = header.width, header.height
    of_header = (width, height, width / height, len(data), float(header.has_exif), *border)
    numbers = np.array([*statistics(image).values(), *of_header], np.float32)
    return _Looked(hashlib.sha256(data).hexdigest(), numbers, colour_histogram(pixels), look)


def colour_histogram(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the share of each of 64 colours, four steps of red, green and blue."""
    steps = pixels.reshape(-1, 3) >> 6
    colours = np.bincount(steps[:, 0] * 16 + steps[:, 1] * 4 + steps[:, 2], minlength=64)
    return (colours / len(steps)).astype(np.float32)
