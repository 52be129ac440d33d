"""The whole story on this machine, unattended: `make loop`, or `python -m monitoring.loop`.

A model is trained and served, and asked. The world moves: drift is measured, an alert fires in a real Prometheus and
Alertmanager with the shipped rules, the controller retrains on old and newly labelled rows, the gates decide, the new
version is tried on a share of the requests and promoted, and the alarm is over. Then the labels are told wrongly: what
is trained on them is refused, and the champion stays. The exit code tells whether all of it came about.

All state lies in a folder of its own; intervals are shortened, by one factor in Prometheus' and Alertmanager's files.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import click
import requests
import yaml

from common.cli import Command
from common.errors import VouchError
from common.files import write_text
from common.paths import Paths, var_root
from common.records.drift import DriftReport
from common.records.retrain import Attempt, Retraining
from config.load import CONFIG_NAME, load_settings
from monitoring.simulate.people import People, World
from monitoring.simulate.shifts import Shift
from monitoring.stack import HOST, Stack, process, run, wait_ready
from serving.launch.backends import free
from serving.release.servers import recorded
from serving.repository.manifest import METRIC_TITLES, Manifest

ROOT = Path(__file__).resolve().parent.parent
FASTER = 15.0  # than the shipped intervals
WINDOW_S = 8
LIES = 2.5  # times the rows of the first retraining; few of them are right labels that were left over
TRIAL_LABELS = 200
MODEL = "heart_disease"
RETRAIN = {
    "with_synthetic": "true",
    "cool_down_hours": "0",
    "canary_percent": "30",
    "canary_hours": str(20 / 3600),
    "canary_rows": "100",
}
MOST_S = 600.0  # for one thing to come about, on a slow machine
LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Move:
    """By how many standard deviations a column moves, the first number if it has no name; and the labels to retrain on.

    So many that the moved rows are most of all, and no more: made-up rows teach less than real ones. How often the
    gates let through what comes of it is measured by `python -m bench.loop`.
    """

    size: float
    labels: int
    column: str = ""

    @property
    def retrain(self) -> dict[str, str]:
        """Settings. However quick the machine, it is hardly more than what is asked for."""
        return {**RETRAIN, "min_labels": str(self.labels), "most_per_user": str(self.labels + 100)}


MOVES = {"breast_cancer": Move(0.25, 700, "texture_mean")}
OTHERS_MOVE = Move(0.4, 1500)


class StoryFailed(VouchError):
    """What should have come about did not."""


@dataclass
class Told:
    """The story so far, with the seconds since it began."""

    began: float = field(default_factory=time.monotonic)

    def say(self, what: str, colour: str = "") -> None:
        click.secho(f"{time.monotonic() - self.began:5.0f} s  {what}", fg=colour or None)


@dataclass
class Stage:
    """All that runs, and what can be seen of it."""

    var: Path
    config: Path
    model: str
    alertmanager: str
    people: People
    told: Told
    moved: World
    seen: dict[str, str] = field(default_factory=dict)  # the last stage of each attempt

    @property
    def stable(self) -> int:
        record = recorded(self.var / "serving", self.model)
        return record.state.stable if record else 0

    def tell_news(self) -> None:
        """Say what the controller has done since it was last asked."""
        for attempt in Retraining.read(self.var, self.model).attempts:
            state = attempt.outcome if attempt.stage == "ended" else attempt.stage
            if self.seen.get(attempt.id) != state:
                self.seen[attempt.id] = state
                self.told.say(f"controller: {_sentence(attempt)}")

    @property
    def last(self) -> Attempt | None:
        attempts = Retraining.read(self.var, self.model).carried_out
        return attempts[-1] if attempts else None

    @property
    def drift(self) -> DriftReport | None:
        return DriftReport.latest(self.var, self.model)

    def clean_windows(self, version: int) -> int:
        """Return how many windows of a version were checked and have no finding."""
        windows = self.drift.windows if self.drift else ()
        return sum(w.version == version and w.state == "checked" and not w.findings for w in windows)

    def drifted(self, version: int) -> list[str]:
        alarms = self.drift.alarms if self.drift else ()
        return [alarm.title for alarm in alarms if alarm.version == version]

    def alerts(self) -> list[str]:
        """Return the alerts about the model's drift that fire in Alertmanager."""
        reply = requests.get(f"{self.alertmanager}/api/v2/alerts", params={"active": "true"}, timeout=10)
        return [a["labels"]["alertname"] for a in reply.json() if a["labels"].get("action") == "retrain"]

    def wait(self, what: str, condition: Callable[[], Any]) -> None:
        """Wait until a condition holds. Raises StoryFailed if it does not in time, or somebody's request fails."""
        deadline = time.monotonic() + MOST_S
        while not condition():
            if self.people.problem:
                raise StoryFailed("a request failed", got=self.people.problem)
            self.tell_news()
            if time.monotonic() > deadline:
                raise StoryFailed(f"it did not come about that {what}", got=f"{self.last}", wanted=f"in {MOST_S:g} s")
            time.sleep(LOOK_EVERY_S)
        self.tell_news()

    def expect(self, what: str, is_so: bool) -> None:
        if not is_so:
            raise StoryFailed(f"it is not so that {what}", got=f"{self.last}")


