"""What a run leaves behind when it is stopped, locked out or fed bad data, and how the next one goes on."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serving.registry.queue import Queue, RunEnded
from serving.repository.layout import versions
from serving.repository.manifest import problems
from tests.support.pipeline.processes import Forked
from tests.support.pipeline.runs import DATA
from tests.support.programs import skip_without

pytestmark = pytest.mark.slow
ENDLESS = ["--set", "model.epochs=1000000", "--set", "model.early_stopping_patience=0"]
QUICK = ["model.epochs=2", "evaluation.thresholds={auc: 0.0}", "evaluation.change_margin=1"]
UPSTREAM = {"FileBasedExampleGen", "StatisticsGen", "ImportSchemaGen", "ExampleValidator", "Transform"}
RUNNING = 2  # ml_metadata's Execution.RUNNING
OVERRIDE = ["--override-data-gate", "known sensor fault"]


@dataclass(frozen=True)
class Stopped:
    """A run stopped while Trainer ran, and another that was tried meanwhile."""

    var: Path
    pid: int
    returncode: int
    output: str
    left_running: list[str]
    meanwhile: Any = None


def running(var: Path) -> list[str]:
    """The types of executions that ML Metadata takes for running."""
    if not (var / "metadata.sqlite").exists():
        return []
    with sqlite3.connect(f"file:{var / 'metadata.sqlite'}?mode=ro", uri=True, timeout=30) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'Execution'").fetchone():
            return []  # because the file is there before its tables
        query = "SELECT Type.name FROM Execution JOIN Type ON Type.id = type_id WHERE last_known_state = ?"
        return [name for (name,) in connection.execute(query, (RUNNING,))]


def until(condition: Callable[[], bool], call: Forked, deadline_s: float = 600) -> None:
    """Wait for a condition, or fail when the call ends before or the deadline passes."""
    limit = time.monotonic() + deadline_s
    while not condition():
        assert call.is_running(), call.output()
        assert time.monotonic() < limit, "the deadline passed"
        time.sleep(0.05)


def planted(folder: Path, change: Callable[[dict[str, str]], None], rows: int) -> Path:
    """Write every third row of the real data with a change in the first of them."""
    with DATA.open(newline="") as file:
        table = list(csv.DictReader(file))[::3]
    for row in table[:rows]:
        change(row)
    path = folder / DATA.name
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All state of this module's runs."""
    return tmp_path_factory.mktemp("faults") / "var"


