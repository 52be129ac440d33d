"""Real tables that Python packages ship, through `init` and `run` with nothing edited.

Each is pushed, or stops with findings that are true of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.zoo import TABLES, fetch
from common.errors import EnvironmentProblem
from serving.repository.layout import versions
from tests.support.pipeline.runs import locked
from tests.support.programs import skip_without

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
NO_BETTER, TOO_FEW, LEAK = "PLAIN_MODEL_BETTER", "NO_BETTER_THAN_CHANCE", "LABEL_LEAK"
ALWAYS_PUSHED = ("biopsy", "penguins", "diamonds_price")
STOPS = {"flchain_death": {LEAK}, "birthwt": {LEAK}}
FEW_ROWS = ("pbc", "pima", "tips", "tip")  # so few that chance may be all that they tell


@pytest.fixture(scope="session")
def packages(shared_folder: Path) -> Path:
    """Fetch the packages once for all workers."""
    folder = shared_folder / "zoo"
    folder.mkdir(exist_ok=True)
    with locked(folder / "lock"):
        if not (folder / "done").exists():
            try:
                fetch(folder)
            except EnvironmentProblem:
                skip_without("a package index with the zoo's packages")
            (folder / "done").touch()
    return folder


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_pushed_or_stops_for_a_reason_that_is_true(
    packages: Path, tmp_path: Path, vouch: Any, run_pipeline: Any, name: str
) -> None:
    table, var = tmp_path / f"{name}.csv", tmp_path / "var"
    table.write_text(TABLES[name].read(packages), encoding="utf-8")
    made = vouch(var, "init", table, "--label", TABLES[name].label, "--out", tmp_path / "config")
    assert made.returncode == 0, made.stdout + made.stderr
    run = run_pipeline(var, config=tmp_path / "config" / name)
    assert "Traceback" not in run.output
    if run.returncode == 0:
        assert name not in STOPS
        assert versions(var / "serving" / name) == [1]
        return
    assert run.returncode == 4, run.output
    assert name not in ALWAYS_PUSHED, run.output
    errors = {f.kind for verdict in run.verdicts.values() for f in verdict.findings if f.severity == "error"}
    allowed = STOPS.get(name, {NO_BETTER, TOO_FEW} if name in FEW_ROWS else {NO_BETTER})
    assert errors, run.output
    assert errors <= allowed, run.output
