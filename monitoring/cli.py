"""The monitoring's command line. What it takes is imported once a command runs, so that `--help` is instant."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from common.cli import CONFIGS, GRPC, JSON, MODEL, MOMENT, Group
from common.errors import DataError
from common.paths import WATCHER, WEB_PAGE, var_root
from common.text import counted
from monitoring.collect import cli as spans
from monitoring.controller import cli as retraining

if TYPE_CHECKING:
    from common.records.drift import DriftReport
    from monitoring.number_performance import MeanError, NumberPerformance
    from monitoring.performance import Accuracy, Performance
    from monitoring.watch.views import Round

ALARM_EXIT_CODE = 6
DEFAULT_PERIOD = timedelta(days=30)
UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def _as_duration(_context: click.Context, _param: click.Parameter, value: str) -> timedelta:
    match = re.fullmatch(r"([1-9]\d{0,4})([smhdw])", value)
    if not match:
        raise click.BadParameter(f"{value!r} is no length of time; wanted such as 90m, 12h, 1d or 2w")
    return int(match[1]) * UNITS[match[2]]


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Watch what released models are asked.

    Exit codes: 0 nothing is wrong, 2 a wrong argument, 3 there is nothing to go by, 5 the machine is in the way, 6 an
    alarm.
    """


@main.command()
@MODEL
@click.option("--from", "start", type=MOMENT, help="Begin of the period, UTC.  [default: 30 days before its end]")
@click.option("--to", "end", type=MOMENT, help="End of the period, UTC.  [default: now]")
@click.option(
    "--window", "length", callback=_as_duration, default="1d", show_default=True, help="Such as 90m, 12h, 1d, 2w."
)
@click.option("--route", type=click.Choice(["stable", "candidate"]), help="Only what was answered under this label.")
@click.option(
    "--slice", "part", metavar="FEATURE=VALUE", default="", help="Only one of the version's evaluation.slices."
)
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a report for people.")
@JSON
def drift(
    model: str,
    start: datetime | None,
    end: datetime | None,
    length: timedelta,
    route: str | None,
    part: str,
    page: Path | None,
    as_json: bool,
) -> None:
    """Measure the predictions of MODEL against the training data of the version that made them.

    Each window has findings; findings in one column in two of a version's last three windows are an alarm, and end this
    with exit code 6. Without --from, --to, --route and --slice the web page shows the outcome.
    """
    from common.files import write_text
    from monitoring.drift.report import render_html
    from monitoring.drift.timeline import Places, examine, latest_report, latest_window
    from monitoring.drift.window import Only, Span
    from monitoring.feedback import reading
    from serving.repository.layout import model_folder

    feature, _, value = part.partition("=")
    if part and not (feature.strip() and value.strip()):
        raise click.BadParameter(f"{part!r} is no slice; wanted such as sex=1", param_hint="--slice")
    only = Only(route or "", f"{feature.strip()} = {value.strip()}" if part else "")
    var, now = var_root(), datetime.now(timezone.utc)
    model_folder(var / "serving", model)
    places, is_kept = Places.under(var, model), not (start or end or route or part)
    until = end.replace(tzinfo=timezone.utc) if end else now
    since = start.replace(tzinfo=timezone.utc) if start else until - DEFAULT_PERIOD
    if since >= until:
        raise click.UsageError("--from must be before --to")
    earlier = latest_report(var, model) if is_kept else None
    with reading(var) as connection:
        report = examine(places, Span(since, until), length, now=now, only=only, earlier=earlier, connection=connection)
    if is_kept:
        report.write(var)
    if page:
        write_text(page, render_html(report, latest_window(places, report)))
    if as_json:
        click.echo(report.text(), nl=False)
    else:
        _print(report)
    if report.alarms:
        click.get_current_context().exit(ALARM_EXIT_CODE)
    if not any(window.state == "checked" for window in report.windows):
        states = ", ".join(dict.fromkeys(window.state for window in report.windows)) or "no prediction"
        raise DataError(
            f"there was no window in which drift of {model} could be measured",
            got=f"{states} from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC",
            fix="take a longer --window, or wait for more predictions",
        )


@main.command()
@MODEL
@click.option("--from", "start", type=MOMENT, help="Begin of the period, UTC.  [default: 30 days before its end]")
@click.option("--to", "end", type=MOMENT, help="End of the period, UTC.  [default: now]")
@JSON
def performance(model: str, start: datetime | None, end: datetime | None, as_json: bool) -> None:
    """Tell how right each version of MODEL was, by the true labels that came, and where it errs more than elsewhere.

    Where numbers are predicted it tells how far off they were. Two versions are compared on the cases that both
    answered, where there are any. A slice that is surely worse than
    the rest ends this with exit code 6.
    """
    import json
    from dataclasses import asdict

    from common.records.labels import between
    from monitoring.drift.timeline import Places
    from monitoring.drift.window import Span
    from monitoring.feedback import reading
    from monitoring.number_performance import NumberPerformance
    from monitoring.performance import measure
    from serving.repository.layout import model_folder

    var = var_root()
    model_folder(var / "serving", model)
    until = end.replace(tzinfo=timezone.utc) if end else datetime.now(timezone.utc)
    since = start.replace(tzinfo=timezone.utc) if start else until - DEFAULT_PERIOD
    with reading(var) as connection:
        feedback = between(connection, model, since, until) if connection else {}
    measured = measure(Places.under(var, model), Span(since, until), feedback)
    if as_json:
        click.echo(json.dumps(asdict(measured), indent=1))
    elif isinstance(measured, NumberPerformance):
        _print_errors(measured)
    else:
        _print_performance(measured)
    if any(each.is_finding for each in measured.slices):
        click.get_current_context().exit(ALARM_EXIT_CODE)


