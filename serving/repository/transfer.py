"""Bring a pushed version into another folder: copied under a hidden name, compared with its manifest, renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from common.errors import DataError, GateRefused
from common.files import disk_problems, sync
from serving.repository.layout import versions
from serving.repository.manifest import Manifest, problems

STAGING = ".incoming-"  # no number, so no model server takes it for a version


def copy_version(base: Path, to: Path, version: int | None = None) -> tuple[int, bool]:
    """Copy a version, by default the newest, from one model's folder to another's; return it, and whether it is new.

    Raises DataError if there is no such version, or another one of that number at the other end; GateRefused if it is
    not whole here or did not arrive whole; EnvironmentProblem if it cannot be written.
    """
    available = versions(base)
    version = version or max(available, default=None)
    if version not in available:
        raise DataError(f"there is no version {version or ''} of {base.name} in {base.parent}", wanted=str(available))
    source = base / str(version)
    check_whole(source)
    is_new = add_version(to / str(version), lambda staged: shutil.copytree(source, staged, dirs_exist_ok=True))
    if Manifest.read(to / str(version)).checksums != Manifest.read(source).checksums:
        raise DataError(f"{to / str(version)} is another version of that number", fix="remove it, or push a newer one")
    return version, is_new


def add_version(folder: Path, fill: Callable[[Path], object]) -> bool:
    """Have `fill` write a version's files into a hidden folder and rename it once it is whole; false if it was there.

    Raises GateRefused if what was written is not whole, EnvironmentProblem if it cannot be written.
    """
    if folder.is_dir():
        return False
    with disk_problems(f"{folder} cannot be written", "nothing was changed; make room, or let this user write there"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f"{STAGING}{folder.name}-", dir=folder.parent))
        try:
            fill(staged)
            staged.chmod(0o755)  # what mkdtemp makes is for its maker alone; a server is another user
            check_whole(staged)
            sync(*staged.rglob("*"), staged)
            os.rename(staged, folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return True


def remove_version(folder: Path) -> None:
    """Remove a version, which vanishes at once: no server sees half of it. Raises EnvironmentProblem."""
    gone = folder.with_name(f"{STAGING}removed-{folder.name}")
    with disk_problems(f"{folder} cannot be removed", "let this user write there"):
        os.rename(folder, gone)
        shutil.rmtree(gone)


def check_whole(folder: Path) -> None:
    """Raise GateRefused if a version's files are not those of its manifest."""
    if wrong := problems(folder):
        raise GateRefused(f"{folder} is not what was vouched for", got="; ".join(wrong[:3]), fix="push the model again")
