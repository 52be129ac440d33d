"""The OpenAPI document and the page to browse it, all from here: no network is needed to read it."""

from __future__ import annotations

from pathlib import Path

import flask_swagger_ui
from flask import Response, abort, current_app, render_template, request, send_file

from webapp.api.openapi import openapi
from webapp.api.routes import answer, blueprint
from webapp.auth import public, requires
from webapp.services import services
from webapp.types import Role

MAX_AGE_S = 3600
_OWN = Path(__file__).resolve().parent / "static"
_FILES = {
    name: folder / name
    for folder, names in {
        Path(flask_swagger_ui.__file__).parent / "dist": ("swagger-ui-bundle.js", "swagger-ui.css"),
        _OWN: ("docs.js", "docs.css"),
    }.items()
    for name in names
}


@blueprint.get("/openapi.json")
@requires(Role.VIEWER)
def openapi_json() -> Response:
    servers = [{"url": request.script_root}] if request.script_root else []
    return answer(openapi(current_app, services()) | ({"servers": servers} if servers else {}))


@blueprint.get("/docs")
@requires(Role.VIEWER)
def docs() -> str:
    """Show the document; without JavaScript, a list of what there is."""
    document = openapi(current_app, services())
    return render_template("api_docs.html", document=document)


@blueprint.get("/docs/static/<name>")
@public
def docs_static(name: str) -> Response:
    if name not in _FILES:
        abort(404)
    return send_file(_FILES[name], max_age=MAX_AGE_S)