@pytest.fixture(scope="module")
def bad_rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The setting for a third of the real data, so that faults come soon, with a radius below zero in three rows."""
    return f"data.source={planted(tmp_path_factory.mktemp('bad_rows'), lambda row: row.update(radius_mean='-1.5'), 3)}"


@pytest.fixture(scope="module")
def stopped_by_data(var: Path, run_pipeline: Any, bad_rows: str) -> Any:
    return run_pipeline(var, sets=[bad_rows])


@pytest.fixture(scope="module")
def interrupted(stopped_by_data: Any, bad_rows: str, start_vouch: Any) -> Stopped:
    """Ctrl-C while Trainer runs, after a second run of the same model was tried."""
    var = stopped_by_data.var
    call = start_vouch(var, "run", "config/breast_cancer", *OVERRIDE, "--set", bad_rows, *ENDLESS)
    until(lambda: "Trainer" in "".join(running(var)), call)
    meanwhile = start_vouch(var, "run", "config/breast_cancer").wait()
    os.killpg(call.pid, signal.SIGINT)
    done = call.wait()
    return Stopped(var, call.pid, done.returncode, call.output(), running(var), meanwhile)


@pytest.fixture(scope="module")
def killed(interrupted: Stopped, bad_rows: str, start_vouch: Any) -> Stopped:
    """The same, gone on with and killed without warning."""
    call = start_vouch(interrupted.var, "run", "config/breast_cancer", *OVERRIDE, "--set", bad_rows, *ENDLESS)
    until(lambda: "Trainer" in "".join(running(interrupted.var)), call)
    os.killpg(call.pid, signal.SIGKILL)
    done = call.wait()
    return Stopped(interrupted.var, call.pid, done.returncode, call.output(), running(interrupted.var))


def scratch(var: Path) -> Path:
    return var / "pipeline" / "breast_cancer" / ".tmp"


@pytest.fixture(scope="module")
def resumed(killed: Stopped, bad_rows: str, run_pipeline: Any) -> Any:
    assert killed.left_running, "the kill left nothing to be cleaned up: it proves nothing"
    assert scratch(killed.var).is_dir(), "nor temporary files"
    return run_pipeline(killed.var, *OVERRIDE, sets=[bad_rows, *QUICK])


def test_two_runs_at_once_the_second_is_told_who_runs(interrupted: Stopped) -> None:
    assert interrupted.meanwhile.returncode == 5
    assert "a run of 'breast_cancer' is going on already" in interrupted.meanwhile.stderr
    assert f"process {interrupted.pid}" in interrupted.meanwhile.stderr


def test_ctrl_c_ends_with_130_and_a_plain_message(interrupted: Stopped) -> None:
    assert interrupted.returncode == 130
    assert "interrupted; a re-run resumes from the last component that succeeded" in interrupted.output
    assert "Traceback" not in interrupted.output


def test_ctrl_c_leaves_nothing_running(interrupted: Stopped) -> None:
    assert interrupted.left_running == []


def test_after_ctrl_c_the_run_resumes_at_trainer(killed: Stopped) -> None:
    cached = {line.split()[1] for line in killed.output.splitlines() if line.strip().startswith("=")}
    assert cached >= UPSTREAM


def test_after_a_kill_the_next_run_completes(resumed: Any) -> None:
    assert resumed.returncode == 0, resumed.output
    assert {name for name, state in resumed.states.items() if state == "CACHED"} >= UPSTREAM
    assert resumed.run.state == "complete"
    assert [problems(resumed.serving / str(v)) for v in versions(resumed.serving)] == [[]]


def test_temporary_files_of_a_killed_run_go_with_the_next(resumed: Any) -> None:
    assert not scratch(resumed.var).exists()


def test_a_run_is_put_down_for_mlflow_however_it_ended_unless_it_was_killed(resumed: Any) -> None:
    entries = [waiting.entry for waiting in Queue(resumed.var / "serving").waiting()]
    told = [(entry.state, entry.version) for entry in entries if isinstance(entry, RunEnded)]
    assert told == [("failed", None), ("failed", None), ("complete", 1)], "refused, interrupted, resumed"


def test_after_a_kill_nothing_is_left_running(resumed: Any) -> None:
    from pipeline.history import list_runs

    assert running(resumed.var) == []
    states = [[step.state for step in run.steps] for run in list_runs(resumed.metadata)]
    assert sum("FAILED" in steps for steps in states) == 3, "one refused, one interrupted, one killed"


def test_a_corrupt_store_ends_with_5_and_the_cure(start_vouch: Any, tmp_path: Path) -> None:
    (tmp_path / "metadata.sqlite").write_bytes(b"no database " * 1000)
    done = start_vouch(tmp_path, "run", "config/breast_cancer").wait()
    assert done.returncode == 5
    assert "is damaged" in done.stderr
    assert "move it away" in done.stderr


def test_bad_rows_end_with_4_before_anything_is_fitted(stopped_by_data: Any) -> None:
    assert stopped_by_data.returncode == 4, stopped_by_data.output
    assert stopped_by_data.states["DataGate"] == "FAILED"
    assert "Transform" not in stopped_by_data.states
    assert "radius_mean" in stopped_by_data.output
    assert "--override-data-gate" in stopped_by_data.output


def test_the_offending_rows_are_exported(stopped_by_data: Any) -> None:
    verdict = stopped_by_data.verdicts["data"]
    [finding] = [f for f in verdict.findings if f.severity == "error"]
    assert (finding.feature, verdict.passed) == ("radius_mean", False)
    folder = stopped_by_data.var / "reports" / "breast_cancer" / stopped_by_data.run_id / "data_gate"
    with (folder / finding.details["rows_file"]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["radius_mean"]) for row in rows] == [-1.5] * 3


def test_explain_tells_of_the_bad_rows(stopped_by_data: Any, vouch: Any) -> None:
    said = vouch(stopped_by_data.var, "explain", stopped_by_data.run_id)
    assert said.returncode == 0
    assert "refused data gate" in said.stdout
    assert "radius_mean" in said.stdout
    told = json.loads(vouch(stopped_by_data.var, "explain", stopped_by_data.run_id, "--json").stdout)
    assert (told["state"], told["version"]) == ("failed", None)


def test_an_override_goes_on_and_stands_in_the_lineage(resumed: Any) -> None:
    from pipeline.history import open_store

    assert resumed.returncode == 0, resumed.output
    assert "overridden: known sensor fault" in resumed.output
    assert resumed.verdicts["data"].override == "known sensor fault"
    executions = open_store(resumed.metadata).get_executions_by_type(
        next(t.name for t in open_store(resumed.metadata).get_execution_types() if t.name.endswith("DataGate"))
    )
    reasons = {execution.custom_properties["override"].string_value for execution in executions}
    assert "known sensor fault" in reasons
    report = (resumed.uri("RunReport", "report") / "report.html").read_text()
    assert "known sensor fault" in report


def test_an_override_holds_for_one_run_only(resumed: Any, run_pipeline: Any, bad_rows: str) -> None:
    again = run_pipeline(resumed.var, sets=[bad_rows, *QUICK])
    assert again.returncode == 4
    assert again.states["DataGate"] == "FAILED"


def test_an_unknown_label_ends_with_3_and_its_line(var: Path, run_pipeline: Any, tmp_path: Path) -> None:
    path = planted(tmp_path, lambda row: row.update(diagnosis="X"), rows=1)
    before = versions(var / "serving" / "breast_cancer")
    done = run_pipeline(var, sets=[f"data.source={path}"])
    assert done.returncode == 3, done.output
    assert "breast_cancer.csv:2" in done.output or "line 2" in done.output
    assert "'X'" in done.output
    assert versions(done.serving) == before


@pytest.mark.exhaustive
@pytest.mark.parametrize("size", ["400k", "900k"], ids=["the first table of the store", "the model's weights"])
def test_a_full_disk_is_told_in_one_sentence(tmp_path: Path, run_pipeline: Any, vouch: Any, size: str) -> None:
    """A disk of its own that has room for so much; the run that was stopped is told of, too, when there is room."""
    var = tmp_path / "var"
    var.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", var], check=False).returncode:
        skip_without("a small disk of its own")
    try:
        full = run_pipeline(var, sets=["model.epochs=2"])
        assert full.returncode == 5, full.output
        assert "ended because the disk is full" in full.output
        assert "make room, or point VOUCH_VAR elsewhere" in full.output
        assert "Traceback" not in full.output
        subprocess.run(["mount", "-o", "remount,size=50M", var], check=True)
        [run] = json.loads(vouch(var, "runs", "--json").stdout)
        assert run["state"] in ("failed", "incomplete")
        again = run_pipeline(var, sets=["model.epochs=2", "evaluation.when_plain_is_better=warn"])
        assert again.returncode in (0, 4), again.output
    finally:
        subprocess.run(["umount", var], check=True)


@pytest.mark.exhaustive
def test_killed_in_one_component_after_the_other_the_run_is_completed_in_the_end(
    tmp_path: Path, start_vouch: Any
) -> None:
    from pipeline.history import list_runs

    var, killed = tmp_path / "var", set[str]()
    sets = [f"data.source={planted(tmp_path, lambda row: None, 0)}", *QUICK]
    arguments = [part for setting in sets for part in ("--set", setting)]
    while True:
        call = start_vouch(var, "run", "config/breast_cancer", *arguments)
        while call.is_running() and not (found := set(running(var)) - killed):
            time.sleep(0.01)
        if not call.is_running():
            break
        killed |= found
        call.kill()
    assert call.wait().returncode == 0, call.output()
    assert {name.rpartition(".")[2] for name in killed} >= UPSTREAM | {"Trainer", "Evaluator", "AtomicPusher"}
    assert running(var) == []
    assert list_runs(var / "metadata.sqlite")[0].state == "complete"
    serving = var / "serving" / "breast_cancer"
    assert [problems(serving / str(version)) for version in versions(serving)] == [[]]
