"""Make room: remove what old runs left, never what is pushed and still there, nor what a kept run uses, too."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from rich.console import Console

from common.files import locked
from common.paths import Paths, var_root
from pipeline.history import Run, list_runs, open_store
from serving.repository.layout import versions


@dataclass(frozen=True)
class Plan:
    """What pruning one model's runs would remove: runs, their folders, and the artifacts in them by number."""

    removed: tuple[Run, ...]
    folders: tuple[Path, ...]
    artifact_ids: tuple[int, ...]

    @property
    def megabytes(self) -> float:
        files = (file for folder in self.folders for file in folder.rglob("*") if file.is_file())
        return sum(file.stat().st_size for file in files) / 1e6


def plan(runs: Sequence[Run], keep: int, paths: Paths) -> Plan:
    """Choose what to remove of a model's runs, the newest first: all but `keep` and those whose version is there."""
    present = set(versions(paths.serving))
    whole = [run for run in runs if run.state != "pruned"]
    removed = tuple(run for run in whole[keep:] if run.pushed_version not in present)
    kept = [run for run in whole if run not in removed]
    used = {artifact.id for run in kept for artifact in run.artifacts}
    unused = {a.id: Path(a.uri) for run in removed for a in run.artifacts if a.id not in used}
    executions = {step.execution_id for run in kept for step in run.steps}
    scratch = (
        folder
        for run in removed
        for step in run.steps
        if step.execution_id not in executions
        for folder in paths.pipeline.glob(f"{step.component}/.system/*/{step.execution_id}")
    )
    folders = [*unused.values(), *scratch, *(paths.run(run.run_id) for run in removed)]
    ours = (folder for folder in folders if folder.is_relative_to(paths.var) and folder.is_dir())
    return Plan(removed, tuple(dict.fromkeys(ours)), tuple(unused))


def prune_runs(model: str | None, keep: int, *, really: bool) -> None:
    """Remove each model's runs but the newest ones, or say what would be removed."""
    console = Console(highlight=False)
    runs = list_runs(Paths(var_root(), model or "").metadata, model)
    for name in sorted({run.model for run in runs}):
        paths = Paths(var_root(), name)
        with locked(paths.pipeline / ".run_lock", f"a run of {name!r} is going on"):
            chosen = plan([run for run in runs if run.model == name], keep, paths)
            verb = "removed" if really else "would remove"
            console.print(f"{name}: {verb} {len(chosen.removed)} runs, {chosen.megabytes:.1f} MB", soft_wrap=True)
            for run in chosen.removed:
                console.print(f"  {run.run_id}  {run.state}", soft_wrap=True)
            if really:
                _remove(chosen, paths)
    if not really:
        console.print("nothing was removed: --yes removes it")


def _remove(chosen: Plan, paths: Paths) -> None:
    """Mark artifacts as deleted first: then no run builds on what is half gone, should this be interrupted."""
    store = open_store(paths.metadata)
    artifacts = store.get_artifacts_by_id(chosen.artifact_ids) if chosen.artifact_ids else []
    for artifact in artifacts:
        artifact.state = metadata_store_pb2.Artifact.DELETED
    if artifacts:
        store.put_artifacts(artifacts)
    for folder in chosen.folders:
        shutil.rmtree(folder)
