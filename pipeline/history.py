"""Runs in ML Metadata: its store kept well, runs read back, and shown to people or as JSON to programs."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from rich.console import Console
from rich.table import Column, Table

from common.errors import DataError, EnvironmentProblem
from common.paths import Paths, var_root
from components import names
from components.verdict import FILE_NAME as VERDICT_FILE
from components.verdict import Verdict
from serving.registry.tracking import read_backlink

LOCK_TIMEOUT_S = 10.0
WIDE = 500  # letters in a line
PIPELINE_CONTEXT = "pipeline"  # TFX's type names
RUN_CONTEXT = "pipeline_run"
NODE_CONTEXT = "node"
RunState = Literal["complete", "failed", "incomplete", "pruned"]
STATES = metadata_store_pb2.Execution.State
SCHEMA_GENS = ("ImportSchemaGen", "SchemaGen")  # TFX's
GATES = {"data": "data gate", "evaluation": "evaluation gate", "serving": "serving gate"}


def check_store(path: Path) -> None:
    """Raise EnvironmentProblem unless the store can be read and written or does not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return
    if path.is_dir():
        raise EnvironmentProblem(f"ML Metadata's file {path} is a folder", fix="move it away, then run again")
    try:
        with sqlite3.connect(path, timeout=LOCK_TIMEOUT_S) as connection:
            connection.execute("BEGIN IMMEDIATE")
            checked = connection.execute("PRAGMA quick_check(1)").fetchone()
            connection.rollback()
    except sqlite3.OperationalError as error:
        raise EnvironmentProblem(
            f"ML Metadata at {path} cannot be written",
            got=error,
            fix=f"end the process that holds it (waited {LOCK_TIMEOUT_S:g} s), or check the disk, then run again",
        ) from None
    except sqlite3.DatabaseError as error:
        raise _corrupt(path, error) from None
    if checked != ("ok",):
        raise _corrupt(path, checked)


def open_store(path: Path) -> metadata_store.MetadataStore:
    """Open the store. Raises EnvironmentProblem if it is damaged or stays locked."""
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    try:
        return metadata_store.MetadataStore(config)
    except RuntimeError:  # opening it writes to it
        check_store(path)
    try:
        return metadata_store.MetadataStore(config)
    except RuntimeError as error:
        raise EnvironmentProblem(f"ML Metadata at {path} cannot be opened", got=error, fix=_cure(str(error))) from None


def _cure(words: str) -> str:
    if "is full" in words:
        return "make room on the disk, then run again"
    if "version" in words:
        return (
            "another version of ml-metadata wrote it: use the environment that did, or move the file away: "
            "the next run starts a new history; models served stay"
        )
    return "local_runner.py doctor looks it over"


def is_cached(connection: metadata_store_pb2.ConnectionConfig, execution_id: int) -> bool:
    [execution] = metadata_store.MetadataStore(connection).get_executions_by_id([execution_id])
    return bool(execution.last_known_state == metadata_store_pb2.Execution.CACHED)


def close_stale_executions(path: Path, pipeline_name: str) -> list[str]:
    """Mark executions left RUNNING by a dead run as FAILED and return their components.

    Call only under the run's lock: then nobody is running them. (TFX leaves them RUNNING for ever.)
    """
    if not path.exists():
        return []
    store = open_store(path)
    context = store.get_context_by_type_and_name(PIPELINE_CONTEXT, pipeline_name)
    if context is None:
        return []
    unfinished = metadata_store_pb2.Execution.RUNNING, metadata_store_pb2.Execution.NEW
    stale = [e for e in store.get_executions_by_context(context.id) if e.last_known_state in unfinished]
    for execution in stale:
        execution.last_known_state = metadata_store_pb2.Execution.FAILED
        execution.custom_properties["closed_as_stale_unix_s"].int_value = int(time.time())
    if stale:
        store.put_executions(stale)
    types = {t.id: t.name for t in store.get_execution_types()}
    return [types[execution.type_id] for execution in stale]


def _corrupt(path: Path, got: object) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"ML Metadata at {path} is damaged",
        got=got,
        fix="restore it from a backup, or move it away: the next run starts a new history; models served stay",
    )


