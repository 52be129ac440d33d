"""A pushed model in a model server that is started as the image starts it: the same questions to every server.

The embedded server is always asked. `VOUCH_REAL_SERVER=1` asks TensorFlow Serving too: a `tensorflow_model_server` on
PATH, and the image built from the Dockerfile if a Docker engine answers.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import yaml

from serving.client import connect
from serving.client.types import Addresses, VersionSpec
from serving.launch.backends import free
from serving.repository.contents import Golden, plain
from tests.support.paths import ROOT
from tests.support.programs import program, skip_without

pytestmark = pytest.mark.slow
HEALTH = ROOT / "serving" / "healthcheck.sh"
BINARY = "tensorflow_model_server"
LIMIT_S = 120
TOLERANCE = 1e-5  # another TensorFlow, another processor
STABLE = VersionSpec(label="stable")
SIGNATURES = ("serving_default", "serving_examples", "serving_packed")
MODELS_CONFIG = """model_config_list {{ config {{
  name: "{model}" base_path: "/on/another/machine/{model}" model_platform: "tensorflow"
  version_labels {{ key: "stable" value: {version} }}
}} }}"""


@dataclass(frozen=True)
class Site:
    """What is served."""

    folder: Path
    model: str
    version: int

    @property
    def serving(self) -> Path:
        return self.folder / "var" / "serving"

    @property
    def golden(self) -> Golden:
        return Golden.read(self.serving / self.model / str(self.version))


@dataclass(frozen=True)
class Served:
    site: Site
    addresses: Addresses
    health: Callable[[], subprocess.CompletedProcess[str]]


def run(*command: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **more)


def wait_until_healthy(served: Served, is_running: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while (said := served.health()).returncode:
        assert is_running(), "the server ended"
        assert time.monotonic() < end, said.stdout + said.stderr
        time.sleep(0.1)


@contextmanager
def by_entry_point(site: Site, path: str) -> Iterator[Served]:
    """Run the entry point with the binary that is first on this PATH."""
    rest, grpc = free(2)
    (site.folder / "state").mkdir()
    environment = {
        **os.environ,
        "PATH": path,
        "PORT": str(rest),
        "GRPC_PORT": str(grpc),
        "MODEL_BASE_PATH": str(site.serving),
        "VOUCH_CONFIG": str(ROOT / "config"),
        "VOUCH_STATE": str(site.folder / "state"),
        "VOUCH_DRAIN_S": "0",
        "VOUCH_POLL_S": "1",
    }
    process = subprocess.Popen([ROOT / "serving" / "entrypoint.sh"], env=environment, start_new_session=True)
    served = Served(
        site, Addresses(f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc}"), lambda: run(HEALTH, env=environment)
    )
    try:
        wait_until_healthy(served, lambda: process.poll() is None)
        yield served
        process.terminate()
        assert process.wait(LIMIT_S) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def embedded(site: Site) -> Iterator[Served]:
    folder = site.folder / "bin"
    folder.mkdir()
    (folder / BINARY).write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m serving.server "$@"\n')
    (folder / BINARY).chmod(0o755)
    with by_entry_point(site, f"{folder}:{os.environ['PATH']}") as served:
        yield served


@contextmanager
def binary(site: Site) -> Iterator[Served]:
    if shutil.which(BINARY) is None:
        skip_without(BINARY)
    with by_entry_point(site, os.environ["PATH"]) as served:
        yield served


@contextmanager
def docker(site: Site) -> Iterator[Served]:
    if shutil.which("docker") is None or run("docker", "info").returncode:
        skip_without("Docker's engine")
    for path in ("Dockerfile", ".dockerignore"):  # the build takes what was pushed for this test
        shutil.copy2(ROOT / path, site.folder)
    for path in ("config", "serving"):
        shutil.copytree(ROOT / path, site.folder / path)
    name = f"vouch-test-{os.getpid()}"
    built = run("docker", "build", "--tag", name, site.folder)
    assert built.returncode == 0, built.stderr
    ports = [option for port in ("8500", "8501") for option in ("--publish", f"127.0.0.1::{port}")]
    started = run(
        "docker", "run", "--detach", "--name", name, "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", *ports, name
    )
    assert started.returncode == 0, started.stderr
    try:
        rest, grpc = (run("docker", "port", name, port).stdout.split()[0] for port in ("8501", "8500"))
        served = Served(site, Addresses(f"http://{rest}", grpc), lambda: run("docker", "exec", name, "healthcheck.sh"))
        wait_until_healthy(served, lambda: run("docker", "top", name).returncode == 0)
        yield served
        run("docker", "stop", "--time", "30", name)
        assert run("docker", "inspect", "--format", "{{.State.ExitCode}}", name).stdout.strip() == "0"
    finally:
        run("docker", "rm", "--force", name)
        run("docker", "rmi", name)


@pytest.fixture(scope="module", params=[embedded, binary, docker], ids=lambda how: how.__name__)
def served(request: pytest.FixtureRequest, pipeline_run: Any, tmp_path_factory: Any) -> Iterator[Served]:
    if request.param is not embedded and os.environ.get("VOUCH_REAL_SERVER") != "1":
        skip_without("TensorFlow Serving")
    site = Site(tmp_path_factory.mktemp("real_server"), pipeline_run.model, pipeline_run.run.pushed_version)
    shutil.copytree(pipeline_run.var / "serving", site.serving)
    (site.serving / "models.config").write_text(MODELS_CONFIG.format(model=site.model, version=site.version))
    with request.param(site) as running:
        yield running


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_golden_rows_get_the_golden_answers(served: Served, protocol: str, signature: str) -> None:
    golden = served.site.golden
    inputs = {name: plain(values) for name, values in golden.inputs[signature].items()}
    client = connect(served.addresses, protocol)
    answer = client.predict(served.site.model, inputs, STABLE, signature=signature)
    client.close()
    np.testing.assert_allclose(answer["probabilities"], golden.outputs["probabilities"], atol=TOLERANCE)
    assert [label.decode() if isinstance(label, bytes) else label for label in answer["label"]] == golden.outputs[
        "label"
    ]


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_the_version_is_available_and_tells_its_signatures(served: Served, protocol: str) -> None:
    client = connect(served.addresses, protocol)
    [status] = client.status(served.site.model)
    metadata = client.metadata(served.site.model, STABLE)
    client.close()
    assert (status.version, status.state, status.error_code) == (served.site.version, "AVAILABLE", "OK")
    assert metadata.version == served.site.version
    assert set(SIGNATURES) <= set(metadata.signatures)


def test_the_health_check_names_the_model(served: Served) -> None:
    assert served.health().stdout == f"{served.site.model} is available\n"


def test_requests_are_counted_where_prometheus_looks(served: Served) -> None:
    golden = served.site.golden
    for protocol in ("rest", "grpc"):
        client = connect(served.addresses, protocol)
        client.predict(served.site.model, golden.inputs["serving_packed"], STABLE, signature="serving_packed")
        client.close()
    page = requests.get(f"{served.addresses.rest}/monitoring/prometheus/metrics", timeout=10).text
    for api, entry_point in (("predict", "REST"), ("Predict", "GRPC")):
        labels = f'model_name="{served.site.model}",API="{api}",entrypoint="{entry_point}"'
        assert f":tensorflow:serving:request_latency_count{{{labels}}}" in page
    assert f':tensorflow:serving:request_count{{model_name="{served.site.model}",status="OK"}}' in page
    assert ":tensorflow:serving:batching_session:queuing_latency_bucket{" in page


def panel_queries(model: str) -> dict[str, str]:
    """Every panel's queries about the model server, by its title, as Grafana would send them."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "1m").replace("$model", model)
        for path in (ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json")
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
        for target in panel["targets"]
        if any(name in target["expr"] for name in (":tensorflow:serving:", "model-server"))
    }


