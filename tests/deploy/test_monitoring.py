"""Prometheus, Alertmanager and Grafana: their own tools understand the files, and the files understand each other."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client.samples import Sample

from monitoring.watch.metrics import FAMILIES
from serving.server.core.metrics import CounterCell, HistogramCell, Metric, Registry, ServingMetrics
from tests.support.paths import ROOT
from tests.support.programs import program
from webapp.http.metrics import Metrics

MONITORING = ROOT / "monitoring"
PROMETHEUS = MONITORING / "prometheus"
GRAFANA = MONITORING / "grafana"
WATCHDOG = "Watchdog"  # always fires
SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]


class Described(Registry):
    """The model server's metrics by name, with their labels and a histogram's bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: dict[str, set[str]] = {}
        self.edges: dict[str, set[str]] = {}
        ServingMetrics(self)

    def counter(self, name: str, *label_names: str) -> Metric[CounterCell]:
        metric = super().counter(name, *label_names)
        self.labels[metric.name] = set(label_names)
        return metric

    def histogram(self, name: str, bounds: tuple[float, ...], *label_names: str) -> Metric[HistogramCell]:
        metric = super().histogram(name, bounds, *label_names)
        self.labels |= {f"{metric.name}_{part}": set(label_names) for part in ("bucket", "sum", "count")}
        self.edges[f"{metric.name}_bucket"] = {f"{bound:g}" for bound in bounds}
        return metric


