from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

COMMANDS = ["run", "runs", "explain", "diff", "prune", "predict", "init", "doctor"]
HEAVY = ("tensorflow", "tfx", "pandas", "numpy", "apache_beam", "ml_metadata")
LIST_HEAVY = """
import sys
sys.argv = ["local_runner.py", *sys.argv[1:]]
import local_runner
try:
    local_runner.main()
except SystemExit as done:
    print(done.code, [name for name in sys.argv_heavy if name in sys.modules])
"""
CSV = "species,length,colour\n" + "".join(
    f"{'ab'[i % 2]},{i % 7 + i % 2}.5,{['red', 'blue'][i % 2]}\n" for i in range(80)
)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_is_quick_for_it_imports_nothing_heavy(command: str | None) -> None:
    code = LIST_HEAVY.replace("sys.argv_heavy", repr(HEAVY))
    arguments = [*([command] if command else []), "--help"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("Usage:")
    assert done.stdout.splitlines()[-1] == "0 []"


def test_help_names_every_command_and_exit_code(vouch: Any, tmp_path: Path) -> None:
    said = vouch(tmp_path, "--help").stdout
    assert all(command in said for command in COMMANDS)
    assert "4 a gate refused" in said


@pytest.mark.parametrize("command", ["run", "predict"])
def test_a_wrong_path_ends_with_2_and_the_cure(vouch: Any, tmp_path: Path, command: str) -> None:
    done = vouch(tmp_path / "var", command, tmp_path / "nowhere")
    assert done.returncode == 2
    assert f"no configuration at {tmp_path / 'nowhere'}" in done.stderr
    assert "local_runner.py init" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("modle: {}", "pipeline.yaml:7: unknown key 'modle'; did you mean 'model'?"),
        ("model: {epochs: many}", "pipeline.yaml:7: model.epochs: should be an integer, got many"),
        ("model: {dropout: 1.5}", "pipeline.yaml:7: model.dropout"),
        ("evaluation: {thresholds: {acu: 0.9}}", "pipeline.yaml:7: evaluation.thresholds.acu"),
        ("schema: absent.pbtxt", "pipeline.yaml:7: schema: there is no such file"),
        ("model: [", "pipeline.yaml:8 is not YAML"),
    ],
    ids=["unknown key", "no number", "out of range", "unknown metric", "no schema", "no YAML"],
)
def test_a_mistake_in_the_file_ends_with_2_and_its_line(vouch: Any, tmp_path: Path, line: str, said: str) -> None:
    config = tmp_path / "pipeline.yaml"
    config.write_text(f"name: m\n\n\ndata: {{source: x.csv, label: y, classes: [a, b]}}\n\n\n{line}\n")
    done = vouch(tmp_path / "var", "run", config)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("override", ["epochs", "model.epochs=0", "model.epoch=3", "=3", "name=Not A Name"])
def test_a_bad_override_ends_with_2_and_is_named(vouch: Any, tmp_path: Path, override: str) -> None:
    done = vouch(tmp_path / "var", "run", "config/breast_cancer", "--set", override)
    assert done.returncode == 2
    assert "--set" in done.stderr
    assert "Traceback" not in done.stderr


def test_init_writes_both_files_and_refuses_to_overwrite(vouch: Any, tmp_path: Path) -> None:
    csv = tmp_path / "plants.csv"
    csv.write_text(CSV)
    command = ("init", csv, "--label", "species", "--out", tmp_path / "config")
    done = vouch(tmp_path / "var", *command)
    assert done.returncode == 0, done.stderr
    assert "next: local_runner.py run" in done.stdout
    written = tmp_path / "config" / "plants" / "pipeline.yaml"
    written.write_text(written.read_text() + "# mine\n")

    again = vouch(tmp_path / "var", *command)
    assert again.returncode == 2
    assert "refusing to overwrite" in again.stderr
    assert written.read_text().endswith("# mine\n")
    assert vouch(tmp_path / "var", *command, "--force").returncode == 0
    assert not written.read_text().endswith("# mine\n")


