"""The models and their versions, what the gates said of them, and which of them answer; operators change that here."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from common.errors import DataError, GateRefused, VouchError
from common.paths import Paths
from common.records.retrain import Retraining
from common.text import counted
from serving.client.errors import ModelNotFound
from serving.release.state import Entry, State, Store
from serving.repository.manifest import METRIC_TITLES, Manifest
from webapp.auth import identity, reauthenticated, requires
from webapp.http.errors import page_with
from webapp.insight.drift import Light, light_of
from webapp.models import releases
from webapp.models.catalog import ModelVersion
from webapp.services import Services, services
from webapp.types import Role

blueprint = Blueprint("models", __name__)
LIGHT_S = 10.0  # a model's drift light is as good for so long
SHOWN = 5  # of the newest versions; older ones when asked for
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
GATES = {"data": "Data", "evaluation": "Evaluation", "serving": "Serving"}


def reports(var: Path, model: str) -> dict[str, Path]:
    """Return a model's reports, as pages, by the id of the run that wrote them."""
    pages = {}
    for facts in Paths(var, model).run_reports.glob("*/report.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            page = facts.with_name("report.html")
            if page.is_file():
                pages[str(json.loads(facts.read_text(encoding="utf-8"))["run_id"])] = page
    return pages


@dataclass(frozen=True)
class Metric:
    """A metric on the test split with its confidence bounds, None where there are none."""

    name: str
    value: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class VersionView:
    """One version. `loading`: the model server's word for its state, empty if it has none, None if not known."""

    number: int
    labels: tuple[str, ...]
    weight_percent: float
    loading: str | None
    has_report: bool
    manifest: Manifest | None = None
    problem: str = ""  # why there is no manifest

    @property
    def created(self) -> datetime | None:
        with suppress(ValueError):
            return datetime.fromisoformat(self.manifest.created) if self.manifest else None
        return None

    @property
    def metrics(self) -> list[Metric]:
        return _metrics(self.manifest) if self.manifest else []

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        sentences = self.manifest.sentences if self.manifest else {}
        return [(str(GATES.get(gate, gate)), sentence) for gate, sentence in sentences.items()]

    @property
    def remarks(self) -> list[tuple[str, str]]:
        """What test saw at the decision threshold, and of probabilities or intervals."""
        if self.manifest is None:
            return []
        title = "Calibrated" if self.manifest.is_calibrated else "Probabilities"
        kinds = {"Decisions": ("OPERATING_POINT",), title: ("CALIBRATED", "NOT_SHOWN_CALIBRATED")}
        kinds["Intervals"] = ("INTERVALS_HOLD", "INTERVALS_OFF")
        return [(name, sentence) for name, found in kinds.items() for sentence in self.manifest.told(*found)]


@dataclass(frozen=True)
class ModelView:
    """One model. `state` is None before the first release; `trouble` is why its versions' state is not known."""

    name: str
    title: str
    description: str
    state: State | None
    versions: tuple[VersionView, ...]  # newest first
    older: int  # versions that are not among these
    history: tuple[Entry, ...]  # newest first
    trouble: str = ""

    @property
    def sentence(self) -> str:
        return str(self.state or "nothing is released yet")


@dataclass(frozen=True)
class ListedModel:
    """One of all models. `known`: of the version that answers most requests, else of the newest; None if not readable.

    `state` is None, and `trouble` says why, where nothing answers.
    """

    name: str
    count: int  # of versions
    state: State | None
    trouble: str
    known: ModelVersion | None
    drift: Light

    @property
    def task(self) -> str:
        """What it tells, and by how much."""
        if self.known is None:
            return ""
        known, count = self.known, len(self.known.classes)
        told = " or ".join(map(known.called, known.classes)) if count < 4 else f"{count} classes"
        return f"{told or f'{known.label}, a number'}, by {counted(len(known.fields), 'value')}"

    @property
    def quality(self) -> Metric | None:
        """What the version that answers most requests was measured at first."""
        return next(iter(_metrics(self.known.manifest)), None) if self.known and self.state else None


def model_view(services: Services, name: str, *, with_older: bool = False) -> ModelView:
    """Return a model with its newest versions and those that hold a label: reading all takes longer with each push."""
    numbers = services.catalog.versions(name)
    state, trouble = _state(services, name)
    shown = [n for n in reversed(numbers) if with_older or n in numbers[-SHOWN:] or (state and state.roles(n))]
    loading, unreached = _loading(services, name)
    written = reports(services.settings.var, name)
    versions = tuple(_version(services, name, number, state, loading, written) for number in shown)
    card = _card(services, name, state.stable if state else numbers[-1])
    title, description = (card.title, card.description) if card else (name, "")
    history = tuple(reversed(Store(services.settings.serving, name).history()))
    return ModelView(
        name, title, description, state, versions, len(numbers) - len(shown), history, trouble or unreached
    )


def listed(services: Services, name: str) -> ListedModel:
    """Return a model as the list has it, without asking the model server."""
    numbers, state, trouble = services.catalog.versions(name), None, ""
    try:
        state = services.router.record(name).state
    except VouchError as error:
        trouble = error.what
    drift = services.kept.get(
        ("light", name), lambda _: light_of(services.settings.var, name, datetime.now(timezone.utc)), LIGHT_S
    )
    known = _card(services, name, state.stable if state else numbers[-1])
    return ListedModel(name, len(numbers), state, trouble, known, drift)


def _state(services: Services, name: str) -> tuple[State | None, str]:
    try:
        record = Store(services.settings.serving, name).read()
    except DataError as error:
        return None, error.what
    return (record.state if record else None), ""


def _loading(services: Services, name: str) -> tuple[dict[int, str] | None, str]:
    """Return the model server's word for each version's state, or why it is not known."""
    try:
        return {status.version: status.state for status in services.client.status(name)}, ""
    except ModelNotFound:
        return {}, ""
    except VouchError as error:
        return None, error.what


def _card(services: Services, name: str, version: int) -> ModelVersion | None:
    with suppress(ModelNotFound, DataError):
        return services.catalog.model_version(name, version)
    return None


def _version(
    services: Services, name: str, number: int, state: State | None, loading: dict[int, str] | None, written: Any
) -> VersionView:
    labels = tuple(state.roles(number) if state else ())
    weight = state.weight_percent if state and state.candidate == number else 0.0
    word = None if loading is None else loading.get(number, "")
    try:
        manifest = Manifest.read(services.settings.serving / name / str(number))
    except DataError as error:
        return VersionView(number, labels, weight, word, has_report=False, problem=error.what)
    return VersionView(number, labels, weight, word, manifest.run_id in written, manifest)


def _metrics(manifest: Manifest) -> list[Metric]:
    return [Metric(METRIC_TITLES.get(name, name), *bounded) for name, bounded in manifest.bounded_metrics.items()]


def _retraining(var: Path, model: str) -> tuple[Retraining, str]:
    """Return how a model was retrained, or why that is not known."""
    try:
        return Retraining.read(var, model), ""
    except DataError as error:
        return Retraining(model), error.what


@blueprint.get("/models")
@requires(Role.VIEWER)
def page() -> str:
    names = services().catalog.models()
    _, unreached = _loading(services(), names[0]) if names else ({}, "")  # away for one, away for all
    return render_template("models.html", models=[listed(services(), name) for name in names], unreached=unreached)


@blueprint.get("/models/<model>")
@requires(Role.VIEWER)
def one(model: str) -> str:
    """Show a model: its versions, how it was retrained, and the changes of its release; all of it newest first."""
    retraining, trouble = _retraining(services().settings.var, model)
    return render_template(
        "models_one.html",
        model=model_view(services(), model, with_older="older" in request.args),
        retraining=retraining,
        trouble=trouble,
        may_change=identity().role >= Role.OPERATOR,
    )


@blueprint.get("/models/<model>/versions/<int:version>/report")
@requires(Role.VIEWER)
def report(model: str, version: int) -> Response:
    """Show the report of the run that made a version, as it was written: its own styles, and no script at all."""
    if version not in services().catalog.versions(model):
        abort(404, "there is no such version")
    manifest = Manifest.read(services().settings.serving / model / str(version))
    path = reports(services().settings.var, model).get(manifest.run_id)
    if path is None:
        abort(404, "the report of this run is not on this machine")
    response = make_response(path.read_bytes())
    response.headers["Content-Security-Policy"] = REPORT_POLICY
    return response


@blueprint.get("/models/<model>/release")
@requires(Role.OPERATOR)
def confirm(model: str) -> AnyResponse:
    step = releases.read_step(request.args.get("what", ""), request.args, model_view(services(), model).state)
    return make_response(_confirm_page(model, step))


@blueprint.post("/models/<model>/promote", defaults={"what": "promote"})
@blueprint.post("/models/<model>/canary", defaults={"what": "canary"})
@blueprint.post("/models/<model>/rollback", defaults={"what": "rollback"})
@requires(Role.OPERATOR)
def change(model: str, what: str) -> AnyResponse:
    """Do what was confirmed, unless the password is wrong or the release is another than the page showed."""
    step = releases.read_step(what, request.form, model_view(services(), model).state)
    if not reauthenticated(request.form.get("password", "")):
        return make_response(_confirm_page(model, step, wrong_password=True), 403)
    try:
        if request.form.get("seen") != releases.seen(step.before):
            raise GateRefused(
                "somebody else changed the release meanwhile",
                got=str(step.before or ""),
                fix="look at it again, then decide",
            )
        state = releases.carry_out(services(), model, identity().name, step)
    except VouchError as error:
        return page_with(_confirm_page(model, step, error), error)
    flash(f"Done: {state}.", "pass")
    return redirect(url_for(".one", model=model), 303)


def _confirm_page(
    model: str, step: releases.Step, error: VouchError | None = None, *, wrong_password: bool = False
) -> str:
    return render_template(
        "models_confirm.html",
        model=model_view(services(), model),
        step=step,
        error=error,
        wrong_password=wrong_password,
        seen=releases.seen(step.before),
        asks_password=services().settings.auth,
    )
