"""Real Prometheus and Alertmanager that are stopped under a running system, and come back."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import requests

from common.records.retrain import Retraining
from monitoring.controller.control import serving
from monitoring.simulate.people import People, World
from monitoring.simulate.shifts import Shift
from monitoring.stack import HOST, Stack, process, run_alertmanager, run_prometheus, write_configs
from serving.launch.backends import free
from tests.support import retraining
from tests.support.programs import program
from tests.support.retraining import TOKEN, OneModel
from tests.support.serving.running import wait_for

FASTER = 30.0
MOST_S = 120.0
DRIFT = "alert ModelDrift"


class Seen:
    """What can be seen of it all from outside."""

    def __init__(self, stack: Stack, var: Path) -> None:
        self._stack, self._var = stack, var

    @property
    def attempts(self) -> dict[str, str]:
        """What came of each retraining that was asked for, by what asked."""
        return {each.cause: each.outcome or each.stage for each in Retraining.read(self._var, "patients").attempts}

    def is_drift_measured(self) -> bool:
        lines = requests.get(f"http://{self._stack.watcher}/metrics", timeout=10).text.splitlines()
        alarms = [line for line in lines if line.startswith('vouch_drift_alarms{model="patients",role="stable"')]
        return any(float(line.rpartition(" ")[2]) > 0 for line in alarms)

    def up(self, job: str) -> str:
        """Return 1 where Prometheus can read somebody's metrics, 0 where it cannot."""
        query = {"query": f'up{{job="{job}"}}'}
        answer = requests.get(f"http://{self._stack.prometheus}/api/v1/query", params=query, timeout=10).json()
        return "".join(series["value"][1] for series in answer["data"]["result"])

    def in_prometheus(self, name: str) -> bool:
        answer = requests.get(f"http://{self._stack.prometheus}/api/v1/alerts", timeout=10).json()
        return any(a["labels"]["alertname"] == name and a["state"] == "firing" for a in answer["data"]["alerts"])

    def in_alertmanager(self, name: str) -> bool:
        answer = requests.get(f"http://{self._stack.alertmanager}/api/v2/alerts?active=true", timeout=10).json()
        return any(alert["labels"]["alertname"] == name for alert in answer)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_without_prometheus_and_alertmanager_all_else_goes_on_and_alerts_come_once_they_are_back(
    quiet: Any, tmp_path: Path
) -> None:
    """The model server is a stand-in and a retraining is one of numbers; all else is what runs elsewhere, too."""
    program("prometheus")
    program("amtool")  # it comes with Alertmanager
    controller = OneModel(
        quiet.var, tmp_path, f"{HOST}:1", "tester", world=retraining.World(now=datetime.now(timezone.utc))
    )
    token = tmp_path / "token"
    token.write_text(TOKEN)
    people = People(quiet.url, quiet.var / "serving" / "patients" / "1", ("no", "yes"), seed=1)
    with ExitStack() as running:
        port = running.enter_context(serving(controller, (HOST, 0), TOKEN, every_s=0.2))
        prometheus, alertmanager, watcher = free(3)
        stack = Stack(
            tmp_path / "monitoring",
            f"{HOST}:1",
            quiet.url.removeprefix("http://"),
            prometheus,
            alertmanager,
            faster=FASTER,
            watcher=f"{HOST}:{watcher}",
            controller=f"{HOST}:{port}",
            controller_token=token,
        )
        write_configs(stack)
        seen = Seen(stack, quiet.var)
        watch = [sys.executable, "-m", "monitoring", "watch", "--interval", "1s", "--window", "5s"]
        watch += ["--port", str(watcher), "--grpc", f"{HOST}:1"]
        running.enter_context(process(watch, tmp_path / "watch.log", {**os.environ, "VOUCH_VAR": str(quiet.var)}))
        running.enter_context(people.asking())
        with run_alertmanager(stack), run_prometheus(stack):
            wait_for(lambda: seen.in_alertmanager("Watchdog"), MOST_S, lambda: "no alert arrives at all")
            wait_for(lambda: seen.up("watch") == "1", MOST_S, (tmp_path / "watch.log").read_text)

        answered = people.rows
        people.world = World("moved", Shift("category", 1.0, "smoker"))
        wait_for(seen.is_drift_measured, MOST_S, lambda: "the watcher stands still")
        wait_for(lambda: people.rows > answered, MOST_S, lambda: people.problem)
        controller.machines()["patients"].request("command", "tester")
        wait_for(lambda: seen.attempts == {"command": "trial"}, MOST_S, lambda: str(seen.attempts))
        assert controller.world.deeds == ["collect", "run", "canary"]

        with run_prometheus(stack):
            wait_for(lambda: seen.in_prometheus("ModelDrift"), MOST_S, lambda: "Prometheus does not see the drift")
            wait_for(lambda: seen.up("alertmanager") == "0", MOST_S, lambda: "nobody sees that Alertmanager is down")
            assert DRIFT not in seen.attempts
            with run_alertmanager(stack):
                wait_for(lambda: DRIFT in seen.attempts, MOST_S, lambda: "the alert was lost")
                assert seen.attempts[DRIFT] == "refused", "one is under way"
                wait_for(lambda: seen.in_alertmanager("Watchdog"), MOST_S, lambda: "the watchdog does not come back")
                wait_for(lambda: seen.up("alertmanager") == "1", MOST_S, lambda: "it is still told to be down")
        assert not people.problem, "a request failed meanwhile"