def play(stage: Stage) -> None:
    """Let it all happen. Raises StoryFailed as soon as something does not."""
    say = stage.told.say
    stage.wait("clean windows are checked", lambda: stage.clean_windows(1) >= 3)
    stage.expect("nothing fires on unshifted traffic", not stage.alerts() and not stage.drifted(1) and not stage.last)
    say(
        f"unshifted traffic: {stage.people.rows} rows in {stage.clean_windows(1)} clean windows, nothing fires", "green"
    )

    stage.people.world = stage.moved
    shift = stage.moved.shift
    say(f"the world moves: {shift.column or 'a number'} by {shift.size:g} σ; true labels are told")
    stage.wait("drift is measured", lambda: stage.drifted(1))
    say(f"drift is measured: {', '.join(stage.drifted(1))}")
    stage.wait("ModelDrift fires", stage.alerts)
    say("ModelDrift fires in Alertmanager")
    stage.wait("the controller retrains", lambda: stage.last)
    stage.people.world = replace(stage.moved, label_share=0.0)
    stage.wait("the new version is on trial", lambda: stage.last and stage.last.stage not in ("accepted", "collected"))
    first = stage.last
    wanted = round(LIES * first.rows) if first else 0
    # Before the alert that is not over yet is told once more.
    configure(stage.config, min_labels=str(wanted), most_per_user=str(round(1.25 * wanted)))
    stage.people.world = replace(stage.moved, label_share=0.1, most_labels=TRIAL_LABELS)
    stage.wait("the retraining ends", lambda: stage.last and stage.last.stage == "ended")
    stage.expect("the new version is promoted", stage.last is not None and stage.last.outcome == "promoted")
    stage.expect("it is stable", stage.stable == 2)
    say(f"on the real test rows: {_quality(stage, 1)}; {_quality(stage, 2)}")
    stage.people.world = replace(stage.moved, label_share=0.0)
    stage.wait("the alarm is over", lambda: stage.clean_windows(2) >= 2 and not stage.drifted(2) and not stage.alerts())
    say("the alarm is over: the moved world is what version 2 was trained on", "green")

    stage.people.world = replace(stage.moved, name="lying", is_lying=True, most_labels=math.inf)
    say(f"the labels are told wrongly from now on; {wanted} are to be there before anything is trained on them")
    stage.wait("ModelDrift fires again", stage.alerts)
    say(f"ModelDrift fires in Alertmanager: {', '.join(stage.drifted(2))}")
    stage.wait("the controller retrains again", lambda: stage.last and first and stage.last.id != first.id)
    stage.people.world = replace(stage.moved, label_share=0.0)
    stage.wait("that retraining ends", lambda: stage.last and stage.last.stage == "ended")
    stage.expect("its model is refused", stage.last is not None and stage.last.outcome == "not vouched for")
    stage.expect("the champion stays", stage.stable == 2)
    say("the model that was trained on wrong labels is refused, version 2 stays", "green")


def prepare(var: Path, model: str) -> Path:
    """Make the folder anew: the model's settings, and its data as a first span."""
    shutil.rmtree(var, ignore_errors=True)
    source = load_settings(ROOT / "config" / model).data.source
    config, span = var / "config" / model, var / "data" / "span-1"
    shutil.copytree(ROOT / "config" / model, config)
    span.mkdir(parents=True)
    shutil.copy2(source, span)
    configure(
        config, str(var / "data" / "span-{SPAN}" / f"*{Path(source).suffix}"), **MOVES.get(model, OTHERS_MOVE).retrain
    )
    return config


