"""What a run would do, found out without doing it: the data are read, and TFX's cache is asked for each component."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import base_executor_operator, launcher, runtime_parameter_utils
from tfx.proto.orchestration import executable_spec_pb2

from common.errors import VouchError
from common.files import locked
from common.paths import Paths
from components import names
from pipeline.history import check_store, is_cached
from pipeline.orchestrators.local import can_repeat_push

SPECS = executable_spec_pb2.PythonClassExecutableSpec, executable_spec_pb2.BeamExecutableSpec


class _WouldRun(Exception):
    """A component was not found in the cache."""


class _Refusing(base_executor_operator.BaseExecutorOperator):
    """Stand where TFX would run a component that is not cached."""

    SUPPORTED_EXECUTOR_SPEC_TYPE = list(SPECS)
    SUPPORTED_PLATFORM_CONFIG_TYPE: list[Any] = []

    def run_executor(self, execution_info: Any) -> Any:
        raise _WouldRun


def components_to_run(pipeline: Pipeline, paths: Paths) -> dict[str, bool]:
    """Return for each component whether a run would run it; else its outputs would come from the cache.

    Works on a copy of ML Metadata and below a root of its own, so that nothing is left behind. What depends on a
    component that would run is taken to run, too. Raises EnvironmentProblem if the model is being run.
    """
    with (
        locked(paths.pipeline / ".run_lock", f"a run of {paths.model!r} is going on already"),
        tempfile.TemporaryDirectory(prefix="vouch-check-") as folder,
    ):
        copy = Path(folder) / paths.metadata.name
        check_store(paths.metadata)
        if paths.metadata.exists():
            shutil.copy2(paths.metadata, copy)
        ir = compiler.Compiler().compile(pipeline)
        names_of_run = {
            constants.PIPELINE_RUN_ID_PARAMETER_NAME: "check",
            constants.PIPELINE_ROOT_PARAMETER_NAME: str(Path(folder) / "root"),
        }
        runtime_parameter_utils.substitute_runtime_parameter(ir, names_of_run)
        deployment = runner_utils.extract_local_deployment_config(ir)
        database = deployment.metadata_connection_config
        connection = getattr(database, database.WhichOneof("connection_config"))
        connection.sqlite.filename_uri = str(copy)
        to_run: dict[str, bool] = {}
        executions: dict[str, int | None] = {}
        for node in (node.pipeline_node for node in ir.nodes):
            component = node.node_info.id
            if component == names.PUSHER and not to_run[names.PROBE]:
                cache = node.execution_options.caching_options
                cache.enable_cache = can_repeat_push(connection, executions[names.PROBE], paths.serving)
            is_new = any(to_run.get(upstream, False) for upstream in node.upstream_nodes)
            executions[component] = None if is_new else _cached(ir, node, deployment, connection)
            to_run[component] = is_new or executions[component] is None
        return {name: runs for name, runs in to_run.items() if name != names.BLESSED_MODEL}


def _cached(ir: Any, node: Any, deployment: Any, connection: Any) -> int | None:
    """Return the number of an execution that stands for the cached one, None if the component is not in the cache."""
    component = node.node_info.id
    try:
        info = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=metadata.Metadata(connection),
            pipeline_info=ir.pipeline_info,
            pipeline_runtime_spec=ir.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, component),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, component),
            custom_executor_operators=dict.fromkeys(SPECS, _Refusing),
        ).launch()
    except _WouldRun:
        return None
    if info is None:
        raise VouchError(f"TFX did not say whether {component} would run")
    is_resolver = component == names.BLESSED_MODEL
    return info.execution_id if is_resolver or is_cached(connection, info.execution_id) else None
