"""Try again when it is safe, within a budget of time; leave a server alone that fails time after time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from serving.client.errors import CircuitOpen, ModelServerDown, ModelServerTimeout

T = TypeVar("T")


@dataclass(frozen=True)
class Policy:
    """How long and how often to try. `budget_s` is for all tries and the waits between them."""

    budget_s: float = 10.0
    tries: int = 3
    first_wait_s: float = 0.05  # doubles with each try; what is waited is drawn between 0 and it
    longest_wait_s: float = 1.0
    failures_to_open: int = 5
    cool_down_s: float = 5.0


@dataclass(frozen=True)
class Clock:
    """Time and chance, so that tests can bring their own. `now` must never step back."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


@dataclass
class Breaker:
    """Open after so many failures in a row; after the cool-down let one call through to see."""

    policy: Policy
    clock: Callable[[], float]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _failures: int = 0
    _open_until: float | None = None

    def enter(self) -> None:
        """Let a call pass. Raises CircuitOpen, at once, if the server is to be left alone."""
        with self._lock:
            if self._open_until is None:
                return
            left_s = self._open_until - self.clock()
            if left_s > 0:
                raise CircuitOpen(
                    f"the model server failed {self._failures} times in a row and is left alone for a while",
                    got=f"{left_s:.1f} s to go",
                    retry_after_s=left_s,
                )
            self._open_until = self.clock() + self.policy.cool_down_s  # this call tries; others wait for its outcome

    def note(self, failed: bool) -> None:
        with self._lock:
            self._failures = self._failures + 1 if failed else 0
            opens = self._failures >= self.policy.failures_to_open
            self._open_until = self.clock() + self.policy.cool_down_s if opens else None


class Caller:
    """Make calls to one server by one policy. Safe to share between threads."""

    def __init__(self, policy: Policy | None = None, clock: Clock | None = None) -> None:
        self.policy, self.clock = policy or Policy(), clock or Clock()
        self.breaker = Breaker(self.policy, self.clock.now)

    def call(self, attempt: Callable[[float], T]) -> T:
        """Return what `attempt` returns; it is told the seconds left.

        Only ModelServerDown is tried again: it says that no part of an answer had come. Raises what the last attempt
        raised, or CircuitOpen without an attempt.
        """
        deadline = self.clock.now() + self.policy.budget_s
        number = 1
        while True:
            self.breaker.enter()
            try:
                return self._noted(attempt, deadline)
            except ModelServerDown as down:
                wait_s = self._wait_s(number, down.retry_after_s)
                if number >= self.policy.tries or self.clock.now() + wait_s >= deadline:
                    raise
            self.clock.sleep(wait_s)
            number += 1

    def _noted(self, attempt: Callable[[float], T], deadline: float) -> T:
        failed = False
        try:
            return attempt(deadline - self.clock.now())
        except (ModelServerDown, ModelServerTimeout):
            failed = True
            raise
        finally:
            self.breaker.note(failed)

    def _wait_s(self, number: int, asked_s: float) -> float:
        longest = min(self.policy.first_wait_s * 2 ** (number - 1), self.policy.longest_wait_s)
        return asked_s + longest * self.clock.chance()
