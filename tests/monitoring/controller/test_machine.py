"""A retraining from the alert to its end, each way in which it may end, and what happens when it is cut short."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from common.records.retrain import Attempt, Pause, Retraining, change
from config.settings import RetrainSettings
from monitoring.controller.machine import Ended, Machine
from serving.release.state import State
from tests.support.retraining import NOON, World, survived

RULES = RetrainSettings()
WHOLE = ["collect", "run", "canary", "promote", "clear up"]


class Trained:
    """A model in a world, and what is known of its retraining."""

    def __init__(self, var: Path, world: World | None = None, **rules: Any) -> None:
        self.world = world or World()
        self.machine = Machine(var, "iris", RULES.model_copy(update=rules), self.world, self.world.time)

    @property
    def known(self) -> Retraining:
        return Retraining.read(self.machine.var, "iris")

    @property
    def last(self) -> Attempt:
        return self.known.attempts[-1]

    def go_on(self, most: int = 200) -> None:
        """Take steps until there is nothing to do but wait."""
        for _ in range(most):
            if not survived(self.machine.step):
                return
        raise AssertionError(f"it never comes to rest: {self.world.deeds[-20:]}")

    def ask(self, cause: str = "alert ModelDrift") -> None:
        self.machine.request(cause, "Alertmanager")
        self.go_on()

    def sit_out(self) -> None:
        """Let the trial's time pass."""
        self.world.wait(hours=25)
        self.go_on()


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    return Trained(tmp_path)


def test_an_alert_leads_to_a_version_that_is_tried_and_promoted(trained: Trained) -> None:
    trained.ask()
    assert trained.last.stage == "trial"
    assert trained.world.state == State(1, candidate=2, weight_percent=10.0)
    trained.sit_out()
    assert trained.world.deeds == WHOLE
    assert trained.world.state == State(2, previous=1)
    told = trained.last
    assert (told.outcome, told.span, told.rows, told.version, told.stage) == ("promoted", 2, 500, 2, "ended")
    assert told.reason == "it answered 1000 rows"


def test_a_hundred_alerts_lead_to_one_retraining(trained: Trained) -> None:
    for _ in range(100):
        trained.machine.request("alert ModelDrift", "Alertmanager")
    for _ in range(50):
        trained.ask()
    trained.sit_out()
    for _ in range(50):
        trained.ask()
    assert trained.world.deeds == WHOLE
    assert [(each.outcome, each.times) for each in trained.known.attempts if each.outcome == "promoted"] == [
        ("promoted", 1)
    ]
    refused = [each for each in trained.known.attempts if each.outcome == "refused"]
    assert [each.times for each in refused] == [49, 50]  # while it was under way, and in the cool-down


@pytest.mark.parametrize(
    ("change_world", "rules", "said"),
    [
        ({"labels": 99}, {}, "99 new rows with a true label, and retrain.min_labels asks for 100"),
        ({"has_run": True}, {}, "a run of the pipeline is going on"),
        ({"state": None}, {}, "no version is released yet"),
        ({"state": State(1, candidate=2)}, {}, "version 2 is on trial"),
    ],
    ids=["labels", "a run", "no release", "a canary"],
)
def test_what_stands_in_the_way_is_told(
    tmp_path: Path, change_world: dict[str, Any], rules: dict[str, Any], said: str
) -> None:
    trained = Trained(tmp_path, World(**change_world), **rules)
    trained.ask()
    assert (trained.last.outcome, trained.world.deeds) == ("refused", [])
    assert said in trained.last.reason


def test_after_a_retraining_comes_a_cool_down_and_then_the_budget(trained: Trained) -> None:
    for _ in range(3):
        trained.ask()
        trained.sit_out()
        assert trained.last.outcome == "promoted"
        trained.ask()
        assert "retrain.cool_down_hours (24) ago" in trained.last.reason
        trained.world.wait(hours=25)
    trained.ask()
    assert trained.last.reason == "retrain.runs_per_week (3) have been made in the last seven days"
    trained.world.wait(days=4)
    trained.ask()
    assert trained.last.stage == "trial"


def test_a_clock_that_is_put_back_shortens_no_cool_down(trained: Trained) -> None:
    trained.ask()
    trained.sit_out()
    trained.world.wait(hours=-1)
    trained.ask()
    assert trained.last.outcome == "refused"
    trained.world.wait(hours=24.5)
    trained.ask()
    assert trained.last.outcome == "refused"
    trained.world.wait(hours=1)
    trained.ask()
    assert trained.last.stage == "trial"


def test_what_is_paused_begins_nothing_and_ends_what_it_began(trained: Trained) -> None:
    trained.ask()
    change(trained.machine.var, "iris", lambda known: replace(known, paused=Pause("ann", NOON, "audit")))
    trained.sit_out()
    assert trained.last.outcome == "promoted"
    trained.world.wait(days=3)
    trained.ask()
    assert trained.last.reason == "ann paused it on 2026-11-20 12:00 UTC: audit"


