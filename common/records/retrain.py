"""What became of each retraining of a model: written by monitoring, read by the web page.

    var/monitoring/<model>/retrain.json

The file is only ever replaced whole, once for each step of a retraining, so a process that dies leaves the last step
that was completed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict

from common.adapters import adapter
from common.errors import DataError, EnvironmentProblem
from common.files import locked, write_text

# accepted → collected → pushed → trial → decided → ended; whatever fails goes on to decided
Stage = Literal["accepted", "collected", "pushed", "trial", "decided", "ended"]
Verdict = Literal["", "promote", "roll back", "withdraw"]
Outcome = Literal["", "refused", "failed", "not vouched for", "rolled back", "promoted"]
MOST_KEPT = 500  # attempts
SCHEMA_VERSION = 1
WAIT_S, LOOK_EVERY_S = 10.0, 0.02


@dataclass(frozen=True)
class Attempt:
    """A retraining, or one that was refused before it began. An empty `outcome` is still open.

    A refusal that follows the same one is no other attempt, but one more of its `times`.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: str
    cause: str  # such as `alert ModelDrift`, `schedule`, `command`
    who: str
    began: datetime
    stage: Stage = "accepted"
    span_before: int = 0
    span: int | None = None
    rows: int = 0  # with their true label, that were added
    version_before: int = 0
    version: int | None = None
    trial_began: datetime | None = None
    looks: int = 0  # that were taken at the trial
    verdict: Verdict = ""
    outcome: Outcome = ""
    reason: str = ""  # a sentence
    numbers: dict[str, float] = field(default_factory=dict)  # that decided
    ended: datetime | None = None
    times: int = 1


@dataclass(frozen=True)
class Request:
    """Somebody wants a retraining; nobody has said yet whether there will be one."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    cause: str
    who: str
    time: datetime


@dataclass(frozen=True)
class Pause:
    __pydantic_config__ = ConfigDict(extra="forbid")

    who: str
    time: datetime
    reason: str = ""


@dataclass(frozen=True)
class Retraining:
    """All that is known of a model's retraining, the oldest attempt first."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    model: str
    attempts: tuple[Attempt, ...] = ()
    requested: Request | None = None
    paused: Pause | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def active(self) -> Attempt | None:
        """The attempt that is under way."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].stage != "ended" else None

    @property
    def carried_out(self) -> tuple[Attempt, ...]:
        """The attempts that were begun, the one under way among them."""
        return tuple(attempt for attempt in self.attempts if attempt.outcome != "refused")

    def with_attempt(self, attempt: Attempt) -> Retraining:
        """Return it with an attempt added, or in the place of what was known of it before."""
        others = tuple(each for each in self.attempts if each.id != attempt.id)
        return replace(self, attempts=(*others, attempt)[-MOST_KEPT:])

    def with_refusal(self, refusal: Attempt) -> Retraining:
        last = self.attempts[-1] if self.attempts else None
        if last and (last.outcome, last.cause, last.reason) == ("refused", refusal.cause, refusal.reason):
            refusal = replace(last, ended=refusal.ended, times=last.times + 1)
        if not (active := self.active):
            return self.with_attempt(refusal)
        # what is under way stays the last
        earlier = replace(self, attempts=self.attempts[:-1]).with_refusal(refusal)
        return earlier.with_attempt(active)

    def text(self) -> str:
        return adapter(Retraining).dump_json(self, indent=1).decode() + "\n"

    @staticmethod
    def read(var: Path, model: str) -> Retraining:
        """Return what is known, nothing before the first attempt. Raises DataError if it cannot be read."""
        path = place(var, model)
        try:
            return adapter(Retraining).validate_json(path.read_bytes())
        except FileNotFoundError:
            return Retraining(model)
        except (OSError, ValueError) as error:
            fix = "put it back from a backup, or move it away: then nothing is known of earlier retraining"
            raise DataError(f"what is known of retraining, {path}, cannot be read", got=error, fix=fix) from None


def change(var: Path, model: str, of: Callable[[Retraining], Retraining]) -> Retraining:
    """Replace what is known by what `of` makes of it, one process at a time. Raises DataError, EnvironmentProblem."""
    path, deadline = place(var, model), time.monotonic() + WAIT_S
    while True:
        try:
            with locked(path.with_name(".retrain_change"), f"another process writes to {path}"):
                after = of(Retraining.read(var, model))
                write_text(path, after.text())
                return after
        except EnvironmentProblem:
            if time.monotonic() > deadline:
                raise
        time.sleep(LOOK_EVERY_S)


def place(var: Path, model: str) -> Path:
    return var / "monitoring" / model / "retrain.json"
