"""Whatever happens, one retraining at a time, within cool-down and budget, and none is left half-done.

Hypothesis chooses what is asked for, how deeds end, how time passes, and when the process is killed.
"""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from common.records.retrain import Retraining
from config.settings import RetrainSettings
from monitoring.controller.machine import Ended, Machine
from serving.release.state import State
from tests.support.retraining import World, survived

SEED = 20261130
RULES = RetrainSettings(every_days=3)
ENDS = st.sampled_from([Ended(0), Ended(0), Ended(0), Ended(1), Ended(3), Ended(4), Ended(None)])


class Retrained(RuleBasedStateMachine):
    """One model and its world."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.world = World()
        self.machine = Machine(Path(self.folder.name), "iris", RULES, self.world, self.world.time)
        self.released_by_hand: set[int] = set()

    def teardown(self) -> None:
        self.come_to_rest()
        known = self.known
        assert known.active is None or known.active.stage == "trial"
        self.folder.cleanup()

    @property
    def known(self) -> Retraining:
        return Retraining.read(self.machine.var, "iris")

    def come_to_rest(self) -> None:
        for _ in range(300):
            if not survived(self.machine.step):
                return
        raise AssertionError(f"it never comes to rest: {self.world.deeds[-20:]}")

    @rule(times=st.integers(1, 5))
    def ask(self, times: int) -> None:
        for _ in range(times):
            self.machine.request("alert ModelDrift", "Alertmanager")

    @rule()
    def step(self) -> None:
        survived(self.machine.step)

    @rule(moment=st.integers(0, 12))
    def die_soon(self, moment: int) -> None:
        self.world.dies_in = moment
        self.come_to_rest()

    @rule(hours=st.sampled_from([0.2, 1, 5, 25, 100]))
    def let_time_pass(self, hours: float) -> None:
        self.world.wait(hours=hours)

    @rule(run=ENDS, collect=ENDS, canary_fails=st.booleans(), stops=st.booleans(), answered=st.sampled_from([5, 500]))
    def set_fate(self, run: Ended, collect: Ended, canary_fails: bool, stops: bool, answered: int) -> None:
        self.world.run_ends, self.world.collect_ends, self.world.canary_fails = run, collect, canary_fails
        self.world.stops, self.world.answered = "it fails" if stops else "", answered

    @rule(labels=st.sampled_from([5, 500]), has_run=st.booleans())
    def set_facts(self, labels: int, has_run: bool) -> None:
        self.world.labels, self.world.has_run = labels, has_run

    @rule(promotes=st.booleans())
    def let_a_person_decide(self, promotes: bool) -> None:
        state = self.world.state
        if state and state.candidate:
            self.released_by_hand.add(state.candidate)
            self.world.state = State(state.candidate, previous=state.stable) if promotes else State(state.stable)

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "machine"):
            return
        known, world = self.known, self.world
        open_ones = [attempt for attempt in known.attempts if attempt.stage != "ended"]
        assert open_ones in ([], list(known.attempts[-1:]))
        begun = known.carried_out
        for i, attempt in enumerate(begun):
            assert sum(attempt.began <= each.began < attempt.began + timedelta(days=7) for each in begun) <= 3
            if i and (before := begun[i - 1].ended):
                assert attempt.began - before >= timedelta(hours=24)
        for of in ("span", "version"):
            numbers = [number for attempt in begun if (number := getattr(attempt, of))]
            assert len(set(numbers)) == len(numbers), "two attempts have one"
        assert len(world.versions) - 1 <= len(begun)
        assert len(world.spans + world.withdrawn) - 1 <= len(begun)
        promoted = {attempt.version for attempt in known.attempts if attempt.verdict == "promote"}
        assert world.state
        assert world.state.stable in {1, *promoted, *self.released_by_hand}
        if not open_ones:
            assert world.state.candidate is None
            unused = {attempt.span for attempt in begun if attempt.span and not attempt.version}
            assert not unused & set(world.spans), "rows of which no model came are built on"


def run(machines: int, steps: int) -> None:
    quiet: Any = settings(
        max_examples=machines,
        stateful_step_count=steps,
        phases=[Phase.generate, Phase.shrink],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(SEED)(Retrained), settings=quiet)  # type: ignore[no-untyped-call]


def test_whatever_happens_in_short() -> None:
    run(15, 30)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_whatever_happens() -> None:
    run(400, 80)
