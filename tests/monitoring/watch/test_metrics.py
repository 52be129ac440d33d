"""What Prometheus gets: bounded in number, in its own format, and gone with its model; and who may read it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import requests
from prometheus_client import CollectorRegistry, generate_latest

from common.errors import ConfigError, EnvironmentProblem
from common.records.drift import Alarm, Measurement, WindowCheck
from monitoring.watch.metrics import MOST_COLUMNS, WatchCollector
from monitoring.watch.server import Access, serving
from monitoring.watch.views import (
    ErrorShare,
    LabelView,
    ModelView,
    RegistryView,
    RetrainView,
    Round,
    Served,
    VersionView,
)
from tests.support.programs import program

NOW = datetime.now(timezone.utc)
TOKEN = "a-token-of-some-length-that-nobody-guesses"


def measured(column: str, size: float, kind: Any = "distribution") -> Measurement:
    numbers = {f"{of}{name}": size for of in ("", "training_") for name in ("quantile_5", "median", "quantile_95")}
    return Measurement(column, kind, 0.5, size, "W1/σ", 0.15, numbers=numbers)


def view(model: str, features: int = 3) -> ModelView:
    columns = [measured(f"input.f{number}", number / 100) for number in range(features)]
    columns += [measured("probability", 0.0), replace(measured("label", 0.0), measure="total variation")]
    window = WindowCheck(1, NOW, NOW + timedelta(days=1), 500, 500, "checked", tuple(columns))
    errors = tuple(ErrorShare(f"c{number}", number, 0.1, 0.05, 0.2, 0.15, number == 1) for number in range(features))
    versions = tuple(
        VersionView(number, role, window, (Alarm(number, "input.f0", 2, 3, NOW),), errors)
        for number, role in ((1, "stable"), (2, "candidate"))
    )
    return ModelView(
        model,
        versions,
        Served(2, 1, 2, False, 2, (1,)),
        LabelView(7, NOW, 60.0, 120.0),
        NOW,
        NOW,
        RetrainView("trial", 1, 60.0, True),
    )


def registry_of(*models: ModelView, told: RegistryView | None = None) -> CollectorRegistry:
    collector, registry = WatchCollector(), CollectorRegistry()
    registry.register(collector)
    collector.newest = Round(NOW, 1.5, 300.0, models, told)
    return registry


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"vouch_{name}", labels)


def test_what_is_seen_of_a_model_is_told() -> None:
    registry = registry_of(view("m"), told=RegistryView(3, 1, ("m",), "down"))
    stable = {"model": "m", "version": "1", "role": "stable"}
    assert value(registry, "drift_alarms", **stable) == 1
    assert value(registry, "drift_rows", **stable) == 500
    size = value(registry, "drift_size", **stable, column="input.f2", kind="distribution", measure="W1/σ")
    assert size == 0.02
    assert value(registry, "drift_limit", measure="W1/σ") == 0.15
    assert value(registry, "feature_value", **stable, column="input.f2", percentile="95", of="training") == 0.02
    assert value(registry, "performance_error_share", **stable, true_class="c1", bound="lower") == 0.05
    assert value(registry, "performance_broken_promises", **stable) == 1
    assert value(registry, "label_lag_seconds", model="m", percentile="95") == 120
    assert value(registry, "prediction_newest_timestamp_seconds", model="m") == NOW.timestamp()
    assert value(registry, "model_version", model="m", at="servers") == 2
    assert value(registry, "model_releases_not_served", model="m") == 1
    assert value(registry, "retrain_stage", model="m", stage="trial") == 1
    assert value(registry, "retrain_budget_left", model="m") == 1
    assert value(registry, "retrain_cool_down_seconds", model="m") == 60
    assert value(registry, "retrain_paused", model="m") == 1
    assert value(registry, "registry_differs", model="m") == 1
    assert value(registry, "registry_sync_failed") == 1
    assert value(registry, "watch_round_timestamp_seconds") == NOW.timestamp() + 1.5


def test_a_model_that_failed_has_that_series_alone() -> None:
    registry = registry_of(ModelView("m", problem="broken"))
    assert value(registry, "watch_model_failed", model="m") == 1
    assert sum('model="m"' in line for line in generate_latest(registry).decode().splitlines()) == 1


def test_of_a_wide_table_what_drifted_most_has_series_and_the_rest_is_one_number() -> None:
    registry = registry_of(view("m", 300))
    stable = {"model": "m", "version": "1", "role": "stable"}
    shown = {
        sample.labels["column"]
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "vouch_drift_size"
    }
    assert shown == {"probability", "label", *(f"input.f{number}" for number in range(282, 300))}
    assert value(registry, "drift_other_columns", **stable) == 282
    assert value(registry, "drift_other_columns_size_ratio", **stable) == pytest.approx(2.81 / 0.15)


def test_twenty_wide_models_stay_within_some_thousand_series() -> None:
    registry = registry_of(*(view(f"m{number}", 300) for number in range(20)))
    samples = sum(len(family.samples) for family in registry.collect())
    assert samples < 2 * 20 * MOST_COLUMNS * (1 + 6 + 5 + 1)
    assert samples < 11_000


def test_series_end_with_their_model() -> None:
    collector, registry = WatchCollector(), CollectorRegistry()
    registry.register(collector)
    assert b"model=" not in generate_latest(registry)
    collector.newest = Round(NOW, 1.0, 300.0, (view("m"), view("n")))
    assert b'model="n"' in generate_latest(registry)
    collector.newest = Round(NOW, 1.0, 300.0, (view("m"),))
    assert b'model="n"' not in generate_latest(registry)


def test_promtool_has_no_complaint() -> None:
    text = generate_latest(registry_of(view("m"), told=RegistryView(0, 0, ())))
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_near_networks_read_without_a_token_and_others_with_it() -> None:
    access = Access.read({"VOUCH_METRICS_TOKEN": TOKEN, "VOUCH_METRICS_NETWORKS": "10.0.0.0/8"})
    assert access.allows("10.1.2.3", "")
    assert access.allows("127.0.0.1", f"Bearer {TOKEN}")
    for header in ("", "Bearer ", f"Bearer {TOKEN}x", TOKEN):
        assert not access.allows("127.0.0.1", header)
    assert not Access.read({}).allows("10.1.2.3", "Bearer ")


@pytest.mark.parametrize(
    "environment",
    [
        {"VOUCH_METRICS_TOKEN": "short"},
        {"VOUCH_METRICS_NETWORKS": "everywhere"},
        {"VOUCH_METRICS_TOKEN_FILE": "/no/such/file"},
    ],
    ids=lambda environment: next(iter(environment)),
)
def test_a_setting_that_cannot_be_meant_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        Access.read(environment)


def test_the_port_answers_who_may_read_and_no_other() -> None:
    registry = registry_of(view("m"))
    shut = Access.read({"VOUCH_METRICS_TOKEN": TOKEN, "VOUCH_METRICS_NETWORKS": "10.0.0.0/8"})
    with serving(registry, "127.0.0.1", 0, shut) as port:
        url = f"http://127.0.0.1:{port}"
        refused = requests.get(f"{url}/metrics", timeout=10)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "vouch_drift" not in refused.text
        read = requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
        assert read.status_code == 200
        assert 'vouch_drift_alarms{model="m"' in read.text
        assert requests.get(f"{url}/livez", timeout=10).text == "ok\n"
        assert requests.get(f"{url}/", timeout=10).status_code == 404
        with pytest.raises(EnvironmentProblem, match=f"port {port}"), serving(registry, "127.0.0.1", port, shut):
            raise AssertionError("two have the port")
