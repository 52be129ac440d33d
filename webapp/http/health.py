"""For those who watch: alive, ready, which version, metrics. None of them tells a secret."""

from __future__ import annotations

import ipaddress
import subprocess
import threading
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Response, request
from prometheus_client import CONTENT_TYPE_LATEST

from common.errors import VouchError
from serving.release.checks import replay_golden
from webapp.auth import identity, public
from webapp.auth.errors import Forbidden
from webapp.services import Services, services
from webapp.types import Role

blueprint = Blueprint("health", __name__)
KEPT_S = 1.0  # an answer about readiness is as good for so long


class Readiness:
    """Whether predictions can be made, found out at most once a second however many ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reasons: list[str] = []
        self._looked_at = float("-inf")

    def reasons(self, found: Services) -> list[str]:
        """Return why predictions cannot be made; none if they can."""
        with self._lock:
            if time.monotonic() - self._looked_at > KEPT_S:
                self._reasons = _reasons(found)
                self._looked_at = time.monotonic()
            return self._reasons


def _reasons(found: Services) -> list[str]:
    """Ask for the status of every model, and for a golden row: a server may be up and answer nonsense."""
    try:
        models = found.catalog.models()
    except VouchError as error:
        return [error.what]
    if not models:
        return ["no model was pushed yet"]
    reasons = []
    for model in models:
        try:
            if why := _why_not(found, model):
                reasons.append(f"{model}: {why}")
        except VouchError as error:
            reasons.append(f"{model}: {error.what}")
    return reasons


def _why_not(found: Services, model: str) -> str:
    version = found.router.choose(model).version
    states = {status.version: status.state for status in found.client.status(model)}
    if states.get(version) != "AVAILABLE":
        return f"version {version} is {states.get(version, 'unknown to the model server')}"
    replay_golden(found.client, found.settings.serving / model, version)
    return ""


@blueprint.get("/livez")
@public
def livez() -> Response:
    """Say that this process answers, whatever the state of all others."""
    return _json({"status": "alive"})


def make_readyz(readiness: Readiness) -> Any:
    """Return the view that says whether predictions can be made."""

    @public
    def readyz() -> Response:
        reasons = readiness.reasons(services())
        answer = _json(
            {"status": "ready"} if not reasons else {"status": "not ready", "reasons": reasons},
            200 if not reasons else 503,
        )
        if reasons:
            answer.headers["Retry-After"] = "2"
        return answer

    return readyz


@blueprint.get("/version")
@public
def version() -> Response:
    """Say which code and which models answer here; to whom the metrics are told, too."""
    _check_may_watch()
    found, models = services(), {}
    for model in found.catalog.models():
        with suppress(VouchError):
            chosen = found.router.choose(model).version
            manifest = found.catalog.model_version(model, chosen).manifest
            models[model] = {
                "version": chosen,
                "run": manifest.run_id,
                "settings": manifest.settings_hash,
                "data": manifest.data_digest,
                "digest": manifest.digest,
            }
    return _json({"code": code_version(), "models": models})


@blueprint.get("/metrics")
@public
def metrics() -> Response:
    """Give Prometheus the counters: in the networks that may have them, and elsewhere to users only."""
    _check_may_watch()
    return Response(services().metrics.text(), content_type=CONTENT_TYPE_LATEST)


def _check_may_watch() -> None:
    if services().settings.auth and not _is_near(request.remote_addr) and identity().role < Role.VIEWER:
        raise Forbidden("this is not for everybody", fix="log in, or name the network: VOUCH_METRICS_NETWORKS")


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return the commit of the code, or `unknown` outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    with suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True, timeout=5, check=True
        )
        return asked.stdout.strip()
    return "unknown"


def _is_near(address: str | None) -> bool:
    with suppress(ValueError):
        found = ipaddress.ip_address(address or "")
        return any(found in ipaddress.ip_network(network) for network in services().settings.metrics_networks)
    return False


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, content_type="application/json")
