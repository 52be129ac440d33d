"""The monitoring's command line. What it takes is imported once a command runs, so that `--help` is instant."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from common.cli import Group
from common.errors import DataError
from common.paths import var_root

if TYPE_CHECKING:
    from common.records.drift import DriftReport

ALARM_EXIT_CODE = 6
DEFAULT_PERIOD = timedelta(days=30)
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
MODEL = click.argument("model")
JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")


def _as_duration(_context: click.Context, _param: click.Parameter, value: str) -> timedelta:
    match = re.fullmatch(r"([1-9]\d{0,4})([mhdw])", value)
    if not match:
        raise click.BadParameter(f"{value!r} is no length of time; wanted such as 90m, 12h, 1d or 2w")
    return int(match[1]) * UNITS[match[2]]


MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


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
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a report for people.")
@JSON
def drift(
    model: str,
    start: datetime | None,
    end: datetime | None,
    length: timedelta,
    route: str | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Measure the predictions of MODEL against the training data of the version that made them.

    Each window has findings; findings in one column in two of a version's last three windows are an alarm, and end this
    with exit code 6. Without --from, --to and --route the web page shows the outcome.
    """
    from common.files import write_text
    from common.records.drift import DriftReport
    from monitoring.drift.report import render_html
    from monitoring.drift.timeline import Places, examine, latest_window
    from monitoring.drift.window import Span
    from serving.repository.layout import model_folder

    var, now = var_root(), datetime.now(timezone.utc)
    model_folder(var / "serving", model)
    places, is_kept = Places.under(var, model), not (start or end or route)
    until = end.replace(tzinfo=timezone.utc) if end else now
    since = start.replace(tzinfo=timezone.utc) if start else until - DEFAULT_PERIOD
    if since >= until:
        raise click.UsageError("--from must be before --to")
    earlier = DriftReport.latest(var, model) if is_kept else None
    report = examine(places, Span(since, until), length, now=now, route=route or "", earlier=earlier)
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


def _print(report: DriftReport) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("from (UTC)", "to", "version", "rows", "findings", box=None)
    for window in report.windows:
        findings = [f"{f.title}: {f.kind}, {f.measure} {f.size:.3g} > {f.limit:g}" for f in window.findings]
        findings += [f"gone: {name}" for name in window.gone] + [f"new: {name}" for name in window.new]
        told = "\n".join(findings) or "none" if window.state == "checked" else f"{window.state}: {window.reason}"
        cells = f"{window.start:%Y-%m-%d %H:%M}", f"{window.end:%Y-%m-%d %H:%M}", window.version, window.logged, told
        table.add_row(*map(str, cells))
    console.print(table)
    for alarm in report.alarms:
        column = alarm.column.removeprefix("input.")
        console.print(
            f"ALARM  {column} of version {alarm.version}: in {alarm.found} of the last {alarm.of} windows, since "
            f"{alarm.since:%Y-%m-%d %H:%M}"
        )
