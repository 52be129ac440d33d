"""What docs/api.md says is done: each of its commands, on a pushed model, a model server and the web app."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from serving.launch.launcher import Start, launch
from tests.support.paths import ROOT
from tests.support.pipeline.runs import PipelineRun
from tests.support.serving.versions import copy_version
from tests.support.web.running import add_user, guarded, site
from webapp.api.login import Login
from webapp.api.openapi import REFUSALS
from webapp.api.schemas import Canary, Feedback, Prediction, Predictions, ProblemDocument
from webapp.settings import WebSettings
from webapp.types import Role

TEXT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
SAID = "http://127.0.0.1:8080"
STRICT = 'set -eu\ncurl() { command curl --fail-with-body -S "$@"; echo; }\n'


def blocks(section: str, language: str = "bash") -> list[str]:
    """The blocks under a heading, or before the first one."""
    text = TEXT.partition(f"\n## {section}\n")[2] if section else TEXT
    return re.findall(rf"^```{language}\n(.*?)^```", text.partition("\n## ")[0], flags=re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Shell:
    """A folder to run the commands in, and the app they are meant for."""

    folder: Path
    url: str

    def run(self, section: str, before: str = STRICT) -> str:
        """Run all of a section's commands, as one session; fail if one of them does."""
        script = "\n".join([before, *blocks(""), *blocks(section)]).replace(SAID, self.url)
        done = subprocess.run(["bash", "-c", script], cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, section: str) -> list[Any]:
        """Run a section's commands and return what those that print it printed."""
        return [json.loads(line) for line in self.run(section).splitlines() if line.strip()]


@pytest.fixture(scope="module")
def shells(pipeline_run: PipelineRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, Shell]]:
    """The open demo, and the same with a login; version 2 is pushed and not released."""
    folder = tmp_path_factory.mktemp("curl")
    (folder / "data").symlink_to(ROOT / "data")
    var, pushed = folder / "var", pipeline_run.serving / "1"
    copy_version(pushed, var / "serving" / pipeline_run.model, 1)
    add_user(var, "otto", Role.OPERATOR)
    with launch(Start(var / "serving", rest_port=0, grpc_port=0)) as running:
        copy_version(pushed, var / "serving" / pipeline_run.model, 2)
        with site(var, running.addresses) as demo, site(var, running.addresses, guarded()) as closed:
            yield Shell(folder, demo.url), Shell(folder, closed.url)


@pytest.mark.slow
def test_rows_are_predicted(shells: tuple[Shell, Shell]) -> None:
    shell, _ = shells
    alone, beside, sticky = map(Predictions.model_validate, shell.json("Predict"))
    held_out = json.loads((shell.folder / "held-out.json").read_text())
    assert alone.predictions == sticky.predictions
    assert alone.predictions[0].model_dump(exclude_none=True) == held_out["prediction"]
    [prediction] = beside.predictions
    assert isinstance(prediction, Prediction)
    assert [each.model for each in prediction.plain or ()] == [
        "Logistic regression",
        "Decision tree",
        "SVM (RBF kernel)",
    ]
    assert {each.label for each in prediction.plain or ()} == {prediction.label}
    assert [each.feature for each in prediction.inputs or ()] == sorted(held_out["features"])


@pytest.mark.slow
def test_a_csv_is_predicted(shells: tuple[Shell, Shell]) -> None:
    shell, _ = shells
    [summary] = shell.json("A CSV")
    with (shell.folder / "predicted.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"]]
    assert (summary["rows"], summary["failed"]) == (len(rows), 0) == (569, 0)
    right = sum(row["label"] == row["diagnosis"] for row in rows)
    assert right > 0.9 * len(rows)


@pytest.mark.slow
def test_models_are_told(shells: tuple[Shell, Shell]) -> None:
    shell, _ = shells
    models, model = shell.json("The models")
    assert models["default"] == model["name"] == "breast_cancer"
    assert len(model["features"]) == 30
    assert [version["version"] for version in model["version_details"]] == [2, 1]


@pytest.mark.slow
def test_a_version_is_tried_promoted_and_rolled_back(shells: tuple[Shell, Shell]) -> None:
    shell, _ = shells
    tried, promoted, back = shell.json("Releases")
    assert (tried["stable"], tried["candidate"], tried["candidate_percent"]) == (1, 2, 10.0)
    assert (promoted["stable"], promoted["candidate"], promoted["previous"]) == (2, None, 1)
    assert back["stable"] == 1


@pytest.mark.slow
def test_a_true_label_is_told(shells: tuple[Shell, Shell]) -> None:
    shell, _ = shells
    kept, several = shell.json("Feedback")
    assert (kept["row"], kept["label"]) == (0, "M")
    assert several["kept"] == 1


@pytest.mark.slow
def test_an_error_is_told_as_it_says(shells: tuple[Shell, Shell]) -> None:
    shell, _ = shells
    said = shell.run("Errors", before="set -eu")
    [shown] = blocks("Errors", "json")
    expected = json.loads(shown)
    for key in ("type", "title", "status", "detail", "got", "wanted"):
        assert f'"{key}":{json.dumps(expected[key])}' in said
    assert json.dumps(expected["errors"][0], separators=(",", ":"))[:70] in said


@pytest.mark.slow
def test_a_program_logs_in_and_out(shells: tuple[Shell, Shell]) -> None:
    _, shell = shells
    who, held_out, released, done = shell.json("With logins")
    assert (who["name"], who["role"]) == ("otto", "operator")
    assert held_out["index"] == 7
    assert released["stable"] == 1
    assert done == {"done": True}


def test_every_address_is_in_the_guide(client: FlaskClient) -> None:
    table = TEXT.partition("\n## ")[0]
    for path in client.get("/api/openapi.json").json["paths"]:
        short = path.removeprefix("/api/v1")
        assert f"{short}`" in table or f"`…/{short.rpartition('/')[2]}`" in table, short


def test_every_status_and_limit_is_in_the_guide() -> None:
    assert all(str(status) in TEXT for status in REFUSALS)
    for name in re.findall(r"`VOUCH_(\w+)[`=]", TEXT):
        assert name.lower() in WebSettings.model_fields
    limits = TEXT.partition("\n## Limits\n")[2]
    assert all(
        f"VOUCH_{name.upper()}" in limits
        for name in WebSettings.model_fields
        if name.startswith("max_") and name != "max_waiting"
    )


def test_the_answers_shown_are_of_the_form_that_is_documented() -> None:
    Predictions.model_validate(json.loads(blocks("Predict", "json")[0].replace("6f2a…", "6f2a6f2a")))
    ProblemDocument.model_validate(json.loads(blocks("Errors", "json")[0]))
    assert {"percent", "password", "version"} == set(Canary.model_fields)
    assert "request_id" in Feedback.model_fields
    assert "username" in Login.model_fields
