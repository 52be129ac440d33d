"""What was predicted: a table to search, one prediction with all that is known of it, a CSV, and the true label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import click
from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from common.errors import DataError, VouchError
from common.records.reader import ALL, Filters, Reader
from serving.release.state import Entry, Store
from webapp.auth import identity, requires
from webapp.auth.cli import AppCommands, who_at_the_machine
from webapp.history.search import History, Logged, export
from webapp.http.errors import page_with
from webapp.models.catalog import ModelVersion
from webapp.pages import frame
from webapp.services import services
from webapp.types import Role

blueprint = Blueprint("history", __name__)
commands = AppCommands("predictions", help="Look after what was predicted.")
blueprint.record_once(lambda state: state.app.cli.add_command(commands))
NAMES = ("from", "to", "zone", "label", "version", "who", "text")
SOURCES = {"page": "page", "index": "test row", "batch": "batch", "api": "API", "csv": "API, CSV"}
ROUTES = {"stable": "stable", "candidate": "candidate"}
TEXT_LENGTH = 200
MOST_PAGES = 10_000


@dataclass(frozen=True)
class Search:
    """What the form asks for: as typed, as understood, and what of it could not be."""

    texts: Mapping[str, str]
    filters: Filters = ALL
    page: int = 1
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def query(self) -> str:
        return urlencode({name: text for name, text in self.texts.items() if text})


def rolled_back(history: Iterable[Entry]) -> dict[int, str]:
    """Return the versions that were rolled back and not released since, each with the time. `history`: oldest first."""
    times: dict[int, str] = {}
    for entry in history:
        if entry.outcome != "done":
            continue
        released = {entry.after.stable, entry.after.candidate}
        if entry.what == "rollback" and entry.before:
            times |= dict.fromkeys(entry.before.labels.values(), entry.time)
        times = {version: time for version, time in times.items() if version not in released}
    return times


@blueprint.get("/history/<model>")
@requires(Role.VIEWER)
def page(model: str) -> AnyResponse:
    model_version = frame.form_version(model)
    search = _read_search(request.args)
    result = None if search.problems else History(services()).search(model, search.filters, search.page)
    text = render_template(
        "history.html",
        model_version=model_version,
        search=search,
        found=result,
        sources=SOURCES,
        label_options=_labels(model_version, model_version.classes),
        version_options=[(number, number) for number in reversed(services().catalog.versions(model))],
        is_kept=services().settings.log_predictions,
        rolled_back=rolled_back(Store(services().settings.serving, model).history()),
        retention_days=services().settings.log_retention_days,
    )
    return make_response(text, 400 if search.problems else 200)


@blueprint.get("/history/<model>/prediction")
@requires(Role.VIEWER)
def one(model: str) -> str:
    return _one_page(model, _asked_for(model, request.args))


@blueprint.post("/history/<model>/feedback")
@requires(Role.OPERATOR)
def feedback(model: str) -> AnyResponse:
    logged = _asked_for(model, request.form)
    try:
        History(services()).tell(logged, request.form.get("label", ""), identity().name)
    except VouchError as error:
        return page_with(_one_page(model, logged, error), error)
    flash("The true label is written down.", "pass")
    return redirect(url_for(".one", model=model, id=logged.request_id, row=logged.row, day=logged.time.date()), 303)


@blueprint.post("/history/<model>/forget")
@requires(Role.OPERATOR)
def forget(model: str) -> AnyResponse:
    gone = History(services()).forget(model, request.form.get("reference", ""), identity().name)
    flash(f"Deleted: {gone}.", "pass")
    return redirect(url_for(".page", model=model), 303)


@commands.command("forget")
@click.argument("model")
@click.option("--reference", prompt=True, help="The asker's name for the case. Default: ask, as others see arguments.")
def forget_here(model: str, reference: str) -> None:
    """Delete what is kept under one reference: predictions, true labels, uploads that mention it."""
    gone = History(services()).forget(model, reference, who_at_the_machine())
    click.echo(f"deleted: {gone}")


@blueprint.get("/history/<model>/export.csv")
@requires(Role.VIEWER)
def export_csv(model: str) -> Response:
    base, search = History(services()).base(model), _read_search(request.args)
    if search.problems:
        raise DataError("these filters mean nothing", got="; ".join(search.problems.values()))
    services().log.flush(timeout_s=2)
    headers = {"Content-Disposition": f'attachment; filename="{model}-predictions.csv"'}
    return Response(
        export(services().database, model, Reader(base, search.filters)), mimetype="text/csv", headers=headers
    )


def _one_page(model: str, logged: Logged, error: VouchError | None = None) -> str:
    model_version = _model_version(model, logged)
    return render_template(
        "history_one.html",
        model_version=model_version,
        logged=logged,
        error=error,
        sources=SOURCES,
        routes=ROUTES,
        label_options=_labels(model_version, logged.probabilities),
        may_tell=identity().role >= Role.OPERATOR,
    )


def _labels(model_version: ModelVersion, labels: Iterable[str]) -> list[tuple[object, object]]:
    return [(label, model_version.called(label)) for label in labels]


def _model_version(model: str, logged: Logged) -> ModelVersion:
    """Return the card of the version that predicted; if it is gone, of the stable one, for the names at least."""
    if logged.version in services().catalog.versions(model):
        return services().catalog.model_version(model, logged.version)
    return frame.form_version(model)


def _asked_for(model: str, query: Mapping[str, str]) -> Logged:
    """Return the prediction that an address names. Raises DataError, ModelNotFound, PredictionNotFound."""
    try:
        row = int(query.get("row", "0"))
        day = date.fromisoformat(query["day"]) if query.get("day") else None
    except ValueError as error:
        raise DataError("this address names no prediction", got=error) from None
    return History(services()).get(model, query.get("id", ""), row, day)


def _read_search(query: Mapping[str, str]) -> Search:
    """Return what is searched for. Times are of `zone`, without it UTC; `to` may be a minute, which is included."""
    texts = {name: query.get(name, "").strip()[:TEXT_LENGTH] for name in NAMES}
    problems: dict[str, str] = {}
    start = _moment(texts, "from", problems)
    end = _moment(texts, "to", problems, timedelta(minutes=1))
    version = texts["version"] if texts["version"].isdecimal() else ""
    if texts["version"] and not version:
        problems["version"] = "This is no version number."
    number = query.get("page", "1")
    page = min(max(int(number), 1), MOST_PAGES) if number.isdecimal() and len(number) < 9 else 1
    filters = Filters(
        who=texts["who"],
        label=texts["label"],
        text=texts["text"],
        version=int(version[:15]) if version else None,
        start=start,
        end=end,
    )
    return Search(texts, filters, page, problems)


def _moment(
    texts: Mapping[str, str], name: str, problems: dict[str, str], later: timedelta = timedelta(0)
) -> datetime | None:
    if not texts[name]:
        return None
    try:
        time = datetime.fromisoformat(texts[name])
        zone = ZoneInfo(texts["zone"]) if texts["zone"] else timezone.utc
        return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(timezone.utc) + later
    except (ValueError, OverflowError):
        problems[name] = "This is no time; one is 2026-11-21T14:30."
        return None
    except (OSError, LookupError):
        problems[name] = "This time zone is not known here; one is Asia/Jakarta."
        return None
