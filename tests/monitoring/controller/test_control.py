"""The controller as a process: alerts by HTTP, what it tells, its commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result

from common.errors import ConfigError, EnvironmentProblem
from common.records.retrain import Retraining, change
from config.settings import RetrainSettings
from monitoring.cli import main
from monitoring.controller.control import driving, read_token, serving
from monitoring.controller.machine import Ended, Machine
from monitoring.controller.processes import supervise
from tests.support.drift import Watched
from tests.support.retraining import TOKEN, OneModel, World
from tests.support.serving.running import wait_for


@dataclass(frozen=True)
class Site:
    url: str
    controller: OneModel

    @property
    def known(self) -> Retraining:
        return Retraining.read(self.controller.var, "patients")

    def post(self, body: Any, token: str = TOKEN) -> requests.Response:
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        return requests.post(f"{self.url}/alerts", data=text, headers={"Authorization": f"Bearer {token}"}, timeout=30)


def alert(model: str = "patients", status: str = "firing") -> dict[str, Any]:
    """What Alertmanager 0.25 sends, without what nobody reads."""
    labels = {"alertname": "ModelDrift", "model": model, "action": "retrain", "severity": "warning"}
    each = {"status": status, "labels": labels, "annotations": {}, "startsAt": "2026-11-20T12:00:00Z"}
    return {"version": "4", "status": status, "receiver": "controller", "alerts": [each], "groupLabels": {}}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    controller = OneModel(tmp_path, tmp_path, "127.0.0.1:1", "tester", world=World(now=datetime.now(timezone.utc)))
    with serving(controller, ("127.0.0.1", 0), TOKEN, every_s=600) as port:
        yield Site(f"http://127.0.0.1:{port}", controller)


def test_an_alert_wakes_the_controller_and_a_hundred_are_one(site: Site) -> None:
    for _ in range(100):
        assert site.post(alert()).status_code == 200
    wait_for(lambda: site.controller.world.deeds == ["collect", "run", "canary"], 10, lambda: str(site.known))
    wait_for(lambda: site.known.requested is None, 10, lambda: str(site.known))
    assert len(site.known.carried_out) == 1
    assert site.known.carried_out[0].cause == "alert ModelDrift"


@pytest.mark.parametrize(
    "body", [alert(status="resolved"), alert(model="other"), {"alerts": []}, {"alerts": [{"status": "firing"}]}]
)
def test_what_is_over_or_about_no_model_of_ours_is_ignored(site: Site, body: Any) -> None:
    reply = site.post(body)
    assert (reply.status_code, reply.json()["asked"]) == (200, [])
    assert site.known == Retraining("patients")


@pytest.mark.parametrize(
    ("body", "token", "status"),
    [
        (alert(), "another-token-of-some-length", 401),
        (alert(), "", 401),
        ("no JSON", TOKEN, 400),
        ("[" * 100_000, TOKEN, 400),
        ([], TOKEN, 400),
        ({"alerts": [7]}, TOKEN, 400),
        ("x" * (1 << 20) + "x", TOKEN, 413),
    ],
    ids=["wrong token", "no token", "no JSON", "deep", "a list", "a number", "large"],
)
def test_strangers_and_nonsense_are_turned_away(site: Site, body: Any, token: str, status: int) -> None:
    assert site.post(body, token).status_code == status
    assert site.known == Retraining("patients")
    assert requests.get(f"{site.url}/livez", timeout=30).json() == {"alive": True}


def test_prometheus_reads_stage_budget_and_outcomes(site: Site) -> None:
    site.post(alert())
    wait_for(lambda: bool(site.known.active and site.known.active.stage == "trial"), 10, lambda: str(site.known))
    text = requests.get(f"{site.url}/metrics", timeout=30).text
    for line in (
        'vouch_retrain_stage{model="patients",stage="trial"} 1.0',
        'vouch_retrain_stage{model="patients",stage="idle"} 0.0',
        'vouch_retrain_budget_left{model="patients"} 2.0',
        'vouch_retrain_ended_total{model="patients",outcome="promoted"} 0.0',
        'vouch_retrain_paused{model="patients"} 0.0',
    ):
        assert line in text.splitlines()


def test_one_process_drives_a_model(tmp_path: Path) -> None:
    with driving(tmp_path, "patients"), pytest.raises(EnvironmentProblem, match="retrains patients"):  # noqa: SIM117
        with driving(tmp_path, "patients"):
            pass


def test_the_token_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(ConfigError, match="has no token"):
        read_token(file, {})
    file.write_text("short\n")
    with pytest.raises(ConfigError, match="too short"):
        read_token(file, {})
    file.write_text(f"{TOKEN}\n")
    assert read_token(file, {}) == TOKEN
    assert read_token(None, {"VOUCH_CONTROLLER_TOKEN_FILE": str(file)}) == TOKEN
    assert read_token(None, {"VOUCH_CONTROLLER_TOKEN": TOKEN}) == TOKEN


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("print('all is well')", Ended(0)),
        ("print('refused Evaluation: AUC fell'); raise SystemExit(4)", Ended(4, "Evaluation: AUC fell")),
        ("print('error: no rows'); raise SystemExit(3)", Ended(3, "no rows")),
        ("import time; time.sleep(600)", Ended(None)),
    ],
    ids=["done", "refused", "error", "too long"],
)
def test_a_process_is_watched_to_its_end_and_its_words_are_kept(tmp_path: Path, code: str, ended: Ended) -> None:
    limit_s = 0.3 if ended.code is None else 60.0
    assert supervise([sys.executable, "-c", code], tmp_path / "log", limit_s) == ended
    assert (tmp_path / "log").is_file()


def test_where_the_machine_is_in_the_way_it_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a run goes on that a controller before this one has started."""
    monkeypatch.setattr("monitoring.controller.processes.AGAIN_S", 0.01)
    busy = tmp_path / "busy"
    busy.touch()
    code = f"import os, sys; b = {str(busy)!r}; sys.exit(os.path.exists(b) and (os.remove(b) or 5))"
    assert supervise([sys.executable, "-c", code], tmp_path / "log", 60) == Ended(0)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setenv("VOUCH_VAR", str(tmp_path))
    made = Watched(tmp_path)
    made.push(1, None)
    return made


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments])


