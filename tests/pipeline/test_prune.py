"""Room made by `prune`, on a store with runs as TFX leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from common.paths import Paths
from pipeline.history import PIPELINE_CONTEXT, RUN_CONTEXT, list_runs, open_store
from pipeline.prune import prune_runs


class Store:
    """Runs of one model, each with a Trainer that made a model or took an earlier one from the cache."""

    def __init__(self, paths: Paths) -> None:
        self.paths, self.store = paths, open_store(paths.metadata)
        kinds = ("Trainer", "AtomicPusher", "RunReport")
        self.kinds = {name: self.store.put_execution_type(mlmd.ExecutionType(name=name)) for name in kinds}
        self.artifact = self.store.put_artifact_type(mlmd.ArtifactType(name="Model"))
        contexts = (PIPELINE_CONTEXT, RUN_CONTEXT)
        self.contexts = {name: self.store.put_context_type(mlmd.ContextType(name=name)) for name in contexts}
        pipeline = mlmd.Context(type_id=self.contexts[PIPELINE_CONTEXT], name=paths.model)
        [self.pipeline] = self.store.put_contexts([pipeline])

    def add_run(self, run_id: str, *, cached: int | None = None, version: int = 0) -> int:
        """Add a run, its files and its log; return its model's number."""
        run = mlmd.Context(type_id=self.contexts[RUN_CONTEXT], name=run_id)
        [context] = self.store.put_contexts([run])
        self.store.put_parent_contexts([mlmd.ParentContext(child_id=context, parent_id=self.pipeline)])
        model = self._execute(context, "Trainer", "model", cached)
        self._execute(context, "AtomicPusher", "pushed_model", version=version)
        self._execute(context, "RunReport", "report")
        self.paths.run(run_id).mkdir(parents=True)
        (self.paths.run(run_id) / "run.log").write_text("log")
        return model

    def _execute(self, context: int, kind: str, key: str, cached: int | None = None, version: int = 0) -> int:
        state = mlmd.Execution.CACHED if cached else mlmd.Execution.COMPLETE
        [execution] = self.store.put_executions([mlmd.Execution(type_id=self.kinds[kind], last_known_state=state)])
        links = [mlmd.Association(execution_id=execution, context_id=context)]
        self.store.put_attributions_and_associations([], links)
        scratch = self.paths.pipeline / kind / ".system" / "executor_execution" / str(execution)
        number = cached
        if number is None:
            scratch.mkdir(parents=True)
            folder = self.paths.pipeline / kind / key / str(execution)
            folder.mkdir(parents=True)
            (folder / "weights").write_bytes(b"x" * 1000)
            artifact = mlmd.Artifact(type_id=self.artifact, uri=str(folder), state=mlmd.Artifact.LIVE)
            artifact.custom_properties["pushed"].int_value = int(version > 0)
            artifact.custom_properties["version"].int_value = version
            [number] = self.store.put_artifacts([artifact])
        path = mlmd.Event.Path(steps=[mlmd.Event.Path.Step(key=key)])
        event = mlmd.Event(execution_id=execution, artifact_id=number, type=mlmd.Event.OUTPUT, path=path)
        self.store.put_events([event])
        return number

    def folder(self, model: int) -> Path:
        [artifact] = self.store.get_artifacts_by_id([model])
        return Path(artifact.uri)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("VOUCH_VAR", str(tmp_path))
    return Store(Paths(tmp_path, "tiny"))


def states(store: Store) -> list[str]:
    return [run.state for run in reversed(list_runs(store.paths.metadata))]


def test_older_runs_go_and_the_newest_stay(store: Store, capsys: Any) -> None:
    old, new = store.add_run("1"), store.add_run("2")
    prune_runs(None, 1, really=True)
    assert not store.folder(old).exists()
    assert not store.paths.run("1").exists()
    assert not list(store.paths.pipeline.glob("Trainer/.system/*/1"))
    assert store.folder(new).exists()
    assert store.paths.run("2").exists()
    assert states(store) == ["pruned", "complete"]
    assert "tiny: removed 1 runs, 0.0 MB" in capsys.readouterr().out


def test_nothing_goes_unless_told_to(store: Store, capsys: Any) -> None:
    old, _ = store.add_run("1"), store.add_run("2")
    prune_runs(None, 1, really=False)
    assert store.folder(old).exists()
    assert states(store) == ["complete", "complete"]
    said = capsys.readouterr().out
    assert "would remove 1 runs" in said
    assert "--yes" in said


def test_a_run_whose_version_is_there_stays(store: Store) -> None:
    pushed, _, _ = store.add_run("1", version=7), store.add_run("2", version=8), store.add_run("3")
    (store.paths.serving / "7").mkdir(parents=True)
    prune_runs(None, 1, really=True)
    assert store.folder(pushed).exists()
    assert states(store) == ["complete", "pruned", "complete"], "version 8 is gone, 7 is there"


def test_what_a_kept_run_took_from_the_cache_stays(store: Store) -> None:
    shared = store.add_run("1")
    store.add_run("2", cached=shared)
    prune_runs(None, 1, really=True)
    assert store.folder(shared).exists()
    assert states(store) == ["pruned", "complete"], "its report is gone"


def test_pruning_twice_is_harmless(store: Store) -> None:
    for run in ("1", "2", "3"):
        store.add_run(run)
    prune_runs("tiny", 2, really=True)
    prune_runs("tiny", 2, really=True)
    assert states(store) == ["pruned", "complete", "complete"]
