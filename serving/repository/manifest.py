"""What a pushed version says of itself, and whether its files still are what was vouched for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import DataError

FOLDER = "assets.extra"  # TensorFlow Serving leaves it alone
FILE_NAME = f"{FOLDER}/manifest.json"
SCHEMA = f"{FOLDER}/schema.pbtxt"
STATISTICS = f"{FOLDER}/train_statistics.pb"
TRAINING = f"{FOLDER}/training.json"
EVALUATION = f"{FOLDER}/evaluation.json"
SHOWCASE = f"{FOLDER}/showcase.json"


@dataclass(frozen=True)
class Manifest:
    """One version's identity and checksums. `digest` is over the model's own files, whatever the version number."""

    model: str
    version: int
    run_id: str
    created: str  # UTC, ISO 8601
    digest: str
    data_digest: str
    settings_hash: str
    metrics: dict[str, Any]  # metric: [value, lower bound, upper bound] on the test split
    operating_point: dict[str, Any] | None
    sentences: dict[str, str]  # gate: its verdict
    checksums: dict[str, str]  # file, relative: sha256
    schema: str = SCHEMA
    drift_reference: str = STATISTICS

    def text(self) -> str:
        """Return the JSON that `read` reads."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Read a version's manifest. Raises DataError if there is none or it is no manifest."""
        path = folder / FILE_NAME
        try:
            return Manifest(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"no valid manifest in {folder}",
                got=error,
                wanted=FILE_NAME,
                fix="push the model again; a version without a manifest is not vouched for",
            ) from None


def checksums(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file under a folder but the manifest itself."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: _sha256(path) for name, path in names.items() if name != FILE_NAME}


def digest(sums: dict[str, str]) -> str:
    """Return one sha256 over names and checksums."""
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def problems(folder: Path) -> list[str]:
    """Return what is wrong with a version's files, nothing if it is whole."""
    try:
        manifest = Manifest.read(folder)
    except DataError as error:
        return [error.what]
    found = checksums(folder)
    missing = sorted(set(manifest.checksums) - set(found))
    added = sorted(set(found) - set(manifest.checksums))
    changed = sorted(name for name, value in manifest.checksums.items() if found.get(name, value) != value)
    return (
        [f"{name} is missing" for name in missing]
        + [f"{name} is not in the manifest" for name in added]
        + [f"{name} was changed" for name in changed]
    )


def versions(base: Path) -> list[int]:
    """Return the version numbers under a model's base path, in rising order."""
    if not base.is_dir():
        return []
    return sorted(int(child.name) for child in base.iterdir() if child.name.isdecimal() and child.is_dir())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        found = hashlib.sha256()
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()
