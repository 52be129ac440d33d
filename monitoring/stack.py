"""Prometheus, Alertmanager and a watcher beside a model server and a web app on this machine, with the shipped rules.

`python -m monitoring.stack`, or `make monitor`. All run in the foreground, on loopback and on ports of their own, as
children that end with this process; what they keep lies under `var/monitoring`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import click
import requests
import yaml

from common.cli import Command
from common.errors import ConfigError, EnvironmentProblem
from common.files import write_text
from common.paths import CONTROLLER, MODEL_SERVER_REST, WATCHER, WEB_PAGE, var_root

HERE = Path(__file__).resolve().parent
MOUNTED = "/etc/alertmanager/"  # where the configuration finds templates and secrets in Compose
HOST = "127.0.0.1"
PROMETHEUS_PORT, ALERTMANAGER_PORT = 19090, 19093  # not their usual ones, which services of this machine may hold
PROGRAMS = {"prometheus": ("prometheus",), "alertmanager": ("prometheus-alertmanager", "alertmanager")}
START_S, END_S, LOOK_EVERY_S = 180.0, 15.0, 0.1
READY_TIMEOUT_S = 5.0
RESEND_DELAY = "1m"  # as Prometheus has it by itself
INTERVALS = ("scrape_interval", "evaluation_interval", "for", "group_wait", "group_interval", "repeat_interval")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Stack:
    """What to run. `model_server`, `webapp`, `watcher` and `controller` are HOST:PORT.

    `faster` divides every interval of the configuration, but not the ages that expressions compare with, such as
    `> 7 * 86400` seconds: labels are as late as they are, however often that is looked at. `receiver` is who gets the
    alerts, by default whom the configuration names; those that ask for a retraining go to `controller`, too, with the
    token in a file.
    """

    folder: Path
    model_server: str
    webapp: str
    prometheus_port: int = PROMETHEUS_PORT
    alertmanager_port: int = ALERTMANAGER_PORT
    receiver: str = ""
    faster: float = 1.0
    watcher: str = f"{HOST}:{WATCHER}"
    controller: str = f"{HOST}:{CONTROLLER}"
    controller_token: Path | None = None

    @property
    def prometheus(self) -> str:
        return f"{HOST}:{self.prometheus_port}"

    @property
    def alertmanager(self) -> str:
        return f"{HOST}:{self.alertmanager_port}"


def write_configs(stack: Stack) -> None:
    """Write the shipped configuration as it is right for this machine. Raises ConfigError for an unknown receiver."""
    targets = {
        "model-server": stack.model_server,
        "webapp": stack.webapp,
        "watch": stack.watcher,
        "prometheus": stack.prometheus,
        "alertmanager": stack.alertmanager,
    }
    prometheus = _load(HERE / "prometheus" / "prometheus.yml")
    for job in prometheus["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    prometheus["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [stack.alertmanager]}]}]
    alertmanager = _load(HERE / "alertmanager" / "alertmanager.yml")
    receivers = [receiver["name"] for receiver in alertmanager["receivers"]]
    if stack.receiver and stack.receiver not in receivers:
        raise ConfigError("there is no such receiver", got=stack.receiver, wanted=f"one of {', '.join(receivers)}")
    alertmanager["route"]["receiver"] = stack.receiver or alertmanager["route"]["receiver"]
    alertmanager = _at_home(alertmanager)
    [webhook] = next(each for each in alertmanager["receivers"] if each["name"] == "controller")["webhook_configs"]
    webhook["url"] = f"http://{stack.controller}/alerts"
    if stack.controller_token:
        webhook["http_config"]["authorization"]["credentials_file"] = str(stack.controller_token)
    files = {"prometheus.yml": prometheus, "alertmanager.yml": alertmanager}
    files |= {name: _load(HERE / "prometheus" / name) for name in prometheus["rule_files"]}
    for name, values in files.items():
        write_text(stack.folder / name, yaml.safe_dump(_faster(values, stack.faster), sort_keys=False))


@contextmanager
def run(stack: Stack, say: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Run both for as long as the context lasts. Raises EnvironmentProblem if one is missing, or does not come up."""
    _program("prometheus")
    write_configs(stack)
    with run_alertmanager(stack), run_prometheus(stack):
        say(f"Alertmanager: http://{stack.alertmanager}")
        say(f"Prometheus:   http://{stack.prometheus}")
        yield


@contextmanager
def run_prometheus(stack: Stack) -> Iterator[None]:
    """Run Prometheus alone, on the configuration that was written for it."""
    command = [
        _program("prometheus"),
        f"--config.file={stack.folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={stack.folder / 'prometheus'}",
        "--storage.tsdb.retention.time=30d",
        f"--web.listen-address={stack.prometheus}",
        f"--rules.alert.resend-delay={_divided(RESEND_DELAY, stack.faster)}",
    ]
    with _running(command, stack.prometheus, stack.folder / "prometheus.log"):
        yield


