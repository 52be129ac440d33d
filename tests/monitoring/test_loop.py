"""The closed loop on this machine: the parts cheap, the whole story in the exhaustive tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from config.load import load_settings
from monitoring.collect.spans import Spans
from monitoring.loop import prepare
from tests.support.paths import ROOT
from tests.support.programs import program

MOST_S = 1800
STORY = (
    "nothing fires",
    "the world moves",
    "drift is measured",
    "ModelDrift fires in Alertmanager",
    "controller: retrains, by alert ModelDrift",
    "version 2 answers a share of the requests",
    "controller: promoted",
    "on the real test rows",
    "the alarm is over",
    "the labels are told wrongly",
    "controller: not vouched for",
    "is refused, version 2 stays",
    "the story held",
)


@pytest.mark.parametrize("model", ["breast_cancer", "heart_disease"])
def test_a_model_is_made_ready_with_its_data_as_the_first_span(tmp_path: Path, model: str) -> None:
    settings = load_settings(prepare(tmp_path / "loop", model))
    shipped = load_settings(ROOT / "config" / model)
    assert Spans.of(settings.data.source).numbers() == [1]
    assert 700 <= settings.retrain.min_labels < settings.retrain.most_per_user
    places = {"data": shipped.data, "schema_file": shipped.schema_file}
    assert settings.model_copy(update=places) == shipped.model_copy(update={"retrain": settings.retrain})


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_whole_story_holds(tmp_path: Path) -> None:
    """With real Prometheus, Alertmanager, model server, web app, watcher and controller."""
    program("prometheus")
    program("amtool")  # it comes with Alertmanager
    command = [sys.executable, "-m", "monitoring.loop", "--folder", str(tmp_path / "loop")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=MOST_S, check=False)
    logs = "".join(f"\n== {path}\n{path.read_text()[-2000:]}" for path in (tmp_path / "loop").glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    said = iter(done.stdout.splitlines())
    assert all(any(part in line for line in said) for part in STORY), done.stdout