def configure(config: Path, source: str = "", **retrain: str) -> None:
    """Change where the data lie, and what stands under `retrain:`; the controller reads it before its next step."""
    values = yaml.load((config / CONFIG_NAME).read_text(encoding="utf-8"), yaml.BaseLoader)  # all values stay text
    values["data"]["source"] = source or values["data"]["source"]
    values["retrain"] = values.get("retrain", {}) | retrain
    write_text(config / CONFIG_NAME, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


@contextmanager
def staged(var: Path, model: str, told: Told) -> Iterator[Stage]:
    """Train the first version and start all that there is around it."""
    config = prepare(var, model)
    rest, grpc, web, prometheus, alertmanager, watcher, controller = free(7)
    token = var / "controller_token"
    write_text(token, secrets.token_hex(32) + "\n")
    environment = {
        **os.environ,
        "VOUCH_VAR": str(var),
        "VOUCH_MODELS": str(config.parent),
        "VOUCH_MODEL_SERVER_REST": f"http://{HOST}:{rest}",
        "VOUCH_MODEL_SERVER_GRPC": f"{HOST}:{grpc}",
        "VOUCH_RATE_LIMIT": "",
        "VOUCH_AUTH": "off",
    }
    python = [sys.executable, "-m"]
    stack = Stack(
        var / "monitoring",
        f"{HOST}:{rest}",
        f"{HOST}:{web}",
        prometheus,
        alertmanager,
        faster=FASTER,
        watcher=f"{HOST}:{watcher}",
        controller=f"{HOST}:{controller}",
        controller_token=token,
    )
    told.say(f"the pipeline trains {model}")
    _once([sys.executable, "local_runner.py", "run", str(config)], var / "run.log", environment)
    with ExitStack() as running:
        started = [*python, "serving", "start", "--rest-port", str(rest), "--grpc-port", str(grpc)]
        started += ["--run", f"{sys.executable} -m webapp --port {web}"]
        page = f"http://{HOST}:{web}"
        serving = running.enter_context(process(started, var / "serving.log", environment))
        wait_ready(serving, "the model server with its web app", f"{page}/readyz", var / "serving.log")
        watch = [*python, "monitoring", "watch", "--interval", "2s", "--window", f"{WINDOW_S}s", "--port", str(watcher)]
        running.enter_context(process(watch, var / "watch.log", environment))
        control = [*python, "monitoring", "control", "--every", "1", "--port", str(controller)]
        control += ["--token-file", str(token)]
        controlling = running.enter_context(process(control, var / "control.log", environment))
        wait_ready(controlling, "the controller", f"http://{HOST}:{controller}/livez", var / "control.log")
        running.enter_context(run(stack))
        settings = load_settings(config)
        people = People(page, Paths(var, model).serving / "1", settings.data.classes, seed=1)
        told.say(f"version 1 is served; {page}, Prometheus http://{stack.prometheus}")
        running.enter_context(people.asking())
        move = MOVES.get(model, OTHERS_MOVE)
        # Some of the rows would be dealt to test, and are not collected.
        moved = World("moved", Shift("covariate", move.size, move.column), 1.0, most_labels=1.5 * move.labels)
        yield Stage(var, config, model, f"http://{stack.alertmanager}", people, told, moved)


def _once(command: list[str], log: Path, environment: Mapping[str, str]) -> None:
    with log.open("wb") as output:
        done = subprocess.run(
            command, cwd=ROOT, env=dict(environment), stdout=output, stderr=subprocess.STDOUT, timeout=1800, check=False
        )
    if done.returncode:
        raise StoryFailed("the first version was not pushed", got=f"exit code {done.returncode}", fix=f"read {log}")


def _quality(stage: Stage, version: int) -> str:
    """Return what the gate measured of a version first, on rows of which none is made up."""
    metrics = Manifest.read(stage.var / "serving" / stage.model / str(version)).metrics
    name, (value, lower, upper) = next(iter(metrics.items()))
    return f"version {version} has {METRIC_TITLES.get(name, name)} {value:.4f} ({lower:.4f} to {upper:.4f})"


def _sentence(attempt: Attempt) -> str:
    words = {
        "accepted": f"retrains, by {attempt.cause}",
        "collected": f"{attempt.rows} labelled rows are span {attempt.span}; the pipeline runs",
        "pushed": f"the gates let version {attempt.version} through",
        "trial": f"version {attempt.version} answers a share of the requests",
        "decided": f"{attempt.verdict}: {attempt.reason}",
        "ended": f"{attempt.outcome}: {attempt.reason}",
    }
    return words[attempt.stage]


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", default=MODEL, show_default=True, help="A folder in config/ with numbers to move.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where all of its state lies; what is there is removed.  [default: var/loop]",
)
def main(model: str, folder: Path | None) -> None:
    """Show the closed loop on this machine, from moving world to promoted version, in some five minutes.

    Exit code 0: all came about as it should. 1: something did not; the logs are in the folder. 5: a program is missing.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    told = Told()
    with staged((folder or var_root() / "loop").resolve(), model, told) as stage:
        play(stage)
    told.say("the story held")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(prog_name="python -m monitoring.loop")
