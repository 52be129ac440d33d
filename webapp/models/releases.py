"""Which version answers a request, by what is released, and how an operator changes that from the web."""

from __future__ import annotations

import logging
import os
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from common.errors import DataError, VouchError
from common.text import with_point
from serving.client.errors import ModelNotFound
from serving.release import commands as release
from serving.release.servers import ReleaseContext, release_clients
from serving.release.state import STATE, Record, State, Store
from serving.repository.layout import CANDIDATE, STABLE, models, versions
from webapp.services import Services

MODEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")  # config.settings.Settings.name; no path can be made of it
LOAD_TIMEOUT_S = 60.0
WHATS = ("promote", "canary", "rollback")
CHECKED = "The version is loaded and must give its golden answers first; until then nothing changes."
KEPT_LOADED = "The version that is stable now stays loaded, so that you can roll back at once."
UNLOADED = "The version that is left is unloaded; it stays on the disk and can be promoted again."
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


@dataclass(frozen=True)
class Step:
    """What is asked for, and what it would do. `before` is None as long as nothing is released."""

    what: str  # one of WHATS
    before: State | None
    title: str
    after: tuple[str, str]  # what would answer, and what would be on trial
    consequences: tuple[str, ...]
    version: int | None = None
    weight_percent: float = 0.0

    @property
    def changes(self) -> list[tuple[str, str, str]]:
        names = ("Answers most requests (stable)", "On trial (candidate)")
        rows = zip(names, _held(self.before), self.after, strict=True)
        return [(name, before, after) for name, before, after in rows if before != after]


def read_step(what: str, form: Mapping[str, str], before: State | None) -> Step:
    if what not in WHATS:
        raise DataError("there is no such change", got=repr(what[:40]), wanted=", ".join(WHATS))
    stable, trial = _held(before)
    if what == "rollback":
        if before is None or not (before.candidate or before.previous):
            raise DataError("there is nothing to go back to", got=before)
        after = (stable, _trial(None, 0)) if before.candidate else (_numbered(before.previous), trial)
        return Step(what, before, "Roll back", after, (UNLOADED,))
    weight = _number(form.get("weight", "0"), "share of the requests", 0, 100) if what == "canary" else 0.0
    if what == "canary" and not weight:
        return Step(what, before, "End the canary", (stable, _trial(None, 0)), (UNLOADED,))
    version = int(_number(form.get("version", ""), "version", 1, 10**15, whole=True))
    if what == "canary":
        after, title = (stable, _trial(version, weight)), f"Try version {version} as a canary"
        return Step(what, before, title, after, (CHECKED, "Predictions say which version made them."), version, weight)
    after, title = (_numbered(version), _trial(None, 0)), f"Make version {version} stable"
    return Step(what, before, title, after, (CHECKED, KEPT_LOADED), version)


def _held(state: State | None) -> tuple[str, str]:
    if state is None:
        return _numbered(None), _trial(None, 0)
    return _numbered(state.stable), _trial(state.candidate, state.weight_percent)


def seen(state: State | None) -> str:
    """Return what stands for a state in a form, to tell whether it is still the same when the form comes back."""
    return f"{state.stable}.{state.previous}.{state.candidate}.{state.weight_percent:g}" if state else "none"


def carry_out(services: Services, model: str, who: str, step: Step) -> State:
    """Do what was asked for. Raises as `promote`, `canary` and `rollback`."""
    if step.what == "promote":
        return promote(services, model, who, step.version)
    if step.what == "canary":
        return canary(services, model, who, step.weight_percent, step.version)
    return rollback(services, model, who)


def _number(text: str, name: str, least: float, most: float, *, whole: bool = False) -> float:
    try:
        value = int(text) if whole else float(with_point(text))
    except ValueError:
        value = -1
    if not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise DataError(f"this is no {name}", got=repr(text[:40]), wanted=f"{kind} from {least} to {most}")
    return value


def _numbered(number: int | None) -> str:
    return f"version {number}" if number else "none"


def _trial(number: int | None, weight_percent: float) -> str:
    if not number:
        return "none"
    return f"version {number}, {weight_percent:g}% of the requests"