def test_pausing_is_told_and_a_model_that_is_none_cannot_be(watched: Watched) -> None:
    assert command("pause", "patients", "--reason", "audit").exit_code == 0
    assert "audit" in command("history", "patients").stdout
    assert command("resume", "patients").exit_code == 0
    assert Retraining.read(watched.var, "patients").paused is None
    assert command("pause", "nobody").exit_code == 3


def test_the_history_tells_each_attempt_in_a_line(watched: Watched) -> None:
    assert "has not been retrained" in command("history", "patients").stdout
    world = World()
    machine = Machine(watched.var, "patients", RetrainSettings(), world, world.time)
    machine.request("command", "ann")
    while machine.step():
        pass
    assert "command, ann  span 2, 500 rows  version 2  under way: trial" in command("history", "patients").stdout
    world.wait(hours=25)
    while machine.step():
        pass
    world.labels = 3
    world.wait(hours=25)
    for _ in range(2):
        machine.request("command", "ann")
        while machine.step():
            pass
    first, second = command("history", "patients").stdout.splitlines()
    assert first.endswith("refused (2 times): 3 new rows with a true label, and retrain.min_labels asks for 100")
    assert "promoted: it answered 1000 rows" in second
    assert [each["outcome"] for each in json.loads(command("history", "patients", "--json").stdout)["attempts"]] == [
        "promoted",
        "refused",
    ]


def test_a_retraining_that_is_refused_ends_with_4_and_the_sentence(watched: Watched, tmp_path: Path) -> None:
    config = tmp_path / "config" / "patients"
    config.mkdir(parents=True)
    (config / "pipeline.yaml").write_text(
        "name: patients\ndata: {source: rows.csv, label: outcome, classes: [no, yes]}\n"
    )
    done = command("retrain", "patients", "--config", str(config))
    assert done.exit_code == 4
    assert "refused: no version is released yet" in done.stdout


def test_while_the_controller_drives_the_command_only_asks(watched: Watched, tmp_path: Path) -> None:
    config = tmp_path / "config" / "patients"
    config.mkdir(parents=True)
    (config / "pipeline.yaml").write_text(
        "name: patients\ndata: {source: rows.csv, label: outcome, classes: [no, yes]}\n"
    )
    with driving(watched.var, "patients"):
        done = command("retrain", "patients", "--config", str(config))
    assert (done.exit_code, Retraining.read(watched.var, "patients").requested is None) == (0, False)
    assert "the controller goes on with it" in done.stdout
    change(watched.var, "patients", lambda known: replace(known, requested=None))
