"""Read runs back from ML Metadata: what ran, what came of it, where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from ml_metadata.proto import metadata_store_pb2

from common.errors import DataError
from components import names
from components.verdict import FILE_NAME as VERDICT_FILE
from components.verdict import Verdict
from pipeline.history import store

RunState = Literal["complete", "failed", "incomplete"]
STATES = metadata_store_pb2.Execution.State


@dataclass(frozen=True)
class Step:
    """One component of a run, its artifacts by output, and the seconds it took (0 if from the cache)."""

    component: str
    state: str  # COMPLETE, CACHED, FAILED, …, as ML Metadata has them
    seconds: float
    outputs: dict[str, list[Any]] = field(default_factory=dict)  # key: ml_metadata Artifacts

    def uri(self, key: str) -> str | None:
        """Return where the one artifact of an output lies, or None."""
        artifacts = self.outputs.get(key, [])
        return artifacts[0].uri if artifacts else None


@dataclass(frozen=True)
class Run:
    run_id: str
    model: str
    started: datetime
    steps: tuple[Step, ...]

    @property
    def state(self) -> RunState:
        if any(step.state in ("FAILED", "CANCELED") for step in self.steps):
            return "failed"
        done = self.step(names.REPORT)
        return "complete" if done and done.state in ("COMPLETE", "CACHED") else "incomplete"

    @property
    def seconds(self) -> float:
        """Time spent in components."""
        return sum(step.seconds for step in self.steps)

    @property
    def pushed_version(self) -> int | None:
        """The version this run pushed or found pushed, None if it was refused."""
        step = self.step(names.PUSHER)
        for artifact in step.outputs.get(names.PUSHED_MODEL, []) if step else []:
            properties = artifact.custom_properties
            if properties["pushed"].int_value:
                return int(properties["version"].int_value)
        return None

    def step(self, component: str) -> Step | None:
        return next((step for step in self.steps if step.component == component), None)

    def uri(self, component: str, key: str) -> str | None:
        """Return where one output of a component lies, if it got that far."""
        step = self.step(component)
        return step.uri(key) if step else None


def list_runs(metadata: Path, model: str | None = None) -> list[Run]:
    """Return all runs, newest first; only one model's if named."""
    if not metadata.exists():
        return []
    opened = store.open_store(metadata)
    types = {t.id: t.name for t in opened.get_execution_types()}
    runs = [_read(opened, context, types) for context in opened.get_contexts_by_type(store.RUN_CONTEXT)]
    wanted = [run for run in runs if run and model in (None, run.model)]
    return sorted(wanted, key=lambda run: run.started, reverse=True)


def find_run(metadata: Path, run_id: str | None, model: str | None = None) -> Run:
    """Return a run by its id or the start of it, the newest without one. Raises DataError if there is none."""
    runs = list_runs(metadata, model)
    matching = [run for run in runs if run_id is None or run.run_id.startswith(run_id)]
    if not matching:
        known = ", ".join(run.run_id for run in runs[:5]) or "none yet"
        raise DataError("no such run", got=run_id, wanted=f"one of: {known}", fix="local_runner.py runs lists them all")
    return matching[0]


def verdicts(run: Run, report_folder: Path) -> list[Verdict]:
    """Return what each gate said in a run, as far as it got: data, evaluation, serving."""
    data, report = run.uri(names.DATA_GATE, names.VERDICT), run.uri(names.REPORT, names.REPORT_FILES)
    serving = run.uri(names.PROBE, names.VERDICT)
    folders = (
        Path(data) if data and Path(data).is_dir() else report_folder / names.DATA_VERDICT,
        Path(report) / names.EVALUATION_VERDICT if report else None,
        Path(serving) if serving else None,
    )
    return [Verdict.read(folder) for folder in folders if folder and (folder / VERDICT_FILE).is_file()]


def _read(opened: Any, context: Any, types: dict[int, str]) -> Run | None:
    executions = sorted(opened.get_executions_by_context(context.id), key=lambda e: e.id)
    if not executions:
        return None
    parents = opened.get_parent_contexts_by_context(context.id) or _contexts(opened, executions[0])
    model = next((c.name for c in parents if c.type == store.PIPELINE_CONTEXT), "?")
    return Run(
        run_id=context.name.removeprefix(f"{model}."),
        model=model,
        started=datetime.fromtimestamp(context.create_time_since_epoch / 1000, timezone.utc),
        steps=tuple(_step(opened, execution, types, model) for execution in executions),
    )


def _step(opened: Any, execution: Any, types: dict[int, str], model: str) -> Step:
    nodes = [c.name for c in _contexts(opened, execution) if c.type == store.NODE_CONTEXT]
    component = nodes[0].removeprefix(f"{model}.") if nodes else types[execution.type_id]
    state = STATES.Name(execution.last_known_state)
    lasted_ms = execution.last_update_time_since_epoch - execution.create_time_since_epoch
    seconds = 0.0 if state == "CACHED" else lasted_ms / 1000
    return Step(component, state, seconds, _outputs(opened, execution))


def _outputs(opened: Any, execution: Any) -> dict[str, list[Any]]:
    events = [
        event
        for event in opened.get_events_by_execution_ids([execution.id])
        if event.type in (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)
    ]
    artifacts = {artifact.id: artifact for artifact in opened.get_artifacts_by_id([e.artifact_id for e in events])}
    outputs: dict[str, list[Any]] = {}
    for event in events:
        key = next((step.key for step in event.path.steps if step.HasField("key")), "")
        outputs.setdefault(key, []).append(artifacts[event.artifact_id])
    return outputs


def _contexts(opened: Any, execution: Any) -> Sequence[Any]:
    return opened.get_contexts_by_execution(execution.id)
