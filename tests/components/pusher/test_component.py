from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.verdict import Finding, Verdict
from serving.repository.layout import SHOWCASE, versions
from serving.repository.manifest import Manifest, problems

pytestmark = pytest.mark.slow


@pytest.fixture
def pushed(pipeline_run: Any, breast_cancer: Any, tmp_path: Path) -> Callable[..., Any]:
    """Run the component on the shared run's artifacts, with the blessings that a test chooses."""

    def go(*, blessed: bool, fit: bool, baseline: str = "") -> Any:
        from tfx.components.evaluator import constants
        from tfx.components.infra_validator import executor as infra_validator
        from tfx.dsl.components.base.base_executor import BaseExecutor
        from tfx.types import artifact_utils, standard_artifacts

        from components.pusher.component import Executor
        from pipeline.history import open_store

        store = open_store(pipeline_run.metadata)

        def artifact(component: str, key: str) -> Any:
            found = pipeline_run.run.step(component).outputs[key][0]
            return artifact_utils.deserialize_artifact(store.get_artifact_types_by_id([found.type_id])[0], found)

        blessing, infra = standard_artifacts.ModelBlessing(), standard_artifacts.InfraBlessing()
        blessing.uri, infra.uri = str(tmp_path / "blessing"), str(tmp_path / "infra")
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(blessed))
        (infra_validator._mark_blessed if fit else infra_validator._mark_not_blessed)(infra)
        evaluation = artifact("Evaluator", "evaluation")
        if baseline:
            evaluation.uri = str(shutil.copytree(evaluation.uri, tmp_path / "evaluation"))
            verdict = Verdict.read(tmp_path / "evaluation")
            compared = Finding("NOT_WORSE_THAN_BLESSED", "info", "It is.", details={"baseline": baseline})
            replace(verdict, findings=(*verdict.findings, compared)).write(tmp_path / "evaluation")
        output = standard_artifacts.PushedModel()
        output.uri = str(tmp_path / "pushed")
        Executor(BaseExecutor.Context(pipeline_run_id="a-run")).Do(
            {
                "model": [artifact("Trainer", "model")],
                "model_blessing": [blessing],
                "infra_blessing": [infra],
                "verdict": [artifact("ServingProbe", "verdict")],
                "evaluation": [evaluation],
                "examples": [artifact("FileBasedExampleGen", "examples")],
                "statistics": [artifact("StatisticsGen", "statistics")],
                "schema": [artifact("ImportSchemaGen", "schema")],
            },
            {"pushed_model": [output]},
            {
                "settings": breast_cancer.model_dump_json(by_alias=True),
                "base": str(tmp_path / "base"),
                "showcase": breast_cancer.showcase.model_dump_json(),
            },
        )
        return output

    return go


@pytest.mark.parametrize(("blessed", "fit"), [(False, True), (True, False), (False, False)])
def test_without_both_blessings_nothing_is_pushed(
    pushed: Callable[..., Any], tmp_path: Path, blessed: bool, fit: bool
) -> None:
    output = pushed(blessed=blessed, fit=fit)
    assert output.get_int_custom_property("pushed") == 0
    assert not (tmp_path / "base").exists()


def test_with_both_the_model_is_pushed_whole(pushed: Callable[..., Any], pipeline_run: Any, tmp_path: Path) -> None:
    output = pushed(blessed=True, fit=True)
    assert (output.get_int_custom_property("pushed"), output.get_int_custom_property("version")) == (1, 1)
    assert versions(tmp_path / "base") == [1]
    assert problems(tmp_path / "base" / "1") == []
    manifest = Manifest.read(tmp_path / "base" / "1")
    assert manifest.run_id == "a-run"
    assert manifest.digest == Manifest.read(pipeline_run.serving / "1").digest
    assert manifest.baseline == "", "there was no blessed model to compare with"


def test_the_manifest_names_the_model_that_it_was_compared_with(
    pushed: Callable[..., Any], pipeline_run: Any, tmp_path: Path
) -> None:
    digest = Manifest.read(pipeline_run.serving / "1").digest
    pushed(blessed=True, fit=True, baseline=digest)
    assert Manifest.read(tmp_path / "base" / "1").baseline == digest


def test_rows_to_look_at_travel_with_the_model(
    pushed: Callable[..., Any], pipeline_run: Any, breast_cancer: Any, tmp_path: Path
) -> None:
    pushed(blessed=True, fit=True)
    folder = tmp_path / "base" / "1"
    assert SHOWCASE in Manifest.read(folder).checksums
    found = json.loads((folder / SHOWCASE).read_text(encoding="utf-8"))
    assert (folder / SHOWCASE).read_bytes() == (pipeline_run.serving / "1" / SHOWCASE).read_bytes()
    for split in ("train", "test"):
        part = found[split]
        assert part["rows"] == len(part["labels"]) > 90
        assert set(part["labels"]) == {"B", "M"}
        assert {len(values) for values in part["columns"].values()} == {part["rows"]}
        assert not {breast_cancer.data.label, *breast_cancer.data.ignore} & set(part["columns"])
    assert len(found["train"]["columns"]) == 30