def test_a_schedule_asks_by_itself_and_a_refusal_waits_a_day(tmp_path: Path) -> None:
    trained = Trained(tmp_path, World(labels=5), every_days=7.0)
    for _ in range(48):
        trained.go_on()
        trained.world.wait(hours=1)
    assert [(each.cause, each.times) for each in trained.known.attempts] == [("schedule", 2)]
    trained.world.labels = 500
    trained.go_on()
    assert (trained.last.cause, trained.last.stage) == ("schedule", "trial")
    trained.sit_out()
    trained.world.wait(days=5)
    trained.go_on()
    assert trained.last.outcome == "promoted"
    trained.world.wait(days=2)
    trained.go_on()
    assert trained.last.stage == "trial"


@pytest.mark.parametrize(
    ("ends", "outcome", "said"),
    [
        (Ended(4, "AUC fell from 0.99 to 0.61"), "not vouched for", "AUC fell from 0.99 to 0.61"),
        (Ended(3, "line 7 is no row"), "not vouched for", "the run refused: line 7 is no row"),
        (Ended(1), "failed", "the run failed, with exit code 1"),
        (Ended(None), "failed", "the run failed: it took too long and was stopped"),
    ],
    ids=["gate", "data", "failed", "too long"],
)
def test_a_run_without_a_model_leaves_the_champion_and_withdraws_its_rows(
    trained: Trained, ends: Ended, outcome: str, said: str
) -> None:
    trained.world.run_ends = ends
    trained.ask()
    assert (trained.last.outcome, trained.last.reason) == (outcome, said)
    assert trained.world.state == State(1)
    assert (trained.world.spans, trained.world.withdrawn) == ([1], [2])
    assert trained.world.deeds == ["collect", "run", "withdraw", "clear up"]


def test_a_run_that_changes_nothing_is_no_retraining(trained: Trained) -> None:
    trained.world.run = lambda: Ended(0)  # type: ignore[method-assign]
    trained.ask()
    assert (trained.last.outcome, trained.last.reason) == ("failed", "the run pushed no new version")


def test_where_no_row_can_be_collected_nothing_runs(trained: Trained) -> None:
    trained.world.collect_ends = Ended(3, "there is no new row to collect")
    trained.ask()
    assert trained.last.reason == "no rows were collected: there is no new row to collect"
    assert "run" not in trained.world.deeds


def test_a_version_that_answers_wrongly_gets_no_request(trained: Trained) -> None:
    trained.world.canary_fails = True
    trained.ask()
    assert (trained.last.outcome, trained.last.reason) == ("not vouched for", "its answers are wrong")
    assert trained.world.state == State(1)


def test_the_trial_ends_as_soon_as_something_is_wrong(trained: Trained) -> None:
    trained.ask()
    trained.world.stops = "it fails on rows"
    trained.world.wait(minutes=11)  # not after a day only
    trained.go_on()
    assert (trained.last.outcome, trained.last.reason) == ("rolled back", "it fails on rows")
    assert trained.world.state == State(1)
    assert trained.world.spans == [1, 2]  # a version was trained on it


def test_looks_are_few_and_the_first_come_soon(trained: Trained) -> None:
    trained.ask()
    looks = []
    for _ in range(24 * 60):
        trained.world.wait(minutes=1)
        before = trained.last.looks
        trained.go_on()
        if trained.last.looks > before:
            looks.append(trained.world.now - NOON)
    assert looks[:3] == [timedelta(minutes=10), timedelta(minutes=40), timedelta(minutes=90)]
    assert len(looks) == 12
    assert trained.last.outcome == "promoted"


def test_a_trial_without_traffic_goes_on_and_then_back(trained: Trained) -> None:
    trained.world.answered = 7
    trained.ask()
    trained.sit_out()
    assert trained.last.stage == "trial"
    trained.world.wait(days=7)
    trained.go_on()
    assert trained.last.reason == "it answered 7 rows on trial, and 200 are asked for"
    assert trained.world.state == State(1)


@pytest.mark.parametrize(
    ("state", "outcome"), [(State(2, previous=1), "promoted"), (State(1), "rolled back")], ids=["stable", "gone"]
)
def test_what_a_person_decides_meanwhile_stands(trained: Trained, state: State, outcome: str) -> None:
    trained.ask()
    trained.world.state = state
    trained.go_on()
    assert trained.last.outcome == outcome
    assert "somebody" in trained.last.reason
    assert trained.world.state == state


@pytest.mark.parametrize("ends", [Ended(0), Ended(4)], ids=["promoted", "refused"])
@pytest.mark.parametrize("moment", range(16))
def test_killed_at_any_moment_it_goes_on_and_does_nothing_twice(tmp_path: Path, moment: int, ends: Ended) -> None:
    trained = Trained(tmp_path, World(run_ends=ends, dies_in=moment))
    trained.ask()
    trained.sit_out()
    world = trained.world
    assert world.state == (State(2, previous=1) if ends.code == 0 else State(1))
    assert (world.versions, len(world.spans + world.withdrawn)) == ([1, 2] if ends.code == 0 else [1], 2)
    assert (trained.last.stage, len(trained.known.attempts)) == ("ended", 1)
    for deed in ("collect", "canary", "promote"):
        assert world.deeds.count(deed) <= 2  # killed before it had begun in earnest
