"""A world for a retraining to act on: spans, versions and releases as numbers, which can end it at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from common.errors import GateRefused
from common.records.retrain import Attempt
from config.settings import RetrainSettings
from monitoring.controller.control import Controller
from monitoring.controller.machine import Ended, Machine
from monitoring.controller.trial import Look
from serving.release.state import State

TOKEN = "a-token-of-some-length"
NOON = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)


class Killed(BaseException):
    """The process was killed."""


@dataclass
class World:
    """What there is, and what will come of the next deeds. `dies_in`: at which moment from now, None for never.

    A moment is before, within or after a deed.
    """

    now: datetime = NOON
    labels: int = 500
    spans: list[int] = field(default_factory=lambda: [1])
    withdrawn: list[int] = field(default_factory=list)
    versions: list[int] = field(default_factory=lambda: [1])
    state: State | None = field(default_factory=lambda: State(1))
    deeds: list[str] = field(default_factory=list)
    run_ends: Ended = field(default_factory=lambda: Ended(0))
    collect_ends: Ended = field(default_factory=lambda: Ended(0))
    canary_fails: bool = False
    stops: str = ""
    answered: int = 1000
    has_run: bool = False
    dies_in: int | None = None

    def time(self) -> datetime:
        return self.now

    def wait(self, **length: float) -> None:
        self.now += timedelta(**length)

    def moment(self) -> None:
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                self.dies_in = None
                raise Killed

    @contextmanager
    def deed(self, name: str) -> Iterator[None]:
        self.moment()
        self.deeds.append(name)
        yield
        self.moment()

    def collectable(self) -> int:
        self.moment()
        return self.labels

    def is_running(self) -> bool:
        return self.has_run

    def newest_span(self) -> int:
        return self.spans[-1]

    def rows_of(self, span: int) -> int:
        return 500

    def collect(self) -> Ended:
        with self.deed("collect"):
            if self.collect_ends.code == 0:
                self.spans.append(max(self.spans + self.withdrawn) + 1)
        return self.collect_ends

    def newest_version(self) -> int:
        return self.versions[-1]

    def run(self) -> Ended:
        with self.deed("run"):
            if self.run_ends.code == 0:
                self.versions.append(self.versions[-1] + 1)
        return self.run_ends

    def withdraw(self, span: int) -> None:
        with self.deed("withdraw"):
            if self.spans[-1] == span:
                self.withdrawn.append(self.spans.pop())

    def released(self) -> State | None:
        return self.state

    def canary(self, version: int) -> None:
        with self.deed("canary"):
            if self.canary_fails:
                raise GateRefused("its answers are wrong")
            assert self.state
            self.state = State(self.state.stable, candidate=version, weight_percent=10.0)

    def promote(self, version: int) -> None:
        with self.deed("promote"):
            assert self.state
            self.state = State(version, previous=self.state.stable)

    def rollback(self) -> None:
        with self.deed("rollback"):
            assert self.state
            self.state = State(self.state.stable)

    def look(self, attempt: Attempt) -> Look:
        self.moment()
        return Look(self.answered, self.stops, f"it answered {self.answered} rows")

    def clear_up(self) -> None:
        with self.deed("clear up"):
            pass


@dataclass(frozen=True)
class OneModel(Controller):
    """A controller of one model, in a world of numbers."""

    world: World = field(default_factory=World)

    def machines(self) -> dict[str, Machine]:
        return {"patients": Machine(self.var, "patients", RetrainSettings(), self.world, self.world.time)}


def survived(step: Callable[[], bool]) -> bool:
    """Take a step; return whether a further one may follow, which is so after being killed, too."""
    try:
        return step()
    except Killed:
        return True