@main.command()
@click.option(
    "--interval",
    callback=_as_duration,
    default="5m",
    show_default=True,
    help="From one round to the next: 30s, 5m, 1h.",
)
@click.option(
    "--window", "length", callback=_as_duration, default="1d", show_default=True, help="Length of each of 30 windows."
)
@click.option("--once", is_flag=True, help="One round, without metrics.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the metrics.")
@click.option("--port", default=WATCHER, show_default=True, help="Port of the metrics; 0: any that is free.")
@GRPC
@CONFIGS
@JSON
def watch(
    interval: timedelta, length: timedelta, once: bool, host: str, port: int, grpc: str, configs: Path, as_json: bool
) -> None:
    """Examine every model at an interval, tell MLflow what waits for it, and tell Prometheus what is seen.

    One watches; a second one waits until the first is gone. The metrics are at /metrics, for this machine and who sends
    VOUCH_METRICS_TOKEN. With --json each round is a line. --once ends with 6 if there is an alarm, 3 if a model could
    not be examined.
    """
    import signal
    import threading

    from monitoring.watch.observe import Site
    from monitoring.watch.server import Access
    from monitoring.watch.watcher import Watch, forever
    from monitoring.watch.watcher import once as go_once

    stop = threading.Event()

    def end(*_: object) -> NoReturn:
        stop.set()
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    plan = Watch(Site(var_root(), configs, length), grpc, interval.total_seconds(), host, port)
    show = _Shown(as_json)
    if not once:
        forever(plan, Access.read(), lambda line: click.echo(line, err=True), show.round, stop)
    finished = go_once(plan)
    show.round(finished)
    if any(version.alarms for view in finished.models for version in view.versions):
        click.get_current_context().exit(ALARM_EXIT_CODE)
    if any(view.problem for view in finished.models):
        click.get_current_context().exit(DataError.exit_code)


