"""A real Alertmanager with the shipped configuration: what Slack, a mailbox and the controller get of alerts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from common.errors import ConfigError, EnvironmentProblem
from monitoring.stack import HERE, Stack, run, run_alertmanager, write_configs
from serving.launch.backends import free
from tests.support.catchers import Catcher, mail_catcher, web_catcher
from tests.support.paths import ROOT
from tests.support.programs import program

FASTER = 100.0  # groups wait 0.1 s instead of 10
RULES = yaml.safe_load((HERE / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
ANNOTATIONS = {
    rule["alert"]: rule["annotations"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule
}
SLACK_FIELDS = {"channel", "username", "attachments"}  # of what an incoming webhook takes, those that are sent
ATTACHMENT_FIELDS = {"title", "title_link", "text", "fallback", "color", "mrkdwn_in", "callback_id", "footer"}


class Alertmanager:
    """One that runs, on a configuration that a test has changed."""

    def __init__(self, stack: Stack) -> None:
        self.url = f"http://{stack.alertmanager}/api/v2"

    def fire(self, name: str, is_over: bool = False, summary: str = "", **labels: str) -> None:
        now = datetime.now(timezone.utc)
        ends = now if is_over else now + timedelta(hours=1)
        alert = {
            "labels": {"alertname": name, "severity": "critical", **labels},
            "annotations": ANNOTATIONS[name] | ({"summary": summary} if summary else {}),
            "startsAt": (now - timedelta(minutes=5)).isoformat(),
            "endsAt": ends.isoformat(),
        }
        requests.post(f"{self.url}/alerts", json=[alert], timeout=10).raise_for_status()

    def states(self) -> dict[str, str]:
        alerts = requests.get(f"{self.url}/alerts", timeout=10).json()
        return {alert["labels"]["alertname"]: alert["status"]["state"] for alert in alerts}


@contextmanager
def alertmanager(folder: Path, receiver: str, change: Callable[[dict[str, Any]], None]) -> Iterator[Alertmanager]:
    """Run it alone, with one receiver of the shipped configuration changed."""
    program("amtool")  # it comes with Alertmanager
    stack = Stack(folder, "127.0.0.1:1", "127.0.0.1:1", *free(2), receiver=receiver, faster=FASTER)
    write_configs(stack)
    path = folder / "alertmanager.yml"
    config = yaml.safe_load(path.read_text())
    [changed] = [each for each in config["receivers"] if each["name"] == receiver]
    change(changed)
    path.write_text(yaml.safe_dump(config))
    with run_alertmanager(stack):
        yield Alertmanager(stack)


@pytest.fixture
def catcher() -> Iterator[Catcher]:
    with web_catcher() as made:
        yield made


@pytest.mark.slow
def test_slack_gets_what_it_understands_grouped_and_told_when_it_is_over(tmp_path: Path, catcher: Catcher) -> None:
    secret = tmp_path / "slack_url"
    secret.write_text(f"http://127.0.0.1:{catcher.port}/services/T0/B0/secret\n")

    def change(receiver: dict[str, Any]) -> None:
        [slack] = receiver["slack_configs"]
        assert slack["api_url_file"] == str(HERE / "alertmanager" / "secrets" / "slack_url")
        slack["api_url_file"] = str(secret)

    with alertmanager(tmp_path, "slack", change) as running:
        running.fire("ModelServerSlow", severity="warning", model_name="m", entrypoint="REST")
        running.fire("ModelServerSlow", severity="warning", model_name="m", entrypoint="GRPC")
        posted = catcher.next()
        first = posted.body
        assert posted.path == "/services/T0/B0/secret"
        assert set(first) <= SLACK_FIELDS
        [attachment] = first["attachments"]
        assert set(attachment) <= ATTACHMENT_FIELDS
        assert attachment["color"] == "warning"
        assert attachment["title"] in {f"[FIRING:{count}] ModelServerSlow of m" for count in (1, 2)}
        assert attachment["fallback"] == attachment["title"]
        assert attachment["title_link"].startswith("http://")
        assert f"*{ANNOTATIONS['ModelServerSlow']['summary']}*" in attachment["text"]
        assert "What to do: docs/runbooks.md#modelserverslow" in attachment["text"]
        assert "text" in attachment["mrkdwn_in"]

        for entrypoint in ("REST", "GRPC"):
            running.fire("ModelServerSlow", is_over=True, severity="warning", model_name="m", entrypoint=entrypoint)
        while (last := catcher.next().body["attachments"][0])["color"] != "good":
            assert last["title"].startswith("[FIRING")
        assert last["title"] == "[RESOLVED] ModelServerSlow of m"
        assert last["text"].count("(over)") == 2


@pytest.mark.slow
def test_no_name_in_an_alert_calls_a_whole_channel(tmp_path: Path, catcher: Catcher) -> None:
    secret = tmp_path / "slack_url"
    secret.write_text(f"http://127.0.0.1:{catcher.port}/hook")

    def change(receiver: dict[str, Any]) -> None:
        receiver["slack_configs"][0]["api_url_file"] = str(secret)

    with alertmanager(tmp_path, "slack", change) as running:
        running.fire("WebAppDown", summary="<!channel> p < 0.01 & more")
        text = catcher.next().body["attachments"][0]["text"]
    assert text.startswith("*&lt;!channel&gt; p &lt; 0.01 &amp; more*")


@pytest.mark.slow
def test_a_letter_says_what_to_do(tmp_path: Path) -> None:
    with mail_catcher() as mail:

        def change(receiver: dict[str, Any]) -> None:
            [letter] = receiver["email_configs"]
            letter |= {"smarthost": f"127.0.0.1:{mail.port}", "require_tls": False}

        with alertmanager(tmp_path, "email", change) as running:
            running.fire("WebAppDown", instance="w:8080")
            letter = mail.next()
    assert letter["Subject"] == "[FIRING:1] WebAppDown"
    assert letter["To"] == "operators@example.org"
    parts = [part for part in letter.walk() if part.get_content_type() == "text/plain"]
    text = parts[0].get_payload(decode=True).decode()
    assert "What to do: docs/runbooks.md#webappdown" in text


@pytest.mark.slow
def test_who_retrains_is_told_with_its_token_and_so_is_everybody_else(tmp_path: Path, catcher: Catcher) -> None:
    token = tmp_path / "token"
    token.write_text("a token")

    def change(receiver: dict[str, Any]) -> None:
        [webhook] = receiver["webhook_configs"]
        webhook["url"] = f"http://127.0.0.1:{catcher.port}/alerts"
        webhook["http_config"]["authorization"]["credentials_file"] = str(token)

    with alertmanager(tmp_path, "controller", change) as running:
        running.fire("ModelServerSlow", action="retrain", model_name="m")
        told = [catcher.next(), catcher.next()]  # once as the controller, once as the route's receiver
        for posted in told:
            assert (posted.path, posted.authorization) == ("/alerts", "Bearer a token")
            assert [alert["labels"]["model_name"] for alert in posted.body["alerts"]] == ["m"]
            assert posted.body["status"] == "firing"


@pytest.mark.slow
def test_while_a_server_is_down_what_its_clients_see_is_not_told_nor_is_the_watchdog(
    tmp_path: Path, catcher: Catcher
) -> None:
    def change(receiver: dict[str, Any]) -> None:
        receiver["webhook_configs"] = [{"url": f"http://127.0.0.1:{catcher.port}/operators"}]

    with alertmanager(tmp_path, "operators", change) as running:
        running.fire("ModelServerDown", instance="a:8501")
        assert catcher.next().body["commonLabels"]["alertname"] == "ModelServerDown"
        for name in ("WebAppErrors", "Watchdog", "ModelServerQueueing"):
            running.fire(name)
        running.fire("WebAppDown", instance="w:8080")
        assert catcher.next().body["commonLabels"]["alertname"] == "WebAppDown"
        states = running.states()
    assert {name: states[name] for name in ("WebAppErrors", "ModelServerQueueing")} == dict.fromkeys(
        ("WebAppErrors", "ModelServerQueueing"), "suppressed"
    )


# What is written for this machine


@pytest.mark.slow
def test_both_run_beside_a_demo_until_they_are_told_to_stop(tmp_path: Path) -> None:
    program("prometheus")
    ports = free(2)
    options = ["--prometheus-port", str(ports[0]), "--alertmanager-port", str(ports[1])]
    environment = {**os.environ, "VOUCH_VAR": str(tmp_path)}
    command = [sys.executable, "-u", "-m", "monitoring.stack", *options]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = [process.stdout.readline().strip() for _ in range(3)]
        rules = requests.get(f"http://127.0.0.1:{ports[0]}/api/v1/rules", timeout=10).json()["data"]["groups"]
        process.terminate()
        assert process.stdout.read() == "stopped\n"
    assert process.returncode == 0
    assert said[0].endswith(f"http://127.0.0.1:{ports[1]}")
    assert said[1].endswith(f"http://127.0.0.1:{ports[0]}")
    assert {rule["name"] for group in rules for rule in group["rules"] if rule["type"] == "alerting"} == set(
        ANNOTATIONS
    )


def test_the_configuration_for_this_machine_is_the_shipped_one_with_other_places(tmp_path: Path) -> None:
    stack = Stack(tmp_path, "127.0.0.1:8501", "127.0.0.1:8080", 1, 2)
    write_configs(stack)
    prometheus = yaml.safe_load((tmp_path / "prometheus.yml").read_text())
    assert {job["job_name"]: job["static_configs"][0]["targets"] for job in prometheus["scrape_configs"]} == {
        "model-server": ["127.0.0.1:8501"],
        "webapp": ["127.0.0.1:8080"],
        "watch": ["127.0.0.1:8091"],
        "prometheus": ["127.0.0.1:1"],
        "alertmanager": ["127.0.0.1:2"],
    }
    assert yaml.safe_load((tmp_path / "alerts.yml").read_text()) == RULES
    config = yaml.safe_load((tmp_path / "alertmanager.yml").read_text())
    assert config["templates"] == [str(HERE / "alertmanager" / "*.tmpl")]
    for tool, check, name in (
        ("promtool", "check config", "prometheus.yml"),
        ("amtool", "check-config", "alertmanager.yml"),
    ):
        command = [program(tool), *check.split(), str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_time_can_go_faster_in_every_interval_and_window(tmp_path: Path) -> None:
    write_configs(Stack(tmp_path, "a:1", "b:2", 1, 2, faster=60))
    rules = yaml.safe_load((tmp_path / "alerts.yml").read_text())
    down, warm_up = (
        next(rule for group in rules["groups"] for rule in group["rules"] if rule.get("alert") == name)
        for name in ("ModelServerDown", "ModelWarmupFailed")
    )
    assert down["for"] == "1000ms"
    assert "[10000ms]" in warm_up["expr"]
    assert "offset 10000ms" in warm_up["expr"]
    assert yaml.safe_load((tmp_path / "alertmanager.yml").read_text())["route"]["group_wait"] == "167ms"


def test_who_retrains_may_be_elsewhere_with_a_token_of_its_own(tmp_path: Path) -> None:
    write_configs(Stack(tmp_path, "a:1", "b:2", controller="c:3", controller_token=tmp_path / "token"))
    receivers = yaml.safe_load((tmp_path / "alertmanager.yml").read_text())["receivers"]
    [webhook] = next(each for each in receivers if each["name"] == "controller")["webhook_configs"]
    assert webhook["url"] == "http://c:3/alerts"
    assert webhook["http_config"]["authorization"] == {"credentials_file": str(tmp_path / "token")}


def test_an_unknown_receiver_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one of operators, watchdog, slack, email, controller"):
        write_configs(Stack(tmp_path, "a:1", "b:2", receiver="pager"))


def test_without_the_programs_it_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(EnvironmentProblem, match="apt-get install prometheus prometheus-alertmanager"),
        run(Stack(tmp_path, "a:1", "b:2")),
    ):
        pass
