"""A real run, as it is put down for MLflow, and as `explain` finds it there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from serving.registry.queue import Queue, RunEnded
from serving.registry.tracking import BACKLINK, metrics, parameters
from tests.support.pipeline.runs import PipelineRun
from tests.support.serving.tracked import FACTS

pytestmark = pytest.mark.slow


@pytest.fixture
def entry(pipeline_run: PipelineRun) -> RunEnded:
    [waiting] = Queue(pipeline_run.var / "serving").waiting()
    assert isinstance(waiting.entry, RunEnded)
    return waiting.entry


def test_a_run_that_has_ended_is_put_down_with_all_that_it_left(entry: RunEnded, pipeline_run: PipelineRun) -> None:
    assert (entry.run_id, entry.state, entry.version) == (pipeline_run.run.run_id, "complete", 1)
    assert entry.started < entry.time
    assert set(entry.verdicts) == {"data", "evaluation", "serving"}
    assert entry.executions.keys() >= {"Trainer", "AtomicPusher", "RunReport"}
    assert (Path(entry.report or "") / "report.json").is_file()
    assert (Path(entry.schema or "") / "schema.pbtxt").is_file()
    assert (Path(entry.statistics or "") / "Split-train" / "FeatureStats.pb").is_file()
    assert "run" in entry.command


def facts_of(entry: RunEnded) -> dict[str, Any]:
    return json.loads((Path(entry.report or "") / "report.json").read_text(encoding="utf-8"))


def test_the_real_report_says_what_mlflow_is_told(entry: RunEnded) -> None:
    facts = facts_of(entry)
    told = {metric.key: metric.value for metric in metrics(facts, 0)}
    assert {"auc", "auc.lower", "auc.upper", "operating_point/threshold", "rows/test", "epoch/val_loss"} <= set(told)
    values = {parameter.key: parameter.value for parameter in parameters(facts)}
    assert (values["model.epochs"], values["data.label"]) == (str(facts["settings"]["model"]["epochs"]), "diagnosis")
    assert not [key for key in values if key.startswith(("features", "class_names", "title"))]


def test_the_stand_in_for_a_report_has_the_real_ones_shape(entry: RunEnded) -> None:
    assert _missing(FACTS, facts_of(entry)) == []


def _missing(stand_in: Any, real: Any, place: str = "") -> list[str]:
    """Keys of the stand-in that the real report lacks; lists are alike by their first items."""
    if isinstance(stand_in, Mapping):
        absent = [f"{place}.{key}" for key in stand_in if key not in real and place != ".splits.class_counts"]
        return absent + [
            each for key in stand_in if key in real for each in _missing(stand_in[key], real[key], f"{place}.{key}")
        ]
    if isinstance(stand_in, list) and stand_in and real:
        return _missing(stand_in[0], real[0], place)
    return []


def test_explain_tells_where_a_run_is_in_mlflow(
    entry: RunEnded, pipeline_run: PipelineRun, vouch: Callable[..., Any]
) -> None:
    folder = pipeline_run.var / "reports" / entry.model / entry.run_id
    assert json.loads(vouch(pipeline_run.var, "explain", "--json").stdout)["mlflow"] is None
    link = {"run_id": "abc", "experiment_id": "1", "experiment": entry.model}
    (folder / BACKLINK).write_text(json.dumps(link))
    assert json.loads(vouch(pipeline_run.var, "explain", "--json").stdout)["mlflow"] == link
    assert "in MLflow: experiment breast_cancer, run abc" in vouch(pipeline_run.var, "explain").stdout
    (folder / BACKLINK).unlink()
