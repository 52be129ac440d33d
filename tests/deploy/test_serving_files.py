"""The model server's own files, read as the model server reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.server.config import read_batching, read_proto
from tests.support.paths import ROOT

BATCHING = {"everywhere": ROOT / "config", "in Kubernetes": ROOT / "deploy" / "kubernetes" / "production"}


def test_metrics_are_on_where_prometheus_looks() -> None:
    config = read_proto(str(ROOT / "config" / "prometheus.config"), "MonitoringConfig").prometheus_config
    assert (config.enable, config.path) == (True, "/monitoring/prometheus/metrics")


@pytest.mark.parametrize("folder", BATCHING.values(), ids=BATCHING)
def test_batches_can_be_made_as_the_file_says(folder: Path) -> None:
    options = read_batching(str(folder / "batching.config"))
    options.check()
    assert options.batch_timeout_s == 0  # a lone caller does not wait
    assert options.enable_large_batch_splitting
    assert options.run_size < options.max_batch_size


def test_a_pod_has_as_many_batching_threads_as_cpus_and_differs_in_nothing_else() -> None:
    everywhere, pod = (read_batching(str(folder / "batching.config")) for folder in BATCHING.values())
    patch = (BATCHING["in Kubernetes"] / "deployment.yaml").read_text(encoding="utf-8")
    assert f'requests: {{ cpu: "{pod.num_batch_threads}"' in patch
    assert vars(pod) == vars(everywhere) | {"num_batch_threads": pod.num_batch_threads}
