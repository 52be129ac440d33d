"""Pictures that were predicted, kept by date under their SHA-256, which the prediction log has in their place.

    var/collected/<model>/<YYYY-MM-DD>/<sha256>.png|jpg

They hold pixels and nothing else: they were decoded and written anew before. What was said of one stands in the
prediction log, in the column `input.image_bytes`, what is true of it in the database.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from common.records.files import replacing

FOLDER = "collected"
PNG = b"\x89PNG"


@dataclass(frozen=True)
class KeptImage:
    """A picture on disk, and the day on which it came."""

    day: date
    path: Path

    @property
    def sha256(self) -> str:
        return self.path.stem


def keep(base: Path, day: date, sha256: str, data: bytes) -> None:
    """Write a picture, unless it is there. Raises OSError."""
    path = base / day.isoformat() / f"{sha256}{'.png' if data.startswith(PNG) else '.jpg'}"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def images(base: Path) -> Iterator[KeptImage]:
    """Yield a model's pictures, those of the newest day first, of one day by name; each once."""
    seen: set[str] = set()
    for day, folder in _days(base):
        for path in sorted(folder.glob("[!.]*")):
            if path.stem not in seen:
                seen.add(path.stem)
                yield KeptImage(day, path)


def find(base: Path, sha256: str) -> Iterator[KeptImage]:
    """Yield a picture by its hash, on each day on which it came; nothing if it is not kept, or this is no hash."""
    if len(sha256) == 64 and set(sha256) <= set("0123456789abcdef"):
        for day, folder in _days(base):
            for path in folder.glob(f"{sha256}.*"):
                yield KeptImage(day, path)


def remove(base: Path, hashes: Collection[str]) -> int:
    """Remove pictures by their hashes, on whichever day they came; return how many of them there were."""
    removed = set()
    for _day, folder in _days(base):
        for path in folder.glob("[!.]*"):
            if path.stem in hashes:
                path.unlink(missing_ok=True)
                removed.add(path.stem)
    return len(removed)


def remove_before(root: Path, today: date, retention_days: int) -> None:
    """Remove all models' days that are too old, as the prediction log's are."""
    for base in root.iterdir() if root.is_dir() else ():
        for day, folder in _days(base):
            if day < today - timedelta(days=retention_days):
                shutil.rmtree(folder, ignore_errors=True)


def _days(base: Path) -> list[tuple[date, Path]]:
    """Return the folders of days, newest first."""
    days = []
    with suppress(FileNotFoundError, NotADirectoryError):
        for child in base.iterdir():
            with suppress(ValueError):
                days.append((date.fromisoformat(child.name), child))
    return sorted(days, reverse=True)
