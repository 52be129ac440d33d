"""Stage, verify, sync, rename: a version on disk is whole or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import DataError, GateRefused
from common.files import disk_problems, locked, sync, write_text
from serving.repository.layout import MANIFEST, MAX_VERSION, version_number, versions
from serving.repository.manifest import Manifest, checksums, digest, problems

STAGING = ".staging-"  # no number, so no model server takes it for a version
LAST = ".last_version"
STEPS = ("locked", "copied", "described", "verified", "numbered", "renamed")


@dataclass(frozen=True)
class Pushed:
    """The version that now holds the model; `is_new` is false if it was there already."""

    version: int
    folder: Path
    is_new: bool


def push(
    model: Path,
    base: Path,
    manifest: Manifest,
    extra: Mapping[str, str | bytes],
    reached: Callable[[str], None] = lambda step: None,
) -> Pushed:
    """Push a SavedModel as the next version under `base`.

    `manifest` comes without version, digest and checksums; `extra` are further files by relative name. `reached` is
    called after each of `STEPS`, for tests that kill the process there. What a killed push left behind is cleaned up
    by the next. A model that already is the newest version is not pushed twice, though it was trained twice.
    Raises EnvironmentProblem if another push is going on or the disk is in the way, GateRefused if the copy is damaged.
    """
    fix = "make room on the disk, or let this user write there, and run again; what is served is untouched"
    with (
        disk_problems(f"could not write the model to {base}", fix),
        locked(base / ".push_lock", f"another push to {base} is going on"),
    ):
        reached("locked")
        for leftover in base.glob(f"{STAGING}*"):
            shutil.rmtree(leftover)
        files = digest(checksums(model))
        newest = _newest(base)
        is_same = newest and (newest.digest == files or newest.identity == manifest.identity != "")
        if newest and is_same and is_newest(base, newest.version):
            return Pushed(newest.version, base / str(newest.version), is_new=False)
        version = max([_last_version(base), *versions(base)]) + 1
        if version > MAX_VERSION:
            largest = base / str(MAX_VERSION)
            raise DataError(f"{base} has no version number left", got=largest, fix="remove that folder")
        staged = base / f"{STAGING}{version}"
        try:
            _stage(model, staged, replace(manifest, version=version, digest=files), extra, reached)
            wrong = problems(staged)
            sums = checksums(staged)
            if wrong or digest({name: sums[name] for name in sums.keys() - extra.keys()}) != files:
                raise GateRefused(
                    "the staged copy is not what was vouched for", got=wrong, fix="check the disk, run again"
                )
            reached("verified")
            write_text(base / LAST, f"{version}\n")
            reached("numbered")
            os.rename(staged, base / str(version))
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        sync(base)
        reached("renamed")
        return Pushed(version, base / str(version), is_new=True)


def is_newest(base: Path, version: int) -> bool:
    """Return whether a version is the newest under `base`, and whole."""
    return versions(base)[-1:] == [version] and not problems(base / str(version))


def _stage(
    model: Path, staged: Path, manifest: Manifest, extra: Mapping[str, str | bytes], reached: Callable[[str], None]
) -> None:
    shutil.copytree(model, staged)
    for name, content in extra.items():
        path = staged / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    reached("copied")
    write_text(staged / MANIFEST, replace(manifest, checksums=checksums(staged)).text())
    reached("described")
    sync(*staged.rglob("*"), staged)


def _newest(base: Path) -> Manifest | None:
    """Return the newest version's manifest, None if there is none that can be read."""
    with suppress(DataError):
        return Manifest.read(base / str(versions(base)[-1])) if versions(base) else None
    return None


def _last_version(base: Path) -> int:
    """Return the largest number ever given, also to a version since removed."""
    try:
        return version_number((base / LAST).read_text(encoding="ascii").strip()) or 0
    except (OSError, ValueError):
        return 0
