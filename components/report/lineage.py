"""Read from ML Metadata what a run's stages took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.report.facts import Stage


def read_stages(metadata: Path, pipeline_name: str, run_id: str) -> tuple[Stage, ...]:
    """Return the stages of a run that are over, in order; nothing if there is no such store or run."""
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    if not metadata.is_file():
        return ()
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(metadata)
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = metadata_store.MetadataStore(config)
    names = f"{pipeline_name}.{run_id}", run_id  # TFX has used both
    found = (store.get_context_by_type_and_name("pipeline_run", name) for name in names)
    context = next((c for c in found if c is not None), None)
    if context is None:
        return ()
    types = {t.id: t.name for t in store.get_execution_types()}
    states = metadata_store_pb2.Execution.State
    unfinished = (metadata_store_pb2.Execution.RUNNING, metadata_store_pb2.Execution.NEW)
    return tuple(
        _stage(e, states.Name(e.last_known_state), _node(store, e, pipeline_name) or types[e.type_id])
        for e in sorted(store.get_executions_by_context(context.id), key=lambda e: e.id)
        if e.last_known_state not in unfinished
    )


def _stage(execution: Any, state: str, component: str) -> Stage:
    lasted_ms = execution.last_update_time_since_epoch - execution.create_time_since_epoch
    return Stage(component, state, 0.0 if state == "CACHED" else lasted_ms / 1000, execution.id)


def _node(store: Any, execution: Any, pipeline_name: str) -> str | None:
    contexts = store.get_contexts_by_execution(execution.id)
    return next((c.name.removeprefix(f"{pipeline_name}.") for c in contexts if c.type == "node"), None)
