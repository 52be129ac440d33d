"""A retraining, step by step; each is written down before the next is begun.

    accepted    the labelled rows are collected as a span
    collected   the pipeline runs on them
    pushed      the new version becomes the candidate, with a share of the requests
    trial       it is watched for a while
    decided     it is promoted, or rolled back; a span of which no version came is withdrawn
    ended       in the history

A process that dies in between leaves the last step that was completed. Whoever comes next looks first whether what was
to be done has been done, so that nothing is done twice: a span or a version that is there is not made again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from common.errors import ConfigError, DataError, GateRefused
from common.records.retrain import Attempt, Outcome, Request, Retraining, Verdict, change
from common.text import counted
from config.settings import RetrainSettings
from monitoring.controller.rules import refusal, scheduled
from monitoring.controller.trial import Look
from serving.release.state import State

MOST_TRIAL = 7  # times canary_hours, when the new version is asked little
LOOKS = 12  # in canary_hours; each may err, so they are few


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, and what there is to say if it is not 0. `None`: it took too long."""

    code: int | None
    sentence: str = ""


class Actions(Protocol):
    """What a retraining does to the world. Each deed may be asked for again after a crash."""

    def collectable(self) -> int:
        """Return how many labelled rows would be added now. Raises VouchError."""

    def is_running(self) -> bool:
        """Return whether a run of the pipeline is going on, whoever started it."""

    def newest_span(self) -> int: ...

    def rows_of(self, span: int) -> int:
        """Return how many rows were added with a span."""

    def collect(self) -> Ended: ...

    def newest_version(self) -> int:
        """Return 0 if there is none."""

    def run(self) -> Ended: ...

    def withdraw(self, span: int) -> None: ...

    def released(self) -> State | None: ...

    def canary(self, version: int) -> None: ...

    def promote(self, version: int) -> None: ...

    def rollback(self) -> None: ...

    def look(self, attempt: Attempt) -> Look: ...

    def clear_up(self) -> None:
        """Remove old runs, versions and spans; never fails."""


