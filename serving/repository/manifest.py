"""What a pushed version says of itself, whether its files still are that, and how a whole one comes and goes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from common.adapters import adapter
from common.errors import DataError, GateRefused
from common.files import disk_problems, sync
from serving.repository.layout import MANIFEST, MAX_VERSION, SCHEMA, STATISTICS, versions

GATES = ("evaluation", "serving")  # those that must have passed
METRIC_TITLES = {
    "auc": "AUC",
    "average_precision": "Average precision",
    "precision": "Precision",
    "recall": "Recall",
    "specificity": "Specificity",
    "f1": "F1",
    "accuracy": "Accuracy",
    "binary_accuracy": "Accuracy",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "calibration_error": "Calibration error",  # in manifests of earlier releases
}
STAGING = ".incoming-"  # no number, so no model server takes it for a version


@dataclass(frozen=True)
class GateVerdict:
    """What a gate decided. `override` is the operator's reason for going on in spite of it."""

    __pydantic_config__ = ConfigDict(strict=True)

    passed: bool
    sentence: str
    override: str | None = None
    evidence: list[dict[str, Any]] = field(default_factory=list)  # its findings, with their numbers


@dataclass(frozen=True)
class Manifest:
    """One version's identity and checksums. `digest` is over the model's own files, whatever the version number."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    model: str
    version: Annotated[int, Field(ge=0, le=MAX_VERSION)]
    run_id: str
    created: str  # UTC, ISO 8601
    digest: str
    data_digest: str
    settings_hash: str
    metrics: dict[str, Any]  # metric: [value, lower bound, upper bound] on the test split
    operating_point: dict[str, Any] | None
    verdicts: dict[str, GateVerdict]
    checksums: dict[str, str]  # file, relative: sha256
    schema: str = SCHEMA
    drift_reference: str = STATISTICS  # what stands in manifests of earlier releases; see drift_reference.py
    baseline: str = ""  # the digest of the blessed model that the evaluation gate compared it with
    identity: str = ""  # of its weights, its data and what it was made by: the same for a training repeated

    @property
    def is_blessed(self) -> bool:
        return all(gate in self.verdicts and self.verdicts[gate].passed for gate in GATES)

    def told(self, *kinds: str) -> list[str]:
        """Return what the evaluation gate says by its findings of these kinds, as a sentence each."""
        evaluation = self.verdicts.get("evaluation")
        found = evaluation.evidence if evaluation else []
        sentences = (str(finding.get("sentence", "")) for finding in found if finding.get("kind") in kinds)
        return [sentence[:1].upper() + sentence[1:] for sentence in sentences]

    @property
    def is_calibrated(self) -> bool:
        """Whether its probabilities may be called calibrated."""
        return bool(self.told("CALIBRATED"))

    @property
    def bounded_metrics(self) -> dict[str, tuple[float, float | None, float | None]]:
        """Each metric's value and bounds, which are None where it has none, as in manifests of earlier releases."""
        parts = {name: value if isinstance(value, list) else [value] for name, value in self.metrics.items()}
        return {name: (*some, None, None)[:3] for name, some in parts.items()}

    @property
    def sentences(self) -> dict[str, str]:
        return {gate: verdict.sentence for gate, verdict in self.verdicts.items()}

    def text(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Read a version's manifest. Raises DataError if there is none or it is no manifest."""
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_bytes())
            if isinstance(values, dict) and "sentences" in values and "verdicts" not in values:
                values["verdicts"] = _from_sentences(values.pop("sentences"))
            return adapter(Manifest).validate_json(json.dumps(values))
        except (OSError, ValueError) as error:
            raise DataError(
                f"no valid manifest in {folder}",
                got=error,
                wanted=MANIFEST,
                fix="push the model again; a version without a manifest is not vouched for",
            ) from None


def checksums(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file under a folder but the manifest itself."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: _sha256(path) for name, path in names.items() if name != MANIFEST}


def digest(sums: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def problems(folder: Path) -> list[str]:
    """Return what is wrong with a version's files, nothing if it is whole."""
    try:
        manifest = Manifest.read(folder)
        present = checksums(folder)
    except DataError as error:
        return [error.what]
    except OSError as error:
        return [f"{error.filename} cannot be read: {error.strerror}"]
    missing = sorted(set(manifest.checksums) - set(present))
    added = sorted(set(present) - set(manifest.checksums))
    changed = sorted(name for name, value in manifest.checksums.items() if present.get(name, value) != value)
    return (
        [f"{name} is missing" for name in missing]
        + [f"{name} is not in the manifest" for name in added]
        + [f"{name} was changed" for name in changed]
    )


def _from_sentences(sentences: Any) -> Any:
    """Return the verdicts of a manifest written before there were any: only the first words said how a gate decided."""
    if not isinstance(sentences, dict) or not all(isinstance(sentence, str) for sentence in sentences.values()):
        raise ValueError("sentences: want a sentence for each gate")
    evaluation, serving = sentences.get("evaluation", ""), sentences.get("serving", "")
    passed = {
        "evaluation": evaluation.startswith("Blessed"),
        "serving": bool(serving) and not serving.startswith("Not fit"),
    }
    return {gate: {"passed": passed.get(gate, False), "sentence": sentence} for gate, sentence in sentences.items()}


def _sha256(path: Path) -> str:
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()


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
