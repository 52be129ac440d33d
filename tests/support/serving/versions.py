"""Versions made from a pushed one, whole and with a manifest of their own, in milliseconds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from serving.repository.layout import MANIFEST
from serving.repository.manifest import GateVerdict, Manifest, checksums

BLESSED = {
    "evaluation": GateVerdict(True, "auc is 0.98 on 102 test rows."),
    "serving": GateVerdict(True, "Loaded in 0.3 s by the session loader."),
}
NOTHING = Manifest("m", 0, "run", "2026-11-21T08:46:40+00:00", "digest", "data", "settings", {}, None, BLESSED, {})


def copy_version(
    pushed: Path,
    base: Path,
    version: int,
    change: Callable[[Path], None] = lambda folder: None,
    verdicts: dict[str, GateVerdict] | None = None,
) -> Path:
    """Copy a version under another number and model; `change` alters its files before they are vouched for."""
    folder = base / str(version)
    shutil.copytree(pushed, folder)
    change(folder)
    _vouch(folder, Manifest.read(pushed), verdicts)
    return folder


def bare_version(
    base: Path,
    version: int,
    verdicts: dict[str, GateVerdict] | None = None,
    *,
    digest: str = "digest",
    baseline: str = "",
) -> Path:
    """Make a version that is whole but no model, for what needs no server."""
    folder = base / str(version)
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph %d" % version)
    _vouch(folder, replace(NOTHING, digest=digest, baseline=baseline), verdicts)
    return folder


def tiny_model(folder: Path) -> Path:
    """Write a SavedModel that loads in no time: the probability of "M" is `x`, and golden rows that it answers."""
    from tests.support.serving.models import PREDICT, save, signature

    def build(v1: Any) -> dict[str, Any]:
        x = v1.placeholder(v1.float32, [None], name="x")
        label = v1.where(x > 0.5, v1.fill(v1.shape(x), "M"), v1.fill(v1.shape(x), "B"))
        outputs = {"probability": v1.identity(x), "probabilities": v1.stack([1 - x, x], axis=1), "label": label}
        weight = v1.Variable(0.0, name="weight")  # a SavedModel needs something to restore
        outputs["probability"] += weight
        return {"serving_default": signature(PREDICT, {"x": x}, outputs)}

    save(folder, build)
    return _with_golden(folder)


def tiny_files(folder: Path) -> Path:
    """Write what `tiny_model` writes but the model, for a server in memory."""
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    return _with_golden(folder)


def _with_golden(folder: Path) -> Path:
    golden = {
        "inputs": {"serving_default": {"x": [0.25, 0.75]}},
        "outputs": {"probabilities": [[0.75, 0.25], [0.25, 0.75]], "label": ["B", "M"]},
    }
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "golden.json").write_text(json.dumps(golden))
    (folder / MANIFEST).write_text(NOTHING.text())
    return folder


def wrong_golden(folder: Path) -> None:
    """Make a version whose answers are not those it promises."""
    path = folder / "assets.extra" / "golden.json"
    golden = json.loads(path.read_text())
    outputs = golden["outputs"]
    outputs["probabilities"] = [[1 - p for p in row] for row in outputs["probabilities"]]
    path.write_text(json.dumps(golden))


def unloadable(folder: Path) -> None:
    """Make a version that no model server can load."""
    (folder / "saved_model.pb").write_bytes(b"no graph")


def _vouch(folder: Path, manifest: Manifest, verdicts: dict[str, GateVerdict] | None) -> None:
    manifest = replace(
        manifest,
        model=folder.parent.name,
        version=int(folder.name),
        verdicts=manifest.verdicts if verdicts is None else verdicts,
    )
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / MANIFEST).write_text(replace(manifest, checksums=checksums(folder)).text(), encoding="utf-8")
