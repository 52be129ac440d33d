from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.errors import DataError
from pipeline.history import find_run, list_runs, show_runs, verdicts

pytestmark = pytest.mark.slow


def test_no_store_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "metadata.sqlite") == []
    assert not (tmp_path / "metadata.sqlite").exists()
    with pytest.raises(DataError, match="none yet"):
        find_run(tmp_path / "metadata.sqlite", None)


def test_a_run_is_read_back_with_its_outputs(pipeline_run: Any) -> None:
    run = pipeline_run.run
    assert (run.model, run.state, run.pushed_version) == ("breast_cancer", "complete", 1)
    assert run.started.tzinfo is not None
    assert 0 < run.seconds < 900
    for step in run.steps:
        for artifacts in step.outputs.values():
            assert all(Path(artifact.uri).exists() for artifact in artifacts)
    assert run.step("NoSuchComponent") is None
    assert run.uri("Trainer", "no_such_output") is None


def test_runs_come_newest_first_and_by_model(pipeline_run: Any) -> None:
    found = list_runs(pipeline_run.metadata)
    assert [run.run_id for run in found] == sorted((run.run_id for run in found), reverse=True)
    assert list_runs(pipeline_run.metadata, "another") == []
    assert list_runs(pipeline_run.metadata, "breast_cancer") == found


def test_a_run_is_found_by_the_start_of_its_id(pipeline_run: Any) -> None:
    assert find_run(pipeline_run.metadata, pipeline_run.run_id[:20]).run_id == pipeline_run.run_id
    with pytest.raises(DataError, match=pipeline_run.run_id):
        find_run(pipeline_run.metadata, "19990101")


def test_verdicts_come_in_the_order_of_the_gates(pipeline_run: Any, tmp_path: Path) -> None:
    assert [verdict.gate for verdict in verdicts(pipeline_run.run, tmp_path)] == ["data", "evaluation", "serving"]


def test_seconds_are_those_of_components_that_ran(pipeline_run: Any) -> None:
    for step in pipeline_run.run.steps:
        assert (step.seconds == 0) == (step.state == "CACHED")


def test_names_of_runs_and_models_are_never_cut(
    pipeline_run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VOUCH_VAR", str(pipeline_run.var))
    monkeypatch.setenv("COLUMNS", "30")
    show_runs(None, 20, as_json=False)
    first = capsys.readouterr().out.splitlines()[1]
    assert first.split()[:2] == [pipeline_run.run_id, "breast_cancer"]