@dataclass(frozen=True)
class Machine:
    """The retraining of one model. One process at a time may call `step`."""

    var: Path
    model: str
    rules: RetrainSettings
    actions: Actions
    now: Callable[[], datetime]

    def request(self, cause: str, who: str) -> bool:
        """Ask for a retraining; return whether nobody had asked before. What comes of it is decided by `step`."""
        request, is_new = Request(cause, who, self.now()), False

        def add(known: Retraining) -> Retraining:
            nonlocal is_new
            is_new = known.requested is None
            return replace(known, requested=known.requested or request)

        change(self.var, self.model, add)
        return is_new

    def step(self) -> bool:
        """Do what is next; return whether anything was done that a further step may follow.

        Raises EnvironmentProblem and ModelServerDown where this machine or the server is in the way now: then the same
        step is next.
        """
        known = Retraining.read(self.var, self.model)
        if (active := known.active) and known.requested:
            self._refuse(known.requested, f"the retraining that began at {active.began:%Y-%m-%d %H:%M} is under way")
            return True
        if active:
            steps = {
                "accepted": self._collect,
                "collected": self._run,
                "pushed": self._release,
                "trial": self._watch,
                "decided": self._end,
            }
            return steps[active.stage](active)
        if known.requested:
            self._judge(known, known.requested)
            return True
        if scheduled(known, self.rules, self.now()):
            self.request("schedule", "controller")
            return True
        return False

    def _judge(self, known: Retraining, request: Request) -> None:
        """Begin what was asked for, or say why not."""
        reason = refusal(known, self.rules, self.actions, self.now())
        if reason:
            self._refuse(request, reason)
            return
        attempt = replace(
            self._new(request), span_before=self.actions.newest_span(), version_before=self.actions.newest_version()
        )
        change(self.var, self.model, lambda known: replace(known, requested=None).with_attempt(attempt))

    def _new(self, request: Request) -> Attempt:
        now = self.now()
        return Attempt(f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}", request.cause, request.who, now)

    def _refuse(self, request: Request, reason: str) -> None:
        now = self.now()
        told = replace(self._new(request), stage="ended", outcome="refused", reason=reason, ended=now)
        change(self.var, self.model, lambda known: replace(known, requested=None).with_refusal(told))

    def _collect(self, attempt: Attempt) -> bool:
        if self.actions.newest_span() <= attempt.span_before:
            ended = self.actions.collect()
            if ended.code != 0:
                return self._decide(attempt, "withdraw", "failed", _why("no rows were collected", ended))
        span = self.actions.newest_span()
        self._keep(replace(attempt, stage="collected", span=span, rows=self.actions.rows_of(span)))
        return True

    def _run(self, attempt: Attempt) -> bool:
        if self.actions.newest_version() <= attempt.version_before:
            ended = self.actions.run()
            if ended.code == GateRefused.exit_code:
                return self._decide(attempt, "withdraw", "not vouched for", ended.sentence or "a gate refused it")
            if ended.code in (ConfigError.exit_code, DataError.exit_code):
                return self._decide(attempt, "withdraw", "not vouched for", _why("the run refused", ended))
            if ended.code != 0:
                return self._decide(attempt, "withdraw", "failed", _why("the run failed", ended))
            if self.actions.newest_version() <= attempt.version_before:
                return self._decide(attempt, "withdraw", "failed", "the run pushed no new version")
        self._keep(replace(attempt, stage="pushed", version=self.actions.newest_version()))
        return True

    def _release(self, attempt: Attempt) -> bool:
        version = _version(attempt)
        state = self.actions.released()
        if state is None or version not in (state.candidate, state.stable):
            try:
                self.actions.canary(version)
            except (GateRefused, DataError, ConfigError) as error:
                return self._decide(attempt, "", "not vouched for", error.what)
        self._keep(replace(attempt, stage="trial", trial_began=self.now()))
        return True

    def _watch(self, attempt: Attempt) -> bool:
        version, state = _version(attempt), self.actions.released()
        if state is None or version not in (state.candidate, state.stable):
            return self._decide(attempt, "", "rolled back", f"somebody ended the trial of version {version}")
        if state.stable == version:
            return self._decide(attempt, "", "promoted", f"somebody made version {version} stable")
        window = timedelta(hours=self.rules.canary_hours)
        lasted = self.now() - (attempt.trial_began or attempt.began)
        if lasted < window * _due(attempt.looks + 1):
            return False
        look = self.actions.look(attempt)
        attempt = replace(attempt, looks=attempt.looks + 1, numbers={"rows": look.answered, **look.numbers})
        if look.stop:
            return self._decide(attempt, "roll back", "rolled back", look.stop)
        if lasted < window or (look.answered < self.rules.canary_rows and lasted < MOST_TRIAL * window):
            self._keep(attempt)
            return True
        if look.answered < self.rules.canary_rows:
            reason = f"it answered {counted(look.answered, 'row')} on trial, and {self.rules.canary_rows} are asked for"
            return self._decide(attempt, "roll back", "rolled back", reason)
        return self._decide(attempt, "promote", "promoted", look.sentence)

    def _end(self, attempt: Attempt) -> bool:
        """Do what was decided, unless it is done."""
        state = self.actions.released()
        if attempt.verdict == "promote" and state and state.stable != attempt.version:
            try:
                self.actions.promote(_version(attempt))
            except (GateRefused, DataError) as error:
                return self._decide(attempt, "roll back", "failed", error.what)
        if attempt.verdict == "roll back" and state and state.candidate == attempt.version:
            self.actions.rollback()
        if attempt.verdict == "withdraw" and (span := attempt.span or self.actions.newest_span()) > attempt.span_before:
            self.actions.withdraw(span)
        self.actions.clear_up()
        self._keep(replace(attempt, stage="ended", ended=self.now()))
        return True

    def _decide(self, attempt: Attempt, verdict: Verdict, outcome: Outcome, reason: str) -> bool:
        self._keep(replace(attempt, stage="decided", verdict=verdict, outcome=outcome, reason=reason))
        return True

    def _keep(self, attempt: Attempt) -> None:
        change(self.var, self.model, lambda known: known.with_attempt(attempt))


def _due(look: int) -> float:
    """Return when a look is due, in trials' lengths: often at first, for what fails fails at once."""
    return (look / LOOKS) ** 2 if look <= LOOKS else look / LOOKS


def _version(attempt: Attempt) -> int:
    assert attempt.version is not None, attempt
    return attempt.version


def _why(what: str, ended: Ended) -> str:
    if ended.code is None:
        return f"{what}: it took too long and was stopped"
    return f"{what}: {ended.sentence}" if ended.sentence else f"{what}, with exit code {ended.code}"