@contextmanager
def run_alertmanager(stack: Stack) -> Iterator[None]:
    """Run Alertmanager alone, on the configuration that was written for it."""
    command = [
        _program("alertmanager"),
        f"--config.file={stack.folder / 'alertmanager.yml'}",
        f"--storage.path={stack.folder / 'alertmanager'}",
        f"--web.listen-address={stack.alertmanager}",
        "--cluster.listen-address=",  # else it opens a port on all interfaces to find others
    ]
    with _running(command, stack.alertmanager, stack.folder / "alertmanager.log"):
        yield


@contextmanager
def watching(stack: Stack) -> Iterator[None]:
    """Run a watcher, too. Where another runs already it waits, and Prometheus reads that one."""
    command = [sys.executable, "-m", "monitoring", "watch", "--port", stack.watcher.rpartition(":")[2]]
    with process(command, stack.folder / "watch.log"):
        yield


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _at_home(values: Any) -> Any:
    """Return the configuration with this folder's files in place of those that Compose mounts."""
    if isinstance(values, Mapping):
        return {key: _at_home(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_at_home(value) for value in values]
    if isinstance(values, str) and values.startswith(MOUNTED):
        return str(HERE / "alertmanager" / values.removeprefix(MOUNTED))
    return values


def _faster(values: Any, factor: float, key: str = "") -> Any:
    """Return the configuration with its intervals, and the windows and offsets of its queries, divided by a factor."""
    if isinstance(values, Mapping):
        return {name: _faster(value, factor, name) for name, value in values.items()}
    if isinstance(values, list):
        return [_faster(value, factor, key) for value in values]
    if factor != 1 and key in INTERVALS:
        return _divided(str(values), factor)
    if factor != 1 and key == "expr":
        return re.sub(r"(\[|offset )(\w+)", lambda window: window[1] + _divided(window[2], factor), values)
    return values


def _divided(duration: str, factor: float) -> str:
    parts = re.findall(r"(\d+)(ms|[smhd])", duration)
    return f"{max(1, round(1000 * sum(int(number) * SECONDS[unit] for number, unit in parts) / factor))}ms"


def _program(name: str) -> str:
    for candidate in PROGRAMS[name]:
        if path := shutil.which(candidate):
            return path
    raise EnvironmentProblem(
        f"{name.capitalize()} is not installed",
        wanted=" or ".join(PROGRAMS[name]) + " on PATH",
        fix="apt-get install prometheus prometheus-alertmanager (Debian, Ubuntu), or prometheus.io/download. Where "
        "systemd starts them as services, too: systemctl disable --now prometheus prometheus-alertmanager",
    )


@contextmanager
def _running(command: list[str], address: str, log: Path) -> Iterator[None]:
    with process(command, log) as started:
        wait_ready(started, Path(command[0]).name, f"http://{address}/-/ready", log)
        yield


@contextmanager
def process(
    command: list[str], log: Path, environment: Mapping[str, str] = os.environ
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, or a module of ours, for as long as the context lasts; what it prints goes to a log."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            command,
            cwd=HERE.parent,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(END_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            started.kill()
            started.wait()


def wait_ready(process: subprocess.Popen[bytes], name: str, url: str, log: Path) -> None:
    """Wait until a process answers at an address. Raises EnvironmentProblem if it ends before, or takes too long."""
    deadline = time.monotonic() + START_S
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise EnvironmentProblem(
                f"{name} did not come up",
                got="\n    ".join(words[-5:]),
                wanted=f"an answer from {url}",
                fix=f"read {log}",
            )
        try:
            if requests.get(url, timeout=READY_TIMEOUT_S).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(LOOK_EVERY_S)


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--rest-url",
    envvar="VOUCH_MODEL_SERVER_REST",
    default=f"http://{HOST}:{MODEL_SERVER_REST}",
    show_default=True,
    help="REST address of the model server ($VOUCH_MODEL_SERVER_REST).",
)
@click.option("--web", default=f"http://{HOST}:{WEB_PAGE}", show_default=True, help="Address of the web app.")
@click.option("--receiver", default="", help="Who gets the alerts: operators, slack, email. Default: as configured.")
@click.option("--prometheus-port", default=PROMETHEUS_PORT, show_default=True)
@click.option("--alertmanager-port", default=ALERTMANAGER_PORT, show_default=True)
def main(rest_url: str, web: str, receiver: str, prometheus_port: int, alertmanager_port: int) -> None:
    """Run Prometheus, Alertmanager and a watcher beside a running demo until Ctrl-C.

    Exit code 5: one of them will not start.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    stack = Stack(
        var_root() / "monitoring",
        urlsplit(rest_url).netloc,
        urlsplit(web).netloc,
        prometheus_port,
        alertmanager_port,
        receiver,
    )
    try:
        with run(stack, click.echo), watching(stack):
            click.echo(f"they read {stack.model_server}, {stack.webapp} and the watcher; Ctrl-C ends them")
            signal.pause()
    except KeyboardInterrupt:
        click.echo("stopped")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(prog_name="python -m monitoring.stack")
