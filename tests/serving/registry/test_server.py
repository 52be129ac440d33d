"""The whole story by a real MLflow server: a real run, its version, its releases, and an alias moved by hand."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from serving.launch.backends import free
from serving.mlflow_sync import sync
from serving.registry.queue import Queue
from serving.registry.replay import mlflow_environment
from serving.release import commands as release
from tests.support.pipeline.runs import PipelineRun
from tests.support.serving.memory_server import MemoryServer, memory_context
from tests.support.serving.versions import copy_version, tiny_files

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

START_S = 240.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's page as `python -m serving registry open` starts it."""
    var, port = tmp_path_factory.mktemp("server"), free(1)[0]
    command = [sys.executable, "-m", "serving", "registry", "open", "--port", str(port)]
    environment = {**mlflow_environment(), "VOUCH_VAR": str(var)}
    log = (var / "log").open("w")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (var / "log").read_text()
        try:
            return requests.get(f"{url}/health", timeout=2).ok
        except requests.RequestException:
            return False

    try:
        deadline = time.monotonic() + START_S
        while not answers():
            assert time.monotonic() < deadline, (var / "log").read_text()
            threading.Event().wait(0.2)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def test_a_real_run_its_version_its_release_and_a_persons_alias(
    server: str, pipeline_run: PipelineRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    root, model = tmp_path / "serving", "breast_cancer"
    shutil.copytree(pipeline_run.var / "serving", root)
    [entry] = [waiting.entry for waiting in Queue(root).waiting()]
    Queue(root).append(replace(entry, folder=str(tmp_path)))
    context = memory_context(root, MemoryServer())
    client = MlflowClient(tracking_uri=server, registry_uri=server)

    report = sync(context, tmp_path)

    assert (report.versions, report.problems, report.waiting) == ([f"{model} 1"], [], 0)
    [run] = client.search_runs([client.get_experiment_by_name(model).experiment_id])
    facts = json.loads((Path(str(pipeline_run.uri("RunReport", "report"))) / "report.json").read_text())
    [auc] = [metric for metric in facts["metrics"] if metric["name"] == "auc"]
    assert run.data.metrics["auc.lower"] == pytest.approx(auc["lower"])
    assert len(client.get_metric_history(run.info.run_id, "epoch/loss")) == len(facts["history"]["values"]["loss"])
    [given] = run.inputs.dataset_inputs
    assert facts["source_digest"].startswith(given.dataset.digest)
    local = Path(client.download_artifacts(run.info.run_id, "report/report.html", str(tmp_path)))
    assert local.read_bytes() == (Path(str(pipeline_run.uri("RunReport", "report"))) / "report.html").read_bytes()
    [version] = client.search_model_versions(f"name='{model}'")
    assert json.loads((tmp_path / "mlflow.json").read_text())["run_id"] == run.info.run_id
    assert (version.source, version.run_id) == (f"vouch://serving/{model}/1", run.info.run_id)

    for name in ("tiny", "other"):
        copy_version(tiny_files(tmp_path / name), root / "tiny", 1 if name == "tiny" else 2)
    release.promote(context, "tiny", 1)
    sync(context, tmp_path)
    assert aliases(client) == {"production": 1}
    settings = tmp_path / "configs" / "tiny"
    settings.mkdir(parents=True)
    text = "name: tiny\ndata: {source: d.csv, label: l, classes: [a, b]}\nregistry: {follow: true}\n"
    (settings / "pipeline.yaml").write_text(text)
    [second] = [v for v in client.search_model_versions("name='tiny'") if v.tags["serving.version"] == "2"]
    client.set_registered_model_alias("tiny", "production", second.version)
    assert sync(context, settings.parent).moved == []
    sync(context, settings.parent)
    assert (aliases(client), Queue(root).waiting()) == ({"production": 2}, [])
    assert requests.get(server, timeout=30).ok, "the page"


def aliases(client: Any) -> dict[str, int]:
    named = client.get_registered_model("tiny").aliases
    versions = {alias: client.get_model_version("tiny", str(number)) for alias, number in named.items()}
    return {alias: int(version.tags["serving.version"]) for alias, version in versions.items()}
