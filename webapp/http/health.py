"""For those who watch: alive, ready, which version, metrics. None of them tells a secret."""

from __future__ import annotations

import hmac
import ipaddress
import subprocess
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST

from common.errors import VouchError
from serving.release.checks import replay_golden
from webapp.auth import identity, public
from webapp.services import Services, services
from webapp.types import Forbidden, Role

blueprint = Blueprint("health", __name__)
KEPT_S = 1.0  # an answer about readiness is as good for so long


def _reasons(app_services: Services) -> dict[str, str]:
    """Return for each model why it cannot be asked, the empty text if it can."""
    try:
        return {model: _why_not(app_services, model) for model in app_services.catalog.models()}
    except VouchError as error:
        return {"models": error.what}


def _why_not(app_services: Services, model: str) -> str:
    """Ask for the status, and for golden rows: a server may be up and answer nonsense."""
    try:
        version = app_services.router.choose(model).version
        states = {status.version: status.state for status in app_services.client.status(model)}
        if states.get(version) != "AVAILABLE":
            return f"version {version} is {states.get(version, 'unknown to the model server')}"
        replay_golden(app_services.client, app_services.settings.serving / model, version)
    except VouchError as error:
        return error.what
    return ""


@blueprint.get("/livez")
@public
def livez() -> dict[str, str]:
    return {"status": "alive"}


@blueprint.get("/readyz")
@public
def readyz() -> ResponseReturnValue:
    """Say whether predictions can be made: by any model, or by the one of `?model=`."""
    app_services = services()
    reasons = app_services.kept.get("readiness", lambda _: _reasons(app_services), KEPT_S)
    if model := request.args.get("model"):
        reasons = {model: reasons.get(model, "there is no such model")}
    problems = [f"{name}: {why}" for name, why in reasons.items() if why]
    if any(not why for why in reasons.values()):  # one broken model takes no other away
        return {"status": "ready", **({"reasons": problems} if problems else {})}
    return {"status": "not ready", "reasons": problems or ["no model was pushed yet"]}, 503, {"Retry-After": "2"}


@blueprint.get("/version")
@public
def version() -> dict[str, Any]:
    """Say which code and which models answer here; to whom the metrics are told, too."""
    _check_may_watch()
    app_services, models = services(), {}
    for model in app_services.catalog.models():
        with suppress(VouchError):
            chosen = app_services.router.choose(model).version
            manifest = app_services.catalog.model_version(model, chosen).manifest
            models[model] = {
                "version": chosen,
                "run": manifest.run_id,
                "settings": manifest.settings_hash,
                "data": manifest.data_digest,
                "digest": manifest.digest,
            }
    return {"code": code_version(), "models": models}


@blueprint.get("/metrics")
@public
def metrics() -> Response:
    """Give Prometheus the counters: in the networks that may have them, and elsewhere to users only."""
    _check_may_watch()
    router, loaded = services().router, {}
    for model in services().catalog.models():
        with suppress(VouchError):
            loaded[model] = router.record(model).state.loaded
    return Response(services().metrics.text(loaded), content_type=CONTENT_TYPE_LATEST)


def _check_may_watch() -> None:
    if (
        not services().settings.auth
        or _is_near(request.remote_addr)
        or _has_token(request.headers.get("Authorization"))
    ):
        return
    if identity().role < Role.VIEWER:
        raise Forbidden(
            "this is not for everybody", fix="log in, or name the network or a token: VOUCH_METRICS_NETWORKS, …_TOKEN"
        )


def _has_token(header: str | None) -> bool:
    token = services().settings.metrics_token.get_secret_value()
    return bool(token) and hmac.compare_digest((header or "").encode(), f"Bearer {token}".encode())


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return the commit of the code, or `unknown` outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    with suppress(OSError, subprocess.SubprocessError):
        described = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True, timeout=5, check=True
        )
        return described.stdout.strip()
    return "unknown"


def _is_near(address: str | None) -> bool:
    with suppress(ValueError):
        client = ipaddress.ip_address(address or "")
        return any(client in ipaddress.ip_network(network) for network in services().settings.metrics_networks)
    return False
