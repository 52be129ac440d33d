"""Run the pipeline on this machine: component by component, with progress reported and nothing left running."""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils

from common.errors import EnvironmentProblem, VouchError
from common.files import locked
from common.paths import Paths
from components import names
from components.probe import process
from components.pusher.push import is_newest
from pipeline.history import check_store, close_stale_executions, is_cached

PUSHED_TYPE = "PushedModel"  # TFX's
State = Literal["started", "ran", "cached", "failed"]


@dataclass(frozen=True)
class Progress:
    """One component's change of state; `seconds` since it started."""

    component: str
    state: State
    seconds: float = 0.0


NO_ROOM = 1 << 20  # bytes; less than what any component writes


class ComponentFailed(VouchError):
    """A component raised something that is not ours."""

    def __init__(self, component: str, cause: BaseException) -> None:
        super().__init__(
            f"{component} failed",
            got=f"{type(cause).__name__}: {str(cause).strip() or 'no message'}",
            fix="the full log says more; a re-run resumes from the last component that succeeded",
        )


def run(pipeline: Pipeline, paths: Paths, run_id: str, report: Callable[[Progress], None]) -> None:
    """Run every component in order; unchanged ones come from TFX's cache.

    Follows tfx.orchestration.local.LocalDagRunner, which reports nothing and leaves interrupted executions RUNNING.
    The pusher runs though nothing changed where the version that it gave is no longer the newest, or not whole.
    Raises what a gate or our component raised, else ComponentFailed; EnvironmentProblem if the model is being run.
    """
    is_running = f"a run of {paths.model!r} is going on already"
    with locked(paths.pipeline / ".run_lock", is_running), _scratch(paths.pipeline / ".tmp"), _interruptible():
        check_store(paths.metadata)
        close_stale_executions(paths.metadata, pipeline.pipeline_info.pipeline_name)
        ir = compiler.Compiler().compile(pipeline)
        runtime_parameter_utils.substitute_runtime_parameter(ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id})
        deployment = runner_utils.extract_local_deployment_config(ir)
        database = deployment.metadata_connection_config
        connection = getattr(database, database.WhichOneof("connection_config"))
        executions: dict[str, int | None] = {}
        try:
            for node in ir.nodes:
                component = node.pipeline_node.node_info.id
                if component == names.PUSHER:
                    caching = node.pipeline_node.execution_options.caching_options
                    caching.enable_cache = can_repeat_push(connection, executions.get(names.PROBE), paths.serving)
                state, executions[component] = _launch(
                    ir, node.pipeline_node, deployment, connection, component, paths, report
                )
                if component == names.TRAINER and state == "ran":
                    process.warm_up()  # the probe will run: let it import TensorFlow meanwhile
        except BaseException:
            with contextlib.suppress(Exception):  # what went wrong first is what a person must hear of
                close_stale_executions(paths.metadata, pipeline.pipeline_info.pipeline_name)
            raise
        finally:
            process.dismiss()


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[None]:
    """Have temporary files in a folder that goes afterwards, or with the next run: libraries leave theirs behind."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)


def _launch(
    ir: Any,
    node: Any,
    deployment: Any,
    connection: Any,
    component: str,
    paths: Paths,
    report: Callable[[Progress], None],
) -> tuple[State, int | None]:
    """Run one component, or take it from the cache; return how it went, and the number of its execution."""
    started = time.monotonic()
    report(Progress(component, "started"))
    try:
        info = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=metadata.Metadata(connection),
            pipeline_info=ir.pipeline_info,
            pipeline_runtime_spec=ir.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, component),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, component),
        ).launch()
    except BaseException as error:
        report(Progress(component, "failed", time.monotonic() - started))
        if not isinstance(error, Exception):  # Ctrl-C
            raise
        logging.getLogger(__name__).exception("%s failed", component)  # the traceback is for the log alone
        ours = _our_error(error)
        if ours:
            raise ours from error
        if _is_disk_full(error, paths.pipeline):
            raise EnvironmentProblem(
                f"{component} ended because the disk is full",
                got=error,
                fix="make room, or point VOUCH_VAR elsewhere; a re-run resumes from the last component that succeeded",
            ) from error
        raise ComponentFailed(component, error) from error
    state: State = "cached" if info and is_cached(connection, info.execution_id) else "ran"
    report(Progress(component, state, time.monotonic() - started))
    return state, info.execution_id if info else None


def _is_disk_full(error: Exception, folder: Path) -> bool:
    """Return whether a disk without room is the reason: SQLite and TensorFlow say so in words of their own alone."""
    return (isinstance(error, OSError) and error.errno == errno.ENOSPC) or shutil.disk_usage(folder).free < NO_ROOM


def can_repeat_push(connection: Any, probe: int | None, base: Path) -> bool:
    """Return whether the last push of what an execution of the probe vouched for still is the newest version, whole.

    A push that was refused can be repeated, too.
    """
    store, event = metadata_store.MetadataStore(connection), metadata_store_pb2.Event

    def outputs(executions: list[int]) -> list[int]:
        return [e.artifact_id for e in store.get_events_by_execution_ids(executions) if e.type == event.OUTPUT]

    vouched = outputs([probe] if probe else [])
    readers = [e.execution_id for e in store.get_events_by_artifact_ids(vouched) if e.type == event.INPUT]
    written = outputs(readers)
    pushes = [artifact for artifact in store.get_artifacts_by_id(written) if artifact.type == PUSHED_TYPE]
    if not pushes:
        return True
    version = max(pushes, key=lambda artifact: artifact.id).custom_properties["version"].int_value
    return not version or is_newest(base, version)


def _our_error(error: BaseException | None) -> VouchError | None:
    """Return our error if it is the cause, however TFX or Beam wrapped it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, VouchError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Turn SIGTERM into KeyboardInterrupt, so that both leave a clean store."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
