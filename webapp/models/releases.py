"""Which version answers a request, by what is released, and how an operator changes that from the web."""

from __future__ import annotations

import logging
import os
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from common.errors import DataError, VouchError
from serving.client.errors import ModelNotFound
from serving.release import commands as release
from serving.release.servers import ReleaseContext, release_clients
from serving.release.state import STATE, Record, State, Store
from serving.repository.layout import CANDIDATE, STABLE, models, versions
from webapp.services import Services

MODEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")  # config.settings.Settings.name; no path can be made of it
LOAD_TIMEOUT_S = 60.0
log = logging.getLogger(__name__)
Stamp = tuple[int, int, int]


class NothingReleased(VouchError):
    """The model is there, and no version of it is to be asked."""

    http_status = 503


@dataclass(frozen=True)
class Choice:
    """The version that is to answer, and why it: `stable` or `candidate`."""

    version: int
    route: str


class Router:
    """Divide requests as the releases say. What they say is read again only when its file changes."""

    def __init__(self, serving: Path, chance: Callable[[], float] = random.random) -> None:
        self._serving, self._chance = serving, chance
        self._known: dict[str, tuple[Stamp, Record]] = {}

    def choose(self, model: str, sticky_key: str = "") -> Choice:
        """Return who answers. The same key is answered by the same version while the release stays as it is.

        A key that goes to the candidate stays with it when its share grows. Raises ModelNotFound, NothingReleased.
        """
        released = self.record(model).routed
        if released.candidate is None or not released.weight_percent:
            return Choice(released.stable, STABLE)
        place = _place(f"{model}/{released.stable}/{released.candidate}/{sticky_key}") if sticky_key else self._chance()
        is_candidate = place * 100 < released.weight_percent
        return Choice(released.candidate, CANDIDATE) if is_candidate else Choice(released.stable, STABLE)

    def fallback(self, model: str) -> Choice:
        """Return who answers when the one chosen is gone: the version that the release under way makes stable.

        Raises as `choose`.
        """
        return Choice(self.record(model).wanted.stable, STABLE)

    def record(self, model: str) -> Record:
        """Return what is released. Raises as `choose`."""
        try:
            stamp = self._stamp(model)
        except OSError:
            raise self._nothing(model) from None
        known = self._known.get(model)
        if known and known[0] == stamp:
            return known[1]
        try:
            record = Store(self._serving, model).read()
        except DataError as error:
            if not known:
                raise NothingReleased(error.what, got=error.got, fix=error.fix) from None
            log.exception("the release state of %s is not readable; going on with what it was", model)
            record = known[1]
        if record is None:
            raise self._nothing(model)
        self._known[model] = (stamp, record)  # a file replaced since has another stamp, and is read next time
        return record

    def _stamp(self, model: str) -> Stamp:
        if not MODEL_NAME.fullmatch(model):
            raise FileNotFoundError
        status = os.stat(f"{self._serving}/{model}/{STATE}")  # a Path would take longer to make than to ask
        return status.st_mtime_ns, status.st_ino, status.st_size

    def _nothing(self, model: str) -> VouchError:
        if MODEL_NAME.fullmatch(model) and versions(self._serving / model):
            fix = f"promote one on the models page, or: python -m serving promote {model}"
            return NothingReleased(f"{model} has versions, and none is released yet", fix=fix)
        pushed = ", ".join(models(self._serving)) or "none has been pushed yet"
        return ModelNotFound("there is no such model", got=repr(model[:80]), wanted=f"one of: {pushed}")


def _place(text: str) -> float:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") / 2**64


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