@pytest.fixture
def prometheus(served: Served, tmp_path: Path) -> Iterator[Callable[[str], list[Any]]]:
    """Prometheus as it is configured, but looking at this server and more often; answers PromQL."""
    program("prometheus")
    folder = ROOT / "monitoring" / "prometheus"
    config = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))
    job = next(job for job in config["scrape_configs"] if job["job_name"] == "model-server")
    job |= {"scrape_interval": "1s", "static_configs": [{"targets": [served.addresses.rest.removeprefix("http://")]}]}
    config |= {"rule_files": [str(folder / "alerts.yml")], "scrape_configs": [job], "alerting": {}}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free(1)[0]}"
    process = subprocess.Popen(
        ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}"],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )

    def ask(query: str) -> list[Any]:
        try:
            answer = requests.get(f"http://{address}/api/v1/query", params={"query": query}, timeout=10)
        except requests.ConnectionError:
            assert process.poll() is None
            return []
        return list(answer.json()["data"]["result"]) if answer.ok else []

    yield ask
    process.terminate()
    process.wait(LIMIT_S)


def test_prometheus_reads_the_metrics_and_has_an_answer_for_every_panel(
    served: Served, prometheus: Callable[[str], list[Any]]
) -> None:
    waiting, end = panel_queries(served.site.model), time.monotonic() + LIMIT_S
    inputs = served.site.golden.inputs["serving_packed"]
    clients = [connect(served.addresses, protocol) for protocol in ("rest", "grpc")]
    while waiting:
        assert time.monotonic() < end, waiting
        for client in clients:
            client.predict(served.site.model, inputs, STABLE, signature="serving_packed")
        waiting = {title: query for title, query in waiting.items() if not prometheus(query)}
        time.sleep(0.1)
    for client in clients:
        client.close()
    assert prometheus(f'sum(:tensorflow:serving:request_count{{model_name="{served.site.model}", status="OK"}}) > 0')
