"""Keep ML Metadata's store well: check it, and close executions that nobody is running any more."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from common.errors import EnvironmentProblem

LOCK_TIMEOUT_S = 10.0
PIPELINE_CONTEXT = "pipeline"  # TFX's type names
RUN_CONTEXT = "pipeline_run"
NODE_CONTEXT = "node"


def check(path: Path) -> None:
    """Raise EnvironmentProblem unless the store can be read and written or does not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return
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
        check(path)
        return metadata_store.MetadataStore(config)


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
