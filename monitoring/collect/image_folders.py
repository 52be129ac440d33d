"""Kept pictures as folders, to be sorted in a file manager, and labels from folders that were sorted."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError, DataError
from common.files import disk_problems
from monitoring.collect.kept_images import KeptImages

UNSORTED, DISPUTED, BAD = "unsorted", "disputed", "bad_picture"
LARGEST_BYTES = 32 << 20


@dataclass(frozen=True)
class Taken:
    """How many files gave a label that is news, how many one that was known, and how many are none of the kept ones."""

    told: int
    same: int
    unknown: int


def export_folders(kept: KeptImages, out: Path) -> int:
    """Copy the pictures to a folder for each class, `unsorted`, `disputed` and `bad_picture`; return how many.

    Raises ConfigError, DataError if there is something in `out`, EnvironmentProblem.
    """
    classes = _classes(kept)
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out} is not empty", fix="name a new folder; --import reads the one that was sorted")
    with disk_problems(f"{out} cannot be written", "make room, or name another folder"):
        for name in (*classes, UNSORTED):
            (out / name).mkdir(parents=True, exist_ok=True)
        for sha256, image in kept.images.items():
            agreement = kept.agreement(sha256)
            name = UNSORTED if agreement is None else DISPUTED if agreement.is_disputed else agreement.label or BAD
            (out / name).mkdir(exist_ok=True)
            shutil.copy2(image.path, out / name)
    return len(kept.images)


def import_folders(kept: KeptImages, folder: Path) -> Taken:
    """Take the name of each picture's folder for its label. A picture is known by its bytes, whatever it is called.

    What lies in `unsorted` or `disputed` says nothing. Raises ConfigError, and DataError for a folder that is no class.
    """
    classes = _classes(kept)
    strange = [
        child.name
        for child in sorted(folder.iterdir())
        if child.is_dir() and child.name not in (*classes, UNSORTED, DISPUTED, BAD) and child.name[0] != "."
    ]
    if strange:
        raise DataError(
            f"{folder} has folders that are called as no class",
            got=", ".join(strange[:5]),
            wanted=f"{', '.join(classes)}, {UNSORTED}, {DISPUTED} or {BAD}",
            fix="rename them; nothing was taken",
        )
    told = same = unknown = 0
    for name in (*classes, BAD):
        for path in sorted((folder / name).glob("[!.]*")):
            sha256 = _sha256(path)
            if sha256 not in kept.images:
                unknown += 1
            elif kept.tell(sha256, None if name == BAD else name):
                told += 1
            else:
                same += 1
    return Taken(told, same, unknown)


def _classes(kept: KeptImages) -> tuple[str, ...]:
    classes = kept.settings.data.classes
    odd = [name for name in classes if name in (UNSORTED, DISPUTED, BAD) or name[0] == "." or "/" in name]
    if odd:
        raise ConfigError("a class cannot be a folder here", got=odd[0], fix="label on the page instead")
    return classes


def _sha256(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()
