"""What a gate says: machine-readable, with one plain sentence. Read by `explain`, the report and the web page."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from common.files import write_text
from serving.repository.manifest import GateVerdict

FILE_NAME = "verdict.json"
Severity = Literal["error", "warn", "info"]


@dataclass(frozen=True)
class Finding:
    """One thing a gate noticed. `kind` is a constant such as `SPLIT_OVERLAP`; `details` holds the numbers."""

    kind: str
    severity: Severity
    sentence: str
    feature: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """A gate's decision. `override` is the operator's stated reason for going on in spite of errors."""

    gate: Literal["data", "evaluation", "serving"]
    passed: bool
    sentence: str
    findings: tuple[Finding, ...] = ()
    override: str | None = None

    def write(self, folder: Path) -> Path:
        """Write `verdict.json` into a folder, whole or not at all, and return its path."""
        path = folder / FILE_NAME
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")
        return path

    def for_manifest(self) -> GateVerdict:
        """Return what a pushed version carries of it."""
        return GateVerdict(self.passed, self.sentence, self.override, [asdict(finding) for finding in self.findings])

    @staticmethod
    def read(folder: Path) -> Verdict:
        values = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        findings = tuple(Finding(**finding) for finding in values.pop("findings"))
        return Verdict(findings=findings, **values)