@dataclass(frozen=True)
class Step:
    """One component of a run, its artifacts by output, and the seconds it took (0 if from the cache)."""

    component: str
    state: str  # COMPLETE, CACHED, FAILED, …, as ML Metadata has them
    seconds: float
    execution_id: int = 0
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
        if any(artifact.state == metadata_store_pb2.Artifact.DELETED for artifact in self.artifacts):
            return "pruned"
        if any(step.state in ("FAILED", "CANCELED") for step in self.steps):
            return "failed"
        done = self.step(names.REPORT)
        return "complete" if done and done.state in ("COMPLETE", "CACHED") else "incomplete"

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)

    @property
    def artifacts(self) -> list[Any]:
        """All that its components wrote or took from the cache."""
        return [artifact for step in self.steps for artifacts in step.outputs.values() for artifact in artifacts]

    @property
    def schema(self) -> str | None:
        """Where the schema lies that the run went by, imported or inferred."""
        return next((uri for step in self.steps if (uri := step.uri("schema")) and step.component in SCHEMA_GENS), None)

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
    opened = open_store(metadata)
    types = {t.id: t.name for t in opened.get_execution_types()}
    runs = [_read(opened, context, types) for context in opened.get_contexts_by_type(RUN_CONTEXT)]
    of_model = [run for run in runs if run and model in (None, run.model)]
    return sorted(of_model, key=lambda run: run.started, reverse=True)


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
    model = next((c.name for c in parents if c.type == PIPELINE_CONTEXT), "?")
    return Run(
        run_id=context.name.removeprefix(f"{model}."),
        model=model,
        started=datetime.fromtimestamp(context.create_time_since_epoch / 1000, timezone.utc),
        steps=tuple(_step(opened, execution, types, model) for execution in executions),
    )


def _step(opened: Any, execution: Any, types: dict[int, str], model: str) -> Step:
    nodes = [c.name for c in _contexts(opened, execution) if c.type == NODE_CONTEXT]
    component = nodes[0].removeprefix(f"{model}.") if nodes else types[execution.type_id]
    state = STATES.Name(execution.last_known_state)
    lasted_ms = execution.last_update_time_since_epoch - execution.create_time_since_epoch
    seconds = 0.0 if state == "CACHED" else lasted_ms / 1000
    return Step(component, state, seconds, execution.id, _outputs(opened, execution))


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


def table_console() -> Console:
    """Return a console that cuts or wraps no column where nobody's screen is in the way."""
    is_terminal = sys.stdout.isatty()
    return Console(highlight=False, width=None if is_terminal else WIDE)


def show_runs(model: str | None, limit: int, as_json: bool) -> None:
    runs = list_runs(Paths(var_root(), model or "").metadata, model)[:limit]
    if as_json:
        rows = [
            {
                "run_id": r.run_id,
                "model": r.model,
                "started": r.started.isoformat(),
                "state": r.state,
                "seconds": r.seconds,
                "version": r.pushed_version,
                "steps": {s.component: {"state": s.state, "seconds": s.seconds} for s in r.steps},
            }
            for r in runs
        ]
        print(json.dumps(rows, indent=2))
        return
    console = table_console()
    if not runs:
        console.print("no runs yet: local_runner.py run config/NAME")
        return
    longest = {
        title: max(len(getattr(run, key)) for run in runs) for title, key in (("run", "run_id"), ("model", "model"))
    }
    names_first = [Column(title, no_wrap=True, min_width=width) for title, width in longest.items()]
    table = Table(*names_first, "state", "version", "ran/cached", "seconds", box=None, pad_edge=False)
    for run in runs:
        ran = sum(step.state == "COMPLETE" for step in run.steps)
        cached = sum(step.state == "CACHED" for step in run.steps)
        version = str(run.pushed_version or "–")
        table.add_row(run.run_id, run.model, run.state, version, f"{ran}/{cached}", f"{run.seconds:.1f}")
    console.print(table)


def explain_run(run_id: str | None, model: str | None, as_json: bool) -> None:
    paths = Paths(var_root(), model or "")
    run = find_run(paths.metadata, run_id, model)
    folder = Paths(paths.var, run.model).run(run.run_id)
    judged, tracked = verdicts(run, folder), read_backlink(folder)
    if as_json:
        values = {
            "run_id": run.run_id,
            "model": run.model,
            "state": run.state,
            "version": run.pushed_version,
            "verdicts": [asdict(verdict) for verdict in judged],
            "mlflow": tracked,
        }
        print(json.dumps(values, indent=2))
        return
    console = Console(highlight=False)
    outcome = f"pushed as version {run.pushed_version}" if run.pushed_version else "not pushed"
    console.print(f"[bold]{run.model}[/], run {run.run_id}: {run.state}, {outcome}", soft_wrap=True)
    for step in run.steps:
        if step.state not in ("COMPLETE", "CACHED"):
            console.print(
                f"  {step.component} ended as {step.state}; the log says more: {folder / 'run.log'}", soft_wrap=True
            )
    if tracked:
        console.print(f"  in MLflow: experiment {tracked['experiment']}, run {tracked['run_id']}", soft_wrap=True)
    print_verdicts(console, judged, details=True)


def print_verdicts(console: Console, judged: Sequence[Verdict], *, details: bool = False) -> None:
    """Print one line a gate, and its findings with `details` or if it refused."""
    console.print()
    for verdict in judged:
        mark = "[green]passed [/]" if verdict.passed else "[red]refused[/]"
        console.print(f"{mark} {GATES[verdict.gate]}: {verdict.sentence}", soft_wrap=True)
        if verdict.override:
            console.print(f"        overridden: {verdict.override}", soft_wrap=True, style="yellow")
        for finding in verdict.findings:
            if details or (finding.severity == "error"):
                console.print(f"        {finding.severity:<5} {finding.kind}: {finding.sentence}", soft_wrap=True)
