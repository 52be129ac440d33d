"""Read a folder of pictures for each class: upright RGB bytes, the label, and what the data gate asks of a picture.

All files are looked at once: what cannot be read is set aside, and what belongs together is found. Then they are read
again, in blocks of some megabytes. Between lie 400 bytes a picture, so that memory does not grow with their pixels.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from common.errors import DataError
from common.images import MAX_BYTES, ImageProblem, read_picture, statistics, thumbnail, upright
from components.examples.blocks import Block, ReadRequest
from components.examples.near_duplicates import LOOK, Indices, look_of, together
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


LOOKED = np.dtype([("digest", "S64"), ("look", LOOK)])  # what the first pass keeps of a picture
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Index:
    """What the first pass found of `[pictures]`. `near`: the picture by whose digest each is dealt."""

    files: list[str]  # below the folder
    digests: NDArray[np.bytes_]
    near: Indices
    seen: Seen


@dataclass(frozen=True)
class _Picture:
    """What the second pass reads of a picture."""

    content: bytes
    numbers: NDArray[np.float32]  # of IMAGE_STATISTICS, then IMAGE_HEADER
    histogram: NDArray[np.float32]


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
        first, size = 0, 0
        pictures: list[_Picture] = []
        for picture in self._each(_described, self._index.files):
            pictures.append(picture)
            size += len(picture.content)
            if size > BLOCK_BYTES or len(pictures) == BLOCK_ROWS:
                yield Block(self._batch(first, pictures), self._folder, first)
                first, size, pictures = first + len(pictures), 0, []
        if pictures:
            yield Block(self._batch(first, pictures), self._folder, first)

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

    def _batch(self, first: int, pictures: Sequence[_Picture]) -> pa.RecordBatch:
        index, rows = self._index, slice(first, first + len(pictures))
        files = index.files[rows]
        numbers = np.stack([each.numbers for each in pictures])
        histograms = np.stack([each.histogram for each in pictures])
        offsets = np.arange(len(pictures) + 1, dtype=np.int32) * histograms.shape[1]
        columns: dict[str, Any] = {
            IMAGE_BYTES: pa.array([each.content for each in pictures], pa.binary()),
            self._request.label: pa.array([class_of(path, self._request) for path in files], pa.string()),
            IMAGE_PATH: pa.array(files, pa.string()),
            IMAGE_HASH: pa.array(index.digests[rows].astype(str)),
            IMAGE_NEAR: pa.array(index.digests[index.near[rows]].astype(str)),
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
        inside, outside = [], Counter[str]()
        for path, _ in listed(self._folder):
            if class_of(path, self._request) is None:
                outside[path.rpartition("/")[0] or "."] += 1
            else:
                inside.append(path)
        if not inside:
            raise DataError(
                "no folder of pictures is called as a class",
                got=", ".join(sorted({path.split("/")[0] for path in outside})[:10]) or f"no file in {self._folder}",
                wanted=f"a folder for each of {', '.join(self._request.classes)}",
                fix="correct data.classes, or say by data.label_map which class a folder is",
            )
        files: list[str] = []
        skipped: list[Skipped] = []
        looked = np.zeros(len(inside), LOOKED)
        for path, result in zip(inside, self._each(_look_at, inside), strict=True):
            if isinstance(result, ImageProblem):
                skipped.append(Skipped(path, result.kind, result.what))
            else:
                looked[len(files)] = result
                files.append(path)
        if skipped and self._request.images.bad_files == "refuse":
            raise DataError(
                f"{len(skipped)} of {len(inside)} files cannot be read as pictures",
                got="; ".join(f"{each.path}: {each.sentence}" for each in skipped[:5]),
                fix="mend or remove them, or set image.bad_files: skip",
            )
        looked = looked[: len(files)]
        near, alike, large = self._together(files, looked)
        seen = Seen(
            len(inside) + outside.total(),
            tuple(skipped[:LISTED]),
            len(skipped),
            dict(outside.most_common()),
            tuple(self._shown(files, members) for members in alike[:SHOWN]),
            sum(map(len, alike)),
            large,
        )
        return _Index(files, looked["digest"].copy(), near, seen)

    def _each(self, read: Callable[[Path], Result], paths: Sequence[str]) -> Iterator[Result]:
        """Read files in their order, a few at a time."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="pictures") as threads:
            rest = iter(paths)
            while some := list(islice(rest, 4 * THREADS)):
                yield from threads.map(lambda path: read(self._folder / path), some)

    def _together(self, files: Sequence[str], looked: NDArray[np.void]) -> tuple[Indices, list[Indices], int]:
        """Return by which picture each is dealt, the groups of near duplicates, and the size of one too large."""
        looks, digests = looked["look"], looked["digest"]
        first = np.unique(digests, return_inverse=True)[1]
        alike = groups(together(looks, first))
        most = max(LARGE_SHARE * len(files), LARGE_LEAST)
        # what is too large to be an accident is dealt one by one: it would make a split of its own
        large = [members for members in alike if len(members) > most]
        near = np.arange(len(files))
        dealt = np.delete(near, np.concatenate(large)) if large else near
        by_name = {"": -1}
        named = np.array([by_name.setdefault(self._group(files[i]), len(by_name)) for i in dealt], np.int64)
        for members in groups(together(looks[dealt] if large else looks, named)):  # no copy of all
            places = dealt[members]  # by the oldest: what is collected later must move no picture to another split
            near[places] = min(places, key=lambda place: (_span(files[place]), digests[place]))
        return near, alike, len(alike[0]) if large else 0

    def _shown(self, files: Sequence[str], members: Indices) -> Alike:
        paths = tuple(files[i] for i in members[:LISTED])
        pictures = [thumbnail(_read(self._folder / path), 64) for path in paths[:SHOWN_OF_EACH]]
        return Alike(len(members), paths, tuple(base64.b64encode(picture).decode() for picture in pictures))


def groups(numbers: Indices) -> list[Indices]:
    """Return the members of each group of several, the largest first."""
    order = np.argsort(numbers, kind="stable")
    _, starts = np.unique(numbers[order], return_index=True)
    return sorted((part for part in np.split(order, starts[1:]) if len(part) > 1), key=len, reverse=True)


def _span(path: str) -> int:
    """Return with which collection a picture came, 0 for those that were there before."""
    collected = re.match(r"collected-(\d+)/", path)
    return int(collected[1]) if collected else 0


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _look_at(path: Path) -> tuple[str, Any] | ImageProblem:
    """Return the values of what is kept, LOOKED."""
    try:
        data = _read(path)
        return hashlib.sha256(data).hexdigest(), look_of(upright(data))
    except ImageProblem as problem:
        return problem
    except OSError as error:
        return ImageProblem("BROKEN", f"the file cannot be read: {error.strerror}")


def _described(path: Path) -> _Picture:
    """Read a picture again. Raises ImageProblem where it can no longer be read."""
    data = _read(path)
    header, image, content = read_picture(data)
    image.thumbnail((LOOKED_AT, LOOKED_AT), reducing_gap=2.0)
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).mean(axis=0)
    width, height = header.width, header.height
    of_header = (width, height, width / height, len(data), float(header.has_exif), *border)
    numbers = np.array([*statistics(image).values(), *of_header], np.float32)
    return _Picture(content, numbers, colour_histogram(pixels))


def colour_histogram(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the share of each of 64 colours, four steps of red, green and blue."""
    steps = pixels.reshape(-1, 3) >> 6
    colours = np.bincount(steps[:, 0] * 16 + steps[:, 1] * 4 + steps[:, 2], minlength=64)
    return (colours / len(steps)).astype(np.float32)
