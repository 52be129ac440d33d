"""The models and their versions, what the gates said of them, and which of them answer; operators change that here."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, abort, flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from common.errors import GateRefused, VouchError
from serving.release.state import State
from serving.repository.manifest import Manifest
from webapp.auth import identity, reauthenticated, requires
from webapp.http.errors import page_with
from webapp.models import releases
from webapp.pages.model_views import Step, change_told, model_view, read_step, reports, seen, sentence
from webapp.services import services
from webapp.types import Role

blueprint = Blueprint("models", __name__)
SHOWN = 5  # of the newest versions; older ones are folded up
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
blueprint.add_app_template_filter(sentence, "state")
blueprint.add_app_template_filter(change_told, "change")


@blueprint.get("/models")
@requires(Role.VIEWER)
def page() -> str:
    return render_template("models.html", models=[model_view(services(), name) for name in services().catalog.models()])


@blueprint.get("/models/<model>")
@requires(Role.VIEWER)
def one(model: str) -> str:
    """Show a model: its versions, the newest first, and the changes of its release, the last first."""
    view = model_view(services(), model)
    is_shown = [bool(version.labels) or place < SHOWN for place, version in enumerate(view.versions)]
    return render_template(
        "models_one.html",
        model=view,
        may_change=identity().role >= Role.OPERATOR,
        shown=[version for version, yes in zip(view.versions, is_shown, strict=True) if yes],
        older=[version for version, yes in zip(view.versions, is_shown, strict=True) if not yes],
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
    step = _read(model, request.args.get("what", ""), request.args)
    return make_response(_confirm_page(model, step))


@blueprint.post("/models/<model>/promote")
@requires(Role.OPERATOR)
def promote(model: str) -> AnyResponse:
    return _changed(model, "promote")


@blueprint.post("/models/<model>/canary")
@requires(Role.OPERATOR)
def canary(model: str) -> AnyResponse:
    return _changed(model, "canary")


@blueprint.post("/models/<model>/rollback")
@requires(Role.OPERATOR)
def rollback(model: str) -> AnyResponse:
    return _changed(model, "rollback")


def _read(model: str, what: str, form: Mapping[str, str]) -> Step:
    services().catalog.versions(model)
    return read_step(what, form, model_view(services(), model).state)


def _changed(model: str, what: str) -> AnyResponse:
    """Do what was confirmed, unless the password is wrong or the release is another than the page showed."""
    step = _read(model, what, request.form)
    if not reauthenticated(request.form.get("password", "")):
        return make_response(_confirm_page(model, step, wrong_password=True), 403)
    try:
        if request.form.get("seen") != seen(step.before):
            raise GateRefused(
                "somebody else changed the release meanwhile",
                got=str(step.before or ""),
                fix="look at it again, then decide",
            )
        state = _released(model, step)
    except VouchError as error:
        return page_with(_confirm_page(model, step, error), error)
    flash(f"Done: {sentence(state)}.", "pass")
    return redirect(url_for(".one", model=model), 303)


def _released(model: str, step: Step) -> State:
    who = identity().name
    if step.what == "promote":
        return releases.promote(services(), model, who, step.version)
    if step.what == "canary":
        return releases.canary(services(), model, who, step.weight_percent, step.version)
    return releases.rollback(services(), model, who)


def _confirm_page(model: str, step: Step, error: VouchError | None = None, *, wrong_password: bool = False) -> str:
    return render_template(
        "models_confirm.html",
        model=model_view(services(), model),
        step=step,
        error=error,
        wrong_password=wrong_password,
        seen=seen(step.before),
        asks_password=services().settings.auth,
    )