class _Shown:
    """Prints rounds: all of each as JSON, or of each what is not as it was in the last one."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._last: dict[str, str] = {}

    def round(self, finished: Round) -> None:
        from monitoring.watch.rounds import lines

        if self._as_json:
            click.echo(finished.text())
            return
        said = lines(finished)
        for name, line in said.items():
            if self._last.get(name) != line:
                click.echo(f"{finished.started_at:%Y-%m-%d %H:%M:%S}  {line}")
        self._last = said


@main.command()
@MODEL
@click.option(
    "--shift",
    type=click.Choice(["none", "covariate", "prior", "concept", "category", "missing"]),
    default="none",
    show_default=True,
    help="How the world has moved.",
)
@click.option(
    "--size",
    type=click.FloatRange(min=0.0),
    default=1.0,
    show_default=True,
    help="covariate: standard deviations; prior: doublings of the rarest class's odds; else a share of the rows.",
)
@click.option("--column", default="", help="Which one is shifted.  [default: the first that can be]")
@click.option("--rows", type=click.IntRange(1, 1_000_000), default=500, show_default=True)
@click.option("--rate", type=click.FloatRange(min=0.1), default=50.0, show_default=True, help="Rows a second.")
@click.option("--labels-after", type=click.FloatRange(min=0.0), default=0.0, show_default=True, help="Seconds.")
@click.option(
    "--label-share", type=click.FloatRange(0.0, 1.0), default=1.0, show_default=True, help="Rows whose label is told."
)
@click.option("--version", type=click.IntRange(min=1), help="Whose training rows are imitated.  [default: the newest]")
@click.option("--url", default=f"http://127.0.0.1:{WEB_PAGE}", show_default=True, help="Of the web app.")
@click.option("--token", envvar="VOUCH_TOKEN", default="", help="Access token of an operator ($VOUCH_TOKEN).")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@JSON
def simulate(
    model: str,
    shift: str,
    size: float,
    column: str,
    rows: int,
    rate: float,
    labels_after: float,
    label_share: float,
    version: int | None,
    url: str,
    token: str,
    seed: int,
    as_json: bool,
) -> None:
    """Send MODEL rows like its training rows, moved as told, through the web app; true labels follow.

    The rows are drawn from the sample of training rows that travels with a version, never from test rows. Each is
    marked for ever: its reference begins with "synthetic:".
    """
    import json
    from dataclasses import asdict

    import numpy as np

    from monitoring.simulate.shifts import SHARES, Shift, draw
    from monitoring.simulate.source import read_table
    from monitoring.simulate.traffic import Plan, send
    from serving.repository.layout import model_folder, versions

    if shift in SHARES and size > 1:
        raise click.UsageError(f"--size is a share of the rows with --shift {shift}, at most 1")
    base = model_folder(var_root() / "serving", model)
    chance = np.random.default_rng(seed)
    table = read_table(base / str(version or versions(base)[-1]))
    columns, labels = draw(table, Shift(shift, size, column), rows, chance)
    plan = Plan(url, model, rate, f"{shift}-{size:g}-{seed}", labels_after, label_share, token)
    sent = send(plan, columns, labels, chance.random(rows).tolist())
    if as_json:
        click.echo(json.dumps(asdict(sent)))
    else:
        by_version = ", ".join(f"{count} by version {number}" for number, count in sorted(sent.by_version.items()))
        click.echo(f"{counted(sent.rows, 'row')} answered ({by_version}), {sent.right / sent.rows:.1%} of them right")
        click.echo(f"{counted(sent.labels, 'true label')} told; all rows have the reference synthetic:{plan.name}")


def _print_performance(measured: Performance) -> None:
    for each in measured.versions:
        click.secho(f"version {each.version}: {_accuracy(each.accuracy)} right", bold=True)
        for name, accuracy in each.by_class.items():
            click.echo(f"  of true {name}: {_accuracy(accuracy)}")
        if each.on_test is not None and each.expected is not None:
            click.echo(f"  on test {each.on_test:.1%}; with classes as frequent as here {each.expected:.1%}")
        if each.corrected:
            click.echo(f"  with classes as frequent as on test {_accuracy(each.corrected)}")
    for pair in measured.pairs:
        how = _on_both(pair.rows) if pair.is_paired else "unpaired, each on its own rows"
        p_value = f", p = {pair.p_value:.2g}" if pair.p_value is not None else ""
        between = f"{pair.difference:+.1%} ({pair.lower:+.1%} to {pair.upper:+.1%}{p_value})"
        click.echo(f"version {pair.second} against {pair.first}: {between}, {how}")
    for part in measured.slices:
        if part.is_finding:
            what = f"{part.column} {part.value}: {_accuracy(part.accuracy)} right, elsewhere {part.others:.1%}"
            click.secho(f"SLICE  version {part.version}, {what}", fg="red")


def _print_errors(measured: NumberPerformance) -> None:
    for each in measured.versions:
        on_test = f", on test by {each.on_test:.4g}" if each.on_test is not None else ""
        click.secho(f"version {each.version}: off by {_error(each.error)}{on_test}", bold=True)
    for pair in measured.pairs:
        between = f"{pair.difference:+.4g} ({pair.lower:+.4g} to {pair.upper:+.4g}, p = {pair.p_value:.2g})"
        click.echo(f"version {pair.second} against {pair.first}: {between}, {_on_both(pair.rows)}")
    for part in measured.slices:
        if part.is_finding:
            what = f"{part.column} {part.value}: off by {_error(part.error)}, elsewhere by {part.others:.4g}"
            click.secho(f"SLICE  version {part.version}, {what}", fg="red")


def _on_both(cases: int) -> str:
    return f"on {counted(cases, 'case')} that both answered"


def _error(error: MeanError) -> str:
    bounds = f" ({error.lower:.4g} to {error.upper:.4g})" if error.lower is not None else ""
    return f"{error.mean:.4g}{bounds} in the mean of {error.rows}"


def _accuracy(accuracy: Accuracy) -> str:
    return f"{accuracy.share:.1%} ({accuracy.lower:.1%} to {accuracy.upper:.1%}) of {accuracy.rows}"


for each in (*spans.COMMANDS, *retraining.COMMANDS):
    main.add_command(each)


def _print(report: DriftReport) -> None:
    for window in report.windows:
        title = f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}  version {window.version}"
        if window.state != "checked":
            click.echo(f"{title}  {window.state}: {window.reason}")
            continue
        rows = counted(window.rows, "row") + (f" of {window.logged}" if window.rows < window.logged else "")
        labels = f", {window.labelled} with their true label" if window.labelled else ""
        click.echo(f"{title}  {rows}{labels}, {counted(len(window.findings), 'finding')}")
        for finding in window.findings:
            size = f"{finding.measure} {finding.size:.3g} > {finding.limit:g}"
            click.echo(f"  {finding.title:<32} {finding.kind:<12} {size}  (p = {finding.p_value:.2g})")
        for names, what in ((window.gone, "in no row"), (window.new, "not in the training data")):
            if names:
                click.echo(f"  {what}: {', '.join(names)}")
    for alarm in report.alarms:
        windows = f"{alarm.windows} of the last {alarm.of} windows, since {alarm.since:%Y-%m-%d %H:%M}"
        click.secho(f"ALARM  {alarm.title} of version {alarm.version} has drifted in {windows}", fg="red")
