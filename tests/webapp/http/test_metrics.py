from __future__ import annotations

import json
import logging
import logging.config
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from common.logs import configuration
from serving.launch.launcher import Start, launch
from tests.support.pipeline.runs import PipelineRun
from tests.support.serving.versions import copy_version
from tests.support.web.apps import App
from tests.support.web.models import Made, make_version, release
from tests.support.web.running import site
from tests.support.web.small_app import small_app
from webapp.http.metrics import MOST_NAMES, OTHERS, Metrics


@pytest.fixture(autouse=True)
def _log_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # dictConfig closes every handler there is, and absl's, where TensorFlow was imported, closes pytest's own stream
    monkeypatch.setattr(logging, "_handlerList", [])
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_carry_the_id_of_their_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = small_app(tmp_path)
    logging.config.dictConfig(configuration("INFO", "json"))
    answer = app.test_client().post("/api/v1/fail", json={}, headers={"X-Request-ID": "id-of-this-test"})
    logging.getLogger("elsewhere").warning("no request")
    app.extensions["vouch"].close()
    assert answer.status_code == 500
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [failure] = [line for line in told if line["message"] == "POST /api/v1/fail failed"]
    assert (failure["request_id"], failure["level"]) == ("id-of-this-test", "ERROR")
    assert "RuntimeError" in failure["traceback"]
    assert [line["request_id"] for line in told if line["logger"] == "webapp.access"] == ["id-of-this-test"]
    assert told[-1]["request_id"] == "-"


def test_text_lines_carry_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = small_app(tmp_path)
    logging.config.dictConfig(configuration("INFO", "text"))
    app.test_client().get("/public", headers={"X-Request-ID": "id-of-this-test"})
    app.extensions["vouch"].close()
    assert " webapp.access id-of-this-test GET /public 200 " in capsys.readouterr().err


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_lines_of_both_servers_carry_the_id_of_one_request(
    pipeline_run: PipelineRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, request_id = pipeline_run.model, "id-of-this-test"
    copy_version(pipeline_run.serving / "1", tmp_path / "serving" / model, 1)
    words = {"VOUCH_LOG_FORMAT": "json", "VOUCH_LOG_LEVEL": "DEBUG"}
    for name, value in words.items():
        monkeypatch.setenv(name, value)  # for the model server
    with launch(Start(tmp_path / "serving", rest_port=0, grpc_port=0)) as server:
        with site(tmp_path, server.addresses, words) as web:
            row = requests.get(f"{web.url}/api/v1/predict/by-index/0", headers={"X-Request-ID": request_id}, timeout=30)
            sent = {"Content-Type": "text/csv", "X-Request-ID": f"{request_id}.csv"}
            lines = requests.get(f"{web.url}/batch/{model}/template.csv", timeout=30).text
            file = requests.post(f"{web.url}/api/v1/predict/csv", lines, headers=sent, timeout=30)
        logs = {"web": tmp_path / "webapp.log", "model server": server.log}
    assert (row.status_code, file.status_code) == (200, 200)
    for name, path in logs.items():
        entries = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
        messages = {entry["request_id"]: entry["message"] for entry in entries}
        assert "/predict" in messages[request_id] or ":predict" in messages[request_id], name
        assert f"{request_id}.csv" in messages, name


def test_twenty_wide_models_of_many_labels_stay_within_some_thousand_series() -> None:
    metrics, loaded = Metrics(), {f"m{number}": (19, 20) for number in range(20)}
    for model in loaded:
        metrics.cautioned(model, {f"f{number}": 1 for number in range(300)})
        for version in range(1, 21):
            metrics.predicted(model, version, "stable", [f"c{number}" for number in range(100)], np.zeros(100, "f4"))
    told = [line for line in metrics.text(loaded).decode().splitlines() if 'model="' in line]
    assert sum(line.startswith("vouch_prediction_cautions_total{") for line in told) == 20 * (MOST_NAMES + 1)
    assert len(told) < 5000
    others = {"model": "m0", "feature": OTHERS}
    assert metrics.registry.get_sample_value("vouch_prediction_cautions_total", others) == 300 - MOST_NAMES


def test_series_end_with_their_model_and_their_version(
    make_app: Callable[..., App], made: dict[str, Made], tmp_path: Path
) -> None:
    serving = tmp_path / "versions"
    for model in ("cells", "patients"):
        for version in (1, 2):
            make_version(serving, made[model], version)
        release(serving, model, 2)
    app, services = make_app(serving=serving)
    for model in ("cells", "patients"):
        services.metrics.cautioned(model, {"age": 1})
        for version in (1, 2):
            services.metrics.predicted(model, version, "stable", ["M"], np.zeros(1, "f4"))

    def told() -> set[tuple[str, str]]:
        families = text_string_to_metric_families(app.test_client().get("/metrics").text)
        labels = [sample.labels for family in families for sample in family.samples if "model" in sample.labels]
        return {(each["model"], each.get("version", "")) for each in labels}

    assert told() == {("cells", ""), ("cells", "2"), ("patients", ""), ("patients", "2")}
    release(serving, "cells", 1, 2, 10.0)
    shutil.rmtree(serving / "patients")
    assert told() == {("cells", ""), ("cells", "1"), ("cells", "2")}
