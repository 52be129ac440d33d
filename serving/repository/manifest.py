"""What a pushed version says of itself, and whether its files still are what was vouched for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter

from common.errors import DataError
from serving.repository.layout import MANIFEST, MAX_VERSION, SCHEMA, STATISTICS

GATES = ("evaluation", "serving")  # those that must have passed


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
    drift_reference: str = STATISTICS

    @property
    def is_blessed(self) -> bool:
        """Whether every gate passed it."""
        return all(gate in self.verdicts and self.verdicts[gate].passed for gate in GATES)

    @property
    def sentences(self) -> dict[str, str]:
        """Return what each gate said."""
        return {gate: verdict.sentence for gate, verdict in self.verdicts.items()}

    def text(self) -> str:
        """Return the JSON that `read` reads."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Read a version's manifest. Raises DataError if there is none or it is no manifest."""
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_bytes())
            if isinstance(values, dict) and "sentences" in values and "verdicts" not in values:
                values["verdicts"] = _from_sentences(values.pop("sentences"))
            return _adapter().validate_json(json.dumps(values))
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
    """Return one sha256 over names and checksums."""
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


@lru_cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def _sha256(path: Path) -> str:
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()
