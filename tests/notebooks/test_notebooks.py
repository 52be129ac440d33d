from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_CELLS = 14
TIMEOUT_S = 600
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def execute(path: Path, var: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Run a notebook as Jupyter would, from its own folder, and return its code cells. Raises if one of them does."""
    import nbformat  # late: it takes seconds
    from nbclient import NotebookClient

    monkeypatch.setenv("VOUCH_VAR", str(var))
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def cells_of(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text(encoding="utf-8"))["cells"])


def pictures(cells: list[Any]) -> int:
    return sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)


def text(cells: list[Any]) -> str:
    return json.dumps([cell.outputs for cell in cells], ensure_ascii=False)


def test_notebooks_are_numbered_from_one() -> None:
    assert [int(path.stem.partition("-")[0]) for path in NOTEBOOKS] == [1, 2, 3, 4, 5]


@each
def test_a_notebook_is_short_and_stripped_of_outputs(path: Path) -> None:
    cells = cells_of(path)
    assert len(cells) <= MOST_CELLS
    for cell in cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@each
def test_a_notebook_holds_no_logic(path: Path) -> None:
    for lines in (cell["source"] for cell in cells_of(path) if cell["cell_type"] == "code"):
        assert not any(line.startswith(("def ", "class ", "@")) for line in lines), lines


@each
def test_what_a_notebook_takes_from_our_modules_is_there(path: Path) -> None:
    code = "\n".join("".join(cell["source"]) for cell in cells_of(path) if cell["cell_type"] == "code")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and (ROOT / node.module.split(".")[0]).is_dir():
            assert {alias.name for alias in node.names} <= names_in(ROOT.joinpath(*node.module.split("."))), node.module


def names_in(module: Path) -> set[str]:
    """What can be imported from a module or package, read without running it."""
    file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    names = {child.stem for child in module.glob("*.py")}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    return names


@pytest.mark.slow
@pytest.mark.exhaustive
def test_exploring_shows_the_data_and_names_planted_anomalies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = execute(FOLDER / "01-explore.ipynb", tmp_path / "var", monkeypatch)
    assert pictures(cells) == 3
    said = text(cells)
    assert "569 rows, 30 features" in said
    assert "as they are: no anomalies" in said
    assert "Column dropped" in said
    assert "Unexpected string values" in said
    assert "Out-of-range values" in said
    assert not (tmp_path / "var").exists()


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_tour_shows_the_finished_run_and_starts_no_other(
    pipeline_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.history import list_runs

    before = [run.run_id for run in list_runs(pipeline_run.metadata)]
    cells = execute(FOLDER / "02-pipeline-tour.ipynb", pipeline_run.var, monkeypatch)
    assert [run.run_id for run in list_runs(pipeline_run.metadata)] == before
    assert pictures(cells) == 3
    said = text(cells)
    assert "Pushed as version" in said
    for sentence in ("The data passed: 569 rows", "Blessed on", "Loaded in"):
        assert sentence in said
    assert "problems: none" in said
    for signature in ("serving_default", "serving_examples", "serving_packed"):
        assert signature in said


@pytest.mark.slow
@pytest.mark.exhaustive
def test_serving_bears_a_storm_with_a_release_in_it_and_leaves_nothing_behind(
    pipeline_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(pipeline_run.var.rglob("*"))
    cells = execute(FOLDER / "03-serving.ipynb", pipeline_run.var, monkeypatch)
    assert sorted(pipeline_run.var.rglob("*")) == before
    assert pictures(cells) == 1
    said = text(cells)
    [(by_rest, by_grpc)] = re.findall(r"right: REST (\d+), gRPC (\d+) of 102", said)
    assert by_rest == by_grpc
    assert int(by_rest) > 90
    [served] = re.findall(r"promote: version \d+ is stable; (\d+) is kept loaded", said)
    for sentence in (f"rollback: version {served} is stable", "none failed", "exit code 0; the folder is gone"):
        assert sentence in said


@pytest.mark.slow
@pytest.mark.exhaustive
def test_drift_is_seen_where_the_world_moves_and_alarms(pipeline_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(pipeline_run.var.rglob("*"))
    cells = execute(FOLDER / "04-drift.ipynb", pipeline_run.var, monkeypatch)
    assert sorted(pipeline_run.var.rglob("*")) == before
    assert pictures(cells) == 3
    output = text(cells)
    assert "30 numbers, 0 categories" in output
    assert "clean days with a finding: 0 of 5" in output
    assert output.count("texture_mean") >= 5


@pytest.mark.slow
@pytest.mark.exhaustive
def test_whatever_models_are_pushed_are_shown_and_asked(pipeline_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(pipeline_run.var.rglob("*"))
    cells = execute(FOLDER / "05-many-models.ipynb", pipeline_run.var, monkeypatch)
    assert sorted(pipeline_run.var.rglob("*")) == before
    assert pictures(cells) == 1
    output = text(cells)
    for shown in ("breast_cancer", "classification", "B, M", "AUC", "TensorFlow Serving's REST", "web API"):
        assert shown in output
    assert re.search(r"the network +Logistic regression", output)
    assert "{'breast_cancer': 30}" in output
    assert "exit code 0; the folder is gone" in output
