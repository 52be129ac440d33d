from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from common.errors import EnvironmentProblem
from pipeline import history as store

RUNNING, FAILED, COMPLETE = mlmd.Execution.RUNNING, mlmd.Execution.FAILED, mlmd.Execution.COMPLETE


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    """A store with executions of two pipelines, as a run killed in Trainer leaves it."""
    path = tmp_path / "metadata.sqlite"
    opened = store.open_store(path)
    types = {name: opened.put_execution_type(mlmd.ExecutionType(name=name)) for name in ("Transform", "Trainer")}
    context_type = opened.put_context_type(mlmd.ContextType(name=store.PIPELINE_CONTEXT))
    for pipeline in ("mine", "other"):
        [context] = opened.put_contexts([mlmd.Context(type_id=context_type, name=pipeline)])
        executions = [
            mlmd.Execution(type_id=types["Transform"], last_known_state=COMPLETE),
            mlmd.Execution(type_id=types["Trainer"], last_known_state=RUNNING),
        ]
        ids = opened.put_executions(executions)
        links = [mlmd.Association(execution_id=execution, context_id=context) for execution in ids]
        opened.put_attributions_and_associations([], links)
    return path


def states(path: Path, pipeline: str) -> list[int]:
    opened = store.open_store(path)
    context = opened.get_context_by_type_and_name(store.PIPELINE_CONTEXT, pipeline)
    return [e.last_known_state for e in sorted(opened.get_executions_by_context(context.id), key=lambda e: e.id)]


def test_what_a_dead_run_left_running_is_closed(metadata: Path) -> None:
    assert store.close_stale_executions(metadata, "mine") == ["Trainer"]
    assert states(metadata, "mine") == [COMPLETE, FAILED]


def test_another_pipeline_is_left_alone(metadata: Path) -> None:
    store.close_stale_executions(metadata, "mine")
    assert states(metadata, "other") == [COMPLETE, RUNNING]


def test_closing_twice_or_nothing_is_harmless(metadata: Path, tmp_path: Path) -> None:
    store.close_stale_executions(metadata, "mine")
    assert store.close_stale_executions(metadata, "mine") == []
    assert store.close_stale_executions(metadata, "unknown") == []
    assert store.close_stale_executions(tmp_path / "absent.sqlite", "mine") == []


def test_a_good_store_and_none_at_all_pass(metadata: Path, tmp_path: Path) -> None:
    store.check_store(metadata)
    store.check_store(tmp_path / "new" / "metadata.sqlite")
    assert (tmp_path / "new").is_dir()


def test_a_locked_store_is_told_while_it_is_locked(metadata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_TIMEOUT_S", 0.2)
    holder = sqlite3.connect(metadata, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(EnvironmentProblem, match="locked") as refused:
        store.check_store(metadata)
    assert "end the process that holds it" in str(refused.value)
    assert refused.value.exit_code == 5
    holder.rollback()
    holder.close()
    store.check_store(metadata)


@pytest.mark.parametrize("damage", ["not a database", "cut", "scribbled"])
def test_a_damaged_store_is_told(metadata: Path, damage: str) -> None:
    whole = metadata.read_bytes()
    damaged = {
        "not a database": b"no SQLite here " * 1000,
        "cut": whole[: len(whole) // 2],
        "scribbled": whole[:4096] + b"\xff" * 8192 + whole[12288:],
    }[damage]
    metadata.write_bytes(damaged)
    with pytest.raises(EnvironmentProblem, match="damaged"):
        store.check_store(metadata)


def test_a_damaged_store_is_told_with_the_cure_by_whoever_opens_it(metadata: Path) -> None:
    metadata.write_bytes(b"not SQLite " * 1000)
    with pytest.raises(EnvironmentProblem, match="damaged") as refused:
        store.open_store(metadata)
    assert "restore it from a backup, or move it away" in str(refused.value)
    assert refused.value.exit_code == 5


@pytest.mark.parametrize("version", [8, 11])
def test_a_store_of_another_version_is_told_with_the_cure(metadata: Path, version: int) -> None:
    with sqlite3.connect(metadata) as connection:
        connection.execute("UPDATE MLMDEnv SET schema_version = ?", (version,))
    connection.close()
    with pytest.raises(EnvironmentProblem, match="another version of ml-metadata"):
        store.open_store(metadata)


def test_a_folder_in_the_stores_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="is a folder"):
        store.check_store(tmp_path)
