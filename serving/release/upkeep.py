"""Remove versions that nobody needs; keep all that is pushed and released in one file, and bring it back."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from common.errors import ConfigError, DataError
from common.files import disk_problems, replaced
from serving.release.servers import recorded
from serving.release.state import LOG, STATE, one_at_a_time
from serving.repository.layout import model_folder, models, versions
from serving.repository.manifest import Manifest, add_version, check_whole, problems, remove_version

RECORDS = (STATE, LOG)
DAMAGED = ".damaged-"  # where a version goes whose place is taken by the one from the backup


def prune(root: Path, model: str, keep: int, who: str, is_dry: bool = False) -> list[int]:
    """Remove what is `removable`, or only return it if it `is_dry`. Raises EnvironmentProblem during a release."""
    folder = model_folder(root, model)
    with one_at_a_time(root, who):
        old = removable(root, model, keep)
        for version in () if is_dry else old:
            remove_version(folder / str(version))
    return old


def removable(root: Path, model: str, keep: int) -> list[int]:
    """Return the versions of a model that may go, in rising order.

    The newest `keep` stay, and whatever their age the stable version, the candidate, the previous one, those of a
    release under way, and the baselines that the evaluation gate compared all these with. Raises ConfigError for a
    `keep` below 1.
    """
    if keep < 1:
        raise ConfigError("at least one version must be kept", got=keep, wanted="1 or more")
    present, record = versions(root / model), recorded(root, model)
    kept = set(present[-keep:])
    if record:
        kept.update(record.state.loaded, record.intent.entry.after.loaded if record.intent else ())
    manifests = dict(_manifests(root / model, present))
    baselines = {manifests[version].baseline for version in kept & manifests.keys()} - {""}
    return [
        version
        for version in present
        if version not in kept and not (version in manifests and manifests[version].digest in baselines)
    ]


def _manifests(base: Path, numbers: Iterable[int]) -> Iterator[tuple[int, Manifest]]:
    for number in numbers:
        with suppress(DataError):  # a version that cannot say what it is is nobody's baseline
            yield number, Manifest.read(base / str(number))


@dataclass
class Report:
    """What went into an archive, or came out of it: versions by model, and what was left out, with the reason."""

    versions: dict[str, list[int]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)


def back_up(root: Path, file: Path) -> Report:
    """Write every whole version and every model's release state into a tar file, which appears once it is complete.

    Raises DataError if nothing was pushed, EnvironmentProblem if the file cannot be written.
    """
    report = Report()
    if not models(root):
        raise DataError(f"no model was pushed to {root} yet", fix="make demo, or give the right VOUCH_VAR")
    with (
        disk_problems(f"{file} cannot be written", "make room, or choose a place where this user may write"),
        replaced(file) as part,
        tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for model in models(root):
            for record in (root / model / name for name in RECORDS):
                if record.is_file():
                    archive.add(record, f"{model}/{record.name}")
            _add_versions(archive, root / model, report)
    return report


def bring_back(root: Path, file: Path) -> Report:
    """Put versions and release states from an archive under `root`.

    A version that is there and whole stays; one that is damaged is moved aside. Release states and logs become those of
    the archive. Raises ConfigError if the file is no archive of ours, GateRefused if a version in it is not whole.
    """
    report = Report()
    with disk_problems(f"{file} cannot be restored", f"make room, or let this user write to {root}"):
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=root) as scratch:
            unpacked = Path(scratch)
            try:
                with tarfile.open(file) as archive:
                    archive.extractall(unpacked, filter="data")
            except tarfile.TarError as error:
                raise ConfigError(f"{file} is no backup of releases", got=error) from None
            names = models(unpacked)
            if not names:
                raise ConfigError(f"{file} is no backup of releases", wanted="a file by: python -m serving backup FILE")
            for model in names:  # before anything is changed
                for version in versions(unpacked / model):
                    check_whole(unpacked / model / str(version))
            for model in names:
                _restore_model(unpacked / model, root / model, report)
    return report


def _add_versions(archive: tarfile.TarFile, base: Path, report: Report) -> None:
    for version in versions(base):
        if wrong := problems(base / str(version)):
            report.left_out.append(f"{base.name} {version}: {wrong[0]}")
            continue
        archive.add(base / str(version), f"{base.name}/{version}")
        report.versions.setdefault(base.name, []).append(version)


def _restore_model(source: Path, base: Path, report: Report) -> None:
    for version in versions(source):
        folder = base / str(version)
        if folder.is_dir() and problems(folder):
            os.rename(folder, tempfile.mkdtemp(prefix=f"{DAMAGED}{version}-", dir=base))
            report.replaced.append(f"{base.name} {version}")
        if add_version(folder, partial(_move_into, source / str(version))):
            report.versions.setdefault(base.name, []).append(version)
    for record in (source / name for name in RECORDS):
        if record.is_file():
            os.replace(record, base / record.name)  # both lie on one file system


def _move_into(source: Path, staged: Path) -> None:
    for child in source.iterdir():
        os.rename(child, staged / child.name)
