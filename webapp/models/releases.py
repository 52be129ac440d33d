"""What an operator changes from the web: by serving/release/commands.py, with both sides of it in the audit log."""

from __future__ import annotations

import logging
from collections.abc import Callable

from common.errors import VouchError
from serving.release import commands as release
from serving.release.servers import ReleaseContext, release_clients
from serving.release.state import State
from webapp.services import Services

LOAD_TIMEOUT_S = 60.0
log = logging.getLogger(__name__)


def promote(services: Services, model: str, who: str, version: int | None = None) -> State:
    """Make a version stable: the one named, else the candidate, else the newest. Raises as the release's promote.

    Here as below also ModelNotFound, and EnvironmentProblem if it cannot be put on record, before anything is done.
    """
    which = f"version {version}" if version else "the candidate, or the newest"
    return _released(services, model, who, f"promote {which}", lambda context: release.promote(context, model, version))


def rollback(services: Services, model: str, who: str) -> State:
    """End the canary if there is one, else make the previous version stable. Raises as the release's rollback."""
    return _released(services, model, who, "roll back", lambda context: release.rollback(context, model))


def canary(services: Services, model: str, who: str, weight_percent: float, version: int | None = None) -> State:
    """Give a share of the requests to a version; 0 ends it. Raises as the release's canary."""
    what = f"give {weight_percent:g}% to {f'version {version}' if version else 'the candidate, or the newest'}"
    return _released(
        services, model, who, what, lambda context: release.canary(context, model, weight_percent, version)
    )


def _released(services: Services, model: str, who: str, what: str, act: Callable[[ReleaseContext], State]) -> State:
    services.catalog.versions(model)
    services.accounts.audit.append(who, "release", f"{model}: {what}")
    try:
        with release_clients(services.settings.model_server_grpc) as clients:
            state = act(ReleaseContext(services.settings.serving, clients, who, load_timeout_s=LOAD_TIMEOUT_S))
    except VouchError as error:
        _on_record(services, who, "release refused", f"{model}: {what}: {error.what}")
        raise
    _on_record(services, who, "release done", f"{model}: {state}")
    return state


def _on_record(services: Services, who: str, action: str, detail: str) -> None:
    """Say how it ended. It is done, or not; a full disk now changes nothing about that."""
    try:
        services.accounts.audit.append(who, action, detail)
    except VouchError as error:
        log.error("%s by %s is not in the audit log (%s): %s", action, who, error.what, detail)
