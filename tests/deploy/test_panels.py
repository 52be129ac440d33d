"""A real Prometheus reads our real processes: every panel has data; a server that goes is told, and that it is back."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from common.records.spans import SUMMARY
from monitoring.stack import HERE, Stack, run
from serving.launch.backends import free
from serving.launch.launcher import Start, launch
from serving.release.commands import canary, promote
from serving.release.servers import ReleaseContext, release_clients
from tests.support.paths import ROOT
from tests.support.pipeline.runs import CONFIG, DATA, PipelineRun
from tests.support.programs import program
from tests.support.serving.running import wait_for
from tests.support.serving.versions import copy_version
from tests.support.web.running import site

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

FASTER = 10.0
WINDOW = "5s"  # of rates, where Prometheus reads twice a second


def panels() -> dict[str, str]:
    """The query of every panel and annotation by its name, with Grafana's variables filled in."""
    queries = {}
    for path in sorted((HERE / "grafana" / "dashboards").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for panel in content["panels"]:
            for target in panel["targets"]:
                queries[f"{path.stem}: {panel['title']} {target['refId']}"] = target["expr"]
        for annotation in content["annotations"]["list"]:
            queries[f"{path.stem}: {annotation['name']}"] = annotation["expr"]
    filled_in = {"$__rate_interval": WINDOW, "$model": ".*", "$column": ".*"}
    for variable, value in filled_in.items():
        queries = {name: query.replace(variable, value) for name, query in queries.items()}
    return queries


def has_data(prometheus: str, query: str) -> bool:
    answer = requests.get(f"http://{prometheus}/api/v1/query", params={"query": query}, timeout=10).json()
    assert answer["status"] == "success", (query, answer)
    return any(not math.isnan(float(series["value"][1])) for series in answer["data"]["result"])


def is_firing(stack: Stack, name: str) -> Callable[[], bool]:
    def ask() -> bool:
        alerts = requests.get(f"http://{stack.alertmanager}/api/v2/alerts", timeout=10).json()
        return any(alert["labels"]["alertname"] == name for alert in alerts)

    return ask


def test_every_panel_has_data_drift_is_told_and_a_server_that_goes_is_until_it_is_back(
    pipeline_run: PipelineRun, tmp_path: Path
) -> None:
    program("promtool")  # without Prometheus there is nothing to ask
    root, model = tmp_path / "serving", pipeline_run.model
    copy_version(pipeline_run.serving / "1", root / model, 1)
    rest, grpc, watcher, *ports = free(5)
    start = Start(root, rest_port=rest, grpc_port=grpc)
    with ExitStack() as stack:
        server_life = stack.enter_context(ExitStack())
        server = server_life.enter_context(launch(start))
        web = stack.enter_context(site(tmp_path, server.addresses))
        watched = Stack(
            tmp_path / "monitoring",
            f"127.0.0.1:{rest}",
            web.url.removeprefix("http://"),
            *ports,
            faster=FASTER,
            watcher=f"127.0.0.1:{watcher}",
        )
        stack.enter_context(run(watched))
        environment = {
            "VOUCH_VAR": str(tmp_path),
            "VOUCH_MODELS": str(configs(tmp_path, model)),
            "VOUCH_MODEL_SERVER_GRPC": server.addresses.grpc,
            "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        }
        shift = ("--shift", "covariate", "--size", "2", "--rows", "8000", "--rate", "40", "--label-share", "0.2")
        monitor = partial(beside, stack, environment)
        monitor("simulate", model, *shift, "--url", web.url)
        monitor("watch", "--interval", "1s", "--window", "20s", "--port", str(watcher))

        copy_version(pipeline_run.serving / "1", root / model, 2)
        copy_version(pipeline_run.serving / "1", root / model, 3)
        with release_clients(server.addresses.grpc) as clients:
            canary(ReleaseContext(root, clients, "tests"), model, 50.0, 2)
            send = traffic(web.url, server.addresses.rest, model)
            waiting = panels()

            def all_have_data() -> bool:
                send()
                for name, query in list(waiting.items()):
                    if has_data(watched.prometheus, query):
                        del waiting[name]
                return not waiting or all("Releases" in name for name in waiting)

            wait_for(all_have_data, 400, lambda: f"no data for {sorted(waiting)}")
            wait_for(is_firing(watched, "Watchdog"), 60, lambda: "the watchdog does not fire")
            wait_for(is_firing(watched, "ModelDrift"), 60, lambda: "nobody was told of the drift")
            assert not is_firing(watched, "ModelServerDown")()
            promote(ReleaseContext(root, clients, "tests"), model, 2)
            wait_for(lambda: all_have_data() and not waiting, 60, lambda: f"no data for {sorted(waiting)}")

        server_life.close()
        wait_for(is_firing(watched, "ModelServerDown"), 120, lambda: "nobody was told that the server is down")
        server_life.enter_context(launch(start))
        wait_for(
            lambda: not is_firing(watched, "ModelServerDown")(), 120, lambda: "nobody was told that the server is back"
        )


def configs(folder: Path, model: str) -> Path:
    """A folder of settings by which the model's data come in spans, one of which was collected."""
    shutil.copytree(CONFIG, folder / "config" / model)
    path, span = folder / "config" / model / "pipeline.yaml", folder / "spans" / "span-1"
    text = re.sub(r"(?m)^( +source:).*$", rf"\1 {span.parent}/span-{{SPAN}}/*.csv", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    span.mkdir(parents=True)
    shutil.copy(DATA, span)
    (span / SUMMARY).write_text("{}")
    return folder / "config"


def beside(stack: ExitStack, environment: dict[str, str], *arguments: str) -> None:
    """Run a command of monitoring as long as the test."""
    command = [sys.executable, "-m", "monitoring", *arguments]
    process = stack.enter_context(subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}))
    stack.callback(process.kill)


def traffic(web: str, rest: str, model: str) -> Callable[[], None]:
    """Return what asks once in every way: by the page's API, with values never seen, wrongly, and past the page."""
    example: dict[str, Any] = requests.get(f"{web}/api/v1/predict/by-index/0", timeout=30).json()
    row = example["features"]
    strange = dict.fromkeys(row, 1000000.0)

    def send() -> None:
        for rows in (row, strange, {}):
            requests.post(f"{web}/api/v1/predict", json={"row": rows}, timeout=30)
        for _ in range(3):
            inputs = {"instances": [row]}
            requests.post(f"{rest}/v1/models/{model}:predict", json=inputs, timeout=30).raise_for_status()

    return send
