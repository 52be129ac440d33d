"""The commands about retraining, of `python -m monitoring`. What they take is imported once one runs."""

from __future__ import annotations

import getpass
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from common.cli import CONFIGS, GRPC, JSON, MODEL
from common.errors import EnvironmentProblem, GateRefused
from common.paths import CONTROLLER, var_root
from common.text import counted

if TYPE_CHECKING:
    from common.records.retrain import Attempt, Retraining
    from monitoring.controller.control import Controller

EVERY_S = 30.0
REFUSED_EXIT_CODE = GateRefused.exit_code


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address for alerts and metrics.")
@click.option("--port", default=CONTROLLER, show_default=True, help="Its port; 0: any that is free.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What Alertmanager shows ($VOUCH_CONTROLLER_TOKEN, or the file that $VOUCH_CONTROLLER_TOKEN_FILE names).  "
    "[default: monitoring/alertmanager/secrets/controller_token]",
)
@click.option(
    "--every", "every_s", type=click.FloatRange(0.1), default=EVERY_S, show_default=True, help="Seconds between looks."
)
@GRPC
@CONFIGS
def control(host: str, port: int, token_file: Path | None, every_s: float, grpc: str, configs: Path) -> None:
    """Retrain models when an alert or the schedule says so, and try the outcome; stay until Ctrl-C.

    Alerts come by POST to /alerts; /livez and /metrics tell how it is. What `retrain:` in a model's pipeline.yaml does
    not allow is refused, and stands in the history.
    """
    from monitoring.controller.control import read_token, serving

    signal.signal(signal.SIGTERM, _interrupt)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    token = read_token(token_file)
    try:
        with serving(_controller(grpc, configs), (host, port), token, every_s) as bound:
            click.echo(f"alerts go to http://{host}:{bound}/alerts; Ctrl-C ends it")
            signal.pause()
    except KeyboardInterrupt:
        click.echo("stopped; what was under way goes on with the next start")


@click.command()
@MODEL
@click.option("--config", type=click.Path(exists=True, path_type=Path), help="Of the model.  [default: config/MODEL]")
@click.option(
    "--every", "every_s", type=click.FloatRange(0.1), default=EVERY_S, show_default=True, help="Seconds between looks."
)
@GRPC
def retrain(model: str, config: Path | None, every_s: float, grpc: str) -> None:
    """Retrain MODEL now, on old and newly labelled data, and try the outcome, as after an alert.

    Goes on here until it is promoted or rolled back, which takes as long as the trial; where the controller runs it
    does that. Ctrl-C leaves it to the next `control` or `retrain`. Exit code 4: it was refused, or no model came of it.
    """
    from common.records.retrain import Retraining
    from monitoring.controller.control import driving

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder = config or Path("config") / model
    controller = _controller(grpc, folder.parent)
    machine = controller.machine(folder)
    before = len(Retraining.read(machine.var, model).attempts)
    machine.request("command", _who())
    try:
        with driving(machine.var, model):
            pass
    except EnvironmentProblem:
        click.echo(f"the controller goes on with it: python -m monitoring history {model}")
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        while True:
            controller.advance(machine)
            known = Retraining.read(machine.var, model)
            if not (known.active or known.requested):
                break
            controller.woken.wait(every_s)
    except KeyboardInterrupt:
        click.echo("stopped; `control` or another `retrain` goes on from here")
        return
    for attempt in known.attempts[before:] or known.attempts[-1:]:
        click.echo(_line(attempt))
    if known.attempts[-1].outcome != "promoted":
        click.get_current_context().exit(REFUSED_EXIT_CODE)


@click.command()
@MODEL
@click.option("--limit", default=20, show_default=True, help="At most so many.")
@JSON
def history(model: str, limit: int, as_json: bool) -> None:
    """Show the retrainings of MODEL, newest first: what started them, how far they came, and why they ended so."""
    from common.records.retrain import Retraining

    known = Retraining.read(var_root(), model)
    if as_json:
        click.echo(replace(known, attempts=known.attempts[-limit:]).text(), nl=False)
        return
    if known.paused:
        click.secho(f"paused by {known.paused.who}, {known.paused.time:%Y-%m-%d %H:%M} UTC  {known.paused.reason}")
    if known.requested:
        click.echo(f"asked for by {known.requested.who} ({known.requested.cause}), not begun")
    for attempt in known.attempts[::-1][:limit]:
        click.echo(_line(attempt))
    if not known.attempts:
        click.echo(f"{model} has not been retrained by the controller")


@click.command()
@MODEL
@click.option("--reason", default="", help="For whoever reads the history.")
def pause(model: str, reason: str) -> None:
    """Begin no retraining of MODEL until `resume`; one that is under way goes on."""
    from common.records.retrain import Pause

    _change(model, lambda known: replace(known, paused=Pause(_who(), datetime.now(timezone.utc), reason)))
    click.echo(f"{model} is not retrained until: python -m monitoring resume {model}")


@click.command()
@MODEL
def resume(model: str) -> None:
    """Let MODEL be retrained again."""
    _change(model, lambda known: replace(known, paused=None))
    click.echo(f"{model} may be retrained again")


COMMANDS = (control, retrain, history, pause, resume)


def _change(model: str, of: Callable[[Retraining], Retraining]) -> None:
    from common.records.retrain import change
    from serving.repository.layout import model_folder

    var = var_root()
    model_folder(var / "serving", model)
    change(var, model, of)


def _controller(grpc: str, configs: Path) -> Controller:
    from monitoring.controller.control import Controller

    return Controller(var_root(), configs, grpc, _who())


def _line(attempt: Attempt) -> str:
    span = f"  span {attempt.span}, {counted(attempt.rows, 'row')}" if attempt.span else ""
    version = f"  version {attempt.version}" if attempt.version else ""
    times = f" ({attempt.times} times)" if attempt.times > 1 else ""
    state = attempt.outcome or f"under way: {attempt.stage}"
    reason = f": {attempt.reason}" if attempt.reason else ""
    return f"{attempt.began:%Y-%m-%d %H:%M:%S}  {attempt.cause}, {attempt.who}{span}{version}  {state}{times}{reason}"


def _who() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