METRICS = Described()


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    return [rule for group in load(PROMETHEUS / "alerts.yml")["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def dashboards() -> list[Path]:
    return sorted((GRAFANA / "dashboards").glob("*.json"))


def queries(dashboard: Path) -> Iterator[str]:
    """Every query as Prometheus gets it, with Grafana's variables filled in."""
    content = json.loads(dashboard.read_text(encoding="utf-8"))
    for source in (
        *(target for panel in content["panels"] for target in panel["targets"]),
        *content["annotations"]["list"],
    ):
        expression = source["expr"].replace("$__rate_interval", "1m").replace("$model", "wine|iris")
        yield expression.replace("$column", "input.age|label")


EXPRESSIONS = [*(rule["expr"] for rule in rules()), *(query for path in dashboards() for query in queries(path))]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_only_metrics_and_labels_that_the_model_server_has_are_asked_for(expression: str) -> None:
    for name, labels in re.findall(r"(:tensorflow:[\w:]+)(?:\{([^}]*)\})?", expression):
        asked = set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", labels))
        assert asked - {"le"} <= METRICS.labels[name]
        assert set(re.findall(r'le="([^"]*)"', labels)) <= METRICS.edges.get(name, set())


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_only_metrics_and_labels_that_web_app_and_watcher_have_are_asked_for(expression: str) -> None:
    web = {sample.name for family in Metrics().registry.collect() for sample in _possible(family)}
    assert set(re.findall(r"vouch_\w+", expression)) <= web | {f"vouch_{name}" for name in FAMILIES}
    for name, labels in re.findall(r"vouch_(\w+)\{([^}]*)\}", expression):
        if name in FAMILIES:
            assert set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", labels)) <= set(FAMILIES[name][1]) | {"instance"}


def _possible(family: Any) -> Iterator[Any]:
    """The samples that a metric would have: without labels used yet it has none."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
    yield from (Sample(family.name + suffix, {}, 0.0) for suffix in suffixes)


def test_prometheus_finds_the_services_and_the_metrics() -> None:
    config = load(PROMETHEUS / "prometheus.yml")
    targets = {
        job["job_name"]: job["static_configs"][0]["targets"][0].partition(":")[0] for job in config["scrape_configs"]
    }
    assert targets == {name: name for name in ("model-server", "webapp", "watch", "alertmanager")} | {
        "prometheus": "localhost"
    }
    assert set(targets) <= set(SERVICES)
    path = config["scrape_configs"][0]["metrics_path"]
    assert f'path: "{path}"' in (ROOT / "config" / "prometheus.config").read_text(encoding="utf-8")
    assert all((PROMETHEUS / name).is_file() for name in config["rule_files"])


def test_an_alert_says_what_it_is_how_bad_and_where_to_read_on() -> None:
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ({"none"} if name == WATCHDOG else {"critical", "warning"})
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"


def test_every_alert_has_a_runbook_and_no_other_has() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(headings) - {"Who is called"} == set(ALERTS)


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    checks = [check for test in load(PROMETHEUS / "alerts_test.yml")["tests"] for check in test["alert_rule_test"]]
    assert {check["alertname"] for check in checks if check.get("exp_alerts")} == set(ALERTS)
    assert {check["alertname"] for check in checks if not check.get("exp_alerts")} == set(ALERTS) - {WATCHDOG}


def test_an_inhibition_names_alerts_that_exist() -> None:
    for rule in load(MONITORING / "alertmanager" / "alertmanager.yml")["inhibit_rules"]:
        [source] = rule["source_matchers"]
        [target] = rule["target_matchers"]
        assert source.removeprefix("alertname = ") in ALERTS
        pattern = re.sub(r"^alertname =~? ", "", target).strip('"')
        assert [alert for alert in ALERTS if re.fullmatch(pattern, alert)]


def test_grafana_finds_its_data_its_dashboards_and_who_is_told() -> None:
    provisioning = GRAFANA / "provisioning"
    sources = {each["uid"]: each for each in load(provisioning / "datasources" / "prometheus.yml")["datasources"]}
    [provider] = load(provisioning / "dashboards" / "dashboards.yml")["providers"]
    told = load(provisioning / "alerting" / "contact-points.yml")
    assert {uid: source["url"] for uid, source in sources.items()} == {
        "prometheus": "http://prometheus:9090",
        "alertmanager": "http://alertmanager:9093",
    }
    [point] = told["contactPoints"]
    assert [receiver["settings"]["url"] for receiver in point["receivers"]] == [sources["alertmanager"]["url"]]
    assert [policy["receiver"] for policy in told["policies"]] == [point["name"]]
    assert {"prometheus", "alertmanager"} <= set(SERVICES)
    assert f"./monitoring/grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    for path in dashboards():
        content = json.loads(path.read_text(encoding="utf-8"))
        used = {item["datasource"]["uid"] for item in (*content["panels"], *content["annotations"]["list"])}
        assert used == {"prometheus"}


def test_dashboards_have_names_of_their_own_and_targets_letters() -> None:
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in dashboards()]
    assert len({each["uid"] for each in contents}) == len({each["title"] for each in contents}) == len(contents)
    for content in contents:
        for panel in content["panels"]:
            letters = [target["refId"] for target in panel["targets"]]
            assert letters == sorted(set(letters)), panel["title"]
            assert all(isinstance(place, int) for place in panel["gridPos"].values()), panel["title"]


@pytest.mark.parametrize("path", dashboards(), ids=lambda path: path.name)
def test_panels_say_what_they_show_and_do_not_overlap(path: Path) -> None:
    panels = json.loads(path.read_text(encoding="utf-8"))["panels"]
    cells = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["description"] and panel["targets"] for panel in panels)


@pytest.mark.slow
def test_promtool_understands_configuration_rules_and_dashboards(
    check_with: Callable[..., str], tmp_path: Path
) -> None:
    check_with("promtool", "check", "config", "prometheus.yml", cwd=PROMETHEUS)
    records = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(EXPRESSIONS)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    check_with("promtool", "check", "rules", tmp_path / "panels.yml")


def test_promtool_has_no_complaint_about_the_web_apps_metrics() -> None:
    metrics = Metrics()
    metrics.predicted("m", 1, "stable", ["M"], np.array([0.9], dtype=np.float32))
    metrics.model_server_call("ok", 0.01)
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=metrics.text(), capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.slow
def test_alerts_fire_when_they_should_and_only_then(check_with: Callable[..., str]) -> None:
    check_with("promtool", "test", "rules", "alerts_test.yml", cwd=PROMETHEUS)


def test_amtool_understands_the_configuration(check_with: Callable[..., str]) -> None:
    check_with("amtool", "check-config", MONITORING / "alertmanager" / "alertmanager.yml")
