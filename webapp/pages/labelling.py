"""Pictures to be labelled, one at a time, by a key each; and the pictures themselves."""

from __future__ import annotations

from itertools import zip_longest
from string import ascii_lowercase
from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, request, send_file, url_for
from werkzeug.wrappers import Response as AnyResponse

from webapp.auth import identity, requires
from webapp.images.labelling import Labelling
from webapp.images.predicting import keeps
from webapp.models.catalog import ModelVersion
from webapp.pages import frame
from webapp.services import services
from webapp.types import Role

blueprint = Blueprint("labelling", __name__)
SKIP, BAD, UNDO = "s", "x", "u"  # their keys
KEYS = [key for key in "123456789" + ascii_lowercase if key not in (SKIP, BAD, UNDO)]
DISPUTED = "disputed"
KINDS = {".png": "image/png", ".jpg": "image/jpeg"}


@blueprint.get("/label/<model>")
@requires(Role.OPERATOR)
def page(model: str) -> str:
    model_version, labelling = _labelling(model)
    wants_disputed, sha256 = request.args.get("show") == DISPUTED, request.args.get("image", "")
    after = request.args.get("after", "")
    task = labelling.one(sha256) if sha256 else labelling.next(after, is_disputed=wants_disputed)
    return render_template(
        "label.html",
        model_version=model_version,
        task=task,
        choices=[*zip_longest(model_version.classes, KEYS[: len(model_version.classes)])],  # beyond the keys without
        keys={"skip": SKIP, "bad": BAD, "undo": UNDO},
        wants_disputed=wants_disputed,
        collects=keeps(services()),
    )


@blueprint.post("/label/<model>")
@requires(Role.OPERATOR)
def tell(model: str) -> AnyResponse:
    model_version, labelling = _labelling(model)
    sha256, is_bad = request.form.get("sha256", ""), "bad" in request.form
    label = None if is_bad else request.form.get("label", "")
    agreement = labelling.tell(sha256, label, model_version.classes, identity().name)
    if agreement and agreement.is_disputed:
        flash("Somebody else says something else of this picture: it is set aside until you agree.", "warn")
    return _on(model, after=sha256)


@blueprint.post("/label/<model>/undo")
@requires(Role.OPERATOR)
def undo(model: str) -> AnyResponse:
    _, labelling = _labelling(model)
    sha256 = labelling.take_back(identity().name)
    if sha256 is None:
        flash("There is nothing of yours to take back.", "warn")
        return _on(model)
    return redirect(url_for(".page", model=model, image=sha256), 303)


@blueprint.get("/collected/<model>/<sha256>")
@requires(Role.VIEWER)
def image(model: str, sha256: str) -> Response:
    """Send a picture that was kept: pixels that were written anew, whatever was uploaded."""
    services().catalog.versions(model)
    path = Labelling(services(), model).find(sha256).path
    return send_file(path, KINDS[path.suffix])


def _labelling(model: str) -> tuple[ModelVersion, Labelling]:
    model_version = frame.form_version(model)
    model_version.require_images()
    return model_version, Labelling(services(), model)


def _on(model: str, **query: Any) -> AnyResponse:
    if request.form.get("show") == DISPUTED:
        query["show"] = DISPUTED
    return redirect(url_for(".page", model=model, **query), 303)
