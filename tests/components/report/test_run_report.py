"""The report of the one real run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.tasks.classification import Classification
from components.verdict import Verdict
from config.load import load_settings
from serving.repository.manifest import Manifest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(pipeline_run: Any) -> Path:
    found: Path = pipeline_run.uri("RunReport", "report")
    return found


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "report.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "name", ["report.html", "report.json", "report.xlsx", "report.png", "model_card.md", "settings.yaml"]
)
def test_every_file_is_there_and_small(folder: Path, name: str) -> None:
    assert 1_000 < (folder / name).stat().st_size < 2_000_000


def test_the_scored_rows_are_the_evaluated_ones(facts: dict[str, Any]) -> None:
    rows = {split["name"]: split["rows"] for split in facts["splits"]}
    assert sum(map(sum, facts["confusion"])) == rows["test"]
    assert sum(rows.values()) == facts["rows_in"] == 569
    assert all(sum(split["class_counts"].values()) == split["rows"] for split in facts["splits"])
    metrics = {metric["name"]: metric["value"] for metric in facts["metrics"]}
    # the Evaluator counts scores in buckets, the curve sorts them
    assert facts["curves"][0]["auc"] == pytest.approx(metrics["auc"], abs=1e-3)
    assert facts["operating_point"]["recall"] == pytest.approx(metrics["recall"])
    assert facts["operating_point"]["precision"] == pytest.approx(metrics["precision"])


def test_it_says_what_the_manifest_says(facts: dict[str, Any], pipeline_run: Any) -> None:
    manifest = Manifest.read(pipeline_run.serving / "1")
    assert facts["pushed_version"] == manifest.version
    for key in ("run_id", "settings_hash"):
        assert facts[key] == getattr(manifest, key)
    assert facts["source_digest"] == manifest.data_digest
    assert facts["operating_point"]["threshold"] == (manifest.operating_point or {})["threshold"]


def test_the_network_read_back_is_the_one_configured(facts: dict[str, Any]) -> None:
    assert facts["network"]["saved"] == facts["network"]["configured"] == [256, 128, 64, 32, 1]


def test_the_command_and_the_settings_give_the_run_again(
    folder: Path, facts: dict[str, Any], breast_cancer: Any
) -> None:
    assert facts["command"] == "python local_runner.py run config/breast_cancer"
    card = (folder / "model_card.md").read_text(encoding="utf-8")
    assert f"`{facts['command']}` on the same data" in card
    again = load_settings(
        folder / "settings.yaml", [f"data.source={breast_cancer.data.source}", f"schema={breast_cancer.schema_file}"]
    )
    assert again == breast_cancer


def test_every_stage_before_it_is_timed(facts: dict[str, Any], pipeline_run: Any) -> None:
    ran = {step.component for step in pipeline_run.run.steps} - {"RunReport"}
    assert {stage["component"] for stage in facts["stages"]} == ran
    assert all(stage["state"] == "COMPLETE" for stage in facts["stages"])
    assert any(stage["seconds"] > 0.5 for stage in facts["stages"])


def test_lineage_names_places_under_the_root_only(facts: dict[str, Any]) -> None:
    assert len(facts["lineage"]) == 10
    assert not [artifact for artifact in facts["lineage"] if artifact["uri"].startswith("/")]
    assert all(artifact["artifact_id"] > 0 for artifact in facts["lineage"])


def test_plain_models_stand_beside_the_network(facts: dict[str, Any]) -> None:
    for baseline in facts["baselines"]:
        assert [m["name"] for m in baseline["metrics"]] == [m["name"] for m in facts["metrics"]]
        assert baseline["metrics"][0]["value"] > (0.4 if baseline["name"] == Classification.commonest else 0.9)
    assert len(facts["baselines"]) == 5
    assert facts["comparison"]


def test_explain_finds_the_evaluation_verdict(folder: Path, facts: dict[str, Any]) -> None:
    verdict = Verdict.read(folder / "evaluation")
    assert verdict.gate == "evaluation"
    assert verdict.sentence == facts["verdicts"][1]["sentence"]