def test_init_names_the_nearest_column(vouch: Any, tmp_path: Path) -> None:
    csv = tmp_path / "plants.csv"
    csv.write_text(CSV)
    done = vouch(tmp_path / "var", "init", csv, "--label", "specis", "--out", tmp_path / "config")
    assert done.returncode == 2
    assert "did you mean --label 'species'?" in done.stderr


def test_before_any_run_everything_says_so(vouch: Any, tmp_path: Path) -> None:
    listed = vouch(tmp_path, "runs")
    assert (listed.returncode, listed.stdout.strip()) == (0, "no runs yet: local_runner.py run config/NAME")
    assert json.loads(vouch(tmp_path, "runs", "--json").stdout) == []
    none = vouch(tmp_path, "runs", "--limit", "0")
    assert (none.returncode, "x>=1" in none.stderr) == (2, True), "it said that there are no runs"
    explained = vouch(tmp_path, "explain")
    assert explained.returncode == 3
    assert "no such run" in explained.stderr


@pytest.mark.parametrize("command", ["runs", "explain"])
def test_a_damaged_store_ends_with_5_and_the_cure(vouch: Any, tmp_path: Path, command: str) -> None:
    (tmp_path / "metadata.sqlite").write_bytes(b"not SQLite " * 1000)
    done = vouch(tmp_path, command)
    assert done.returncode == 5
    assert "is damaged" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_nothing_pushed_nothing_predicted(vouch: Any, tmp_path: Path) -> None:
    predicted = vouch(tmp_path, "predict", "config/breast_cancer")
    assert predicted.returncode == 3
    assert "no version of 'breast_cancer' is pushed" in predicted.stderr


@pytest.mark.slow
def test_runs_lists_them(pipeline_run: Any, vouch: Any) -> None:
    table = vouch(pipeline_run.var, "runs").stdout
    assert pipeline_run.run_id in table
    assert "complete" in table
    [row] = [
        r for r in json.loads(vouch(pipeline_run.var, "runs", "--json").stdout) if r["run_id"] == pipeline_run.run_id
    ]
    assert (row["model"], row["state"], row["version"]) == ("breast_cancer", "complete", 1)
    assert {step["state"] for step in row["steps"].values()} == {"COMPLETE"}
    assert json.loads(vouch(pipeline_run.var, "runs", "--json", "--model", "another").stdout) == []


@pytest.mark.slow
def test_explain_tells_what_each_gate_said(pipeline_run: Any, vouch: Any) -> None:
    said = vouch(pipeline_run.var, "explain", pipeline_run.run_id).stdout
    assert "pushed as version 1" in said
    for gate in ("data gate", "evaluation gate", "serving gate"):
        assert f"passed  {gate}" in said
    told = json.loads(vouch(pipeline_run.var, "explain", pipeline_run.run_id[:12], "--json").stdout)
    assert [(v["gate"], v["passed"]) for v in told["verdicts"]] == [
        ("data", True),
        ("evaluation", True),
        ("serving", True),
    ]


@pytest.mark.slow
def test_explain_of_an_unknown_run_names_those_there_are(pipeline_run: Any, vouch: Any) -> None:
    done = vouch(pipeline_run.var, "explain", "1999")
    assert done.returncode == 3
    assert pipeline_run.run_id in done.stderr


@pytest.mark.slow
def test_predict_scores_test_rows_alike_by_each_signature(pipeline_run: Any, start_vouch: Any) -> None:
    done = start_vouch(pipeline_run.var, "predict", "config/breast_cancer", "--rows", 5).wait()
    assert done.returncode == 0, done.stderr
    rows = [line.split("│")[1:-1] for line in done.stdout.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert len(cells) == 5
    assert all(row[1] in ("B", "M") for row in cells)
    assert all(len(set(row[2:])) == 1 and len(row) == 5 for row in cells)


def test_a_slip_against_the_schema_is_told_before_tfx_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys, local_runner\n"
        "try:\n"
        f"    local_runner.main(['run', {str(ROOT / 'config' / 'iris')!r}, '--set', 'categorical=[petal_length]'])\n"
        "except SystemExit as end:\n"
        "    print(end.code, [m for m in ('tfx', 'tensorflow', 'apache_beam') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "2 []\n"
    assert "categorical: 'petal_length' is not an INT column" in done.stderr
