"""May a retraining begin? Each no is a sentence; the first one counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from common.errors import VouchError
from common.records.retrain import Retraining
from common.text import counted
from config.settings import RetrainSettings
from serving.release.state import State

WEEK = timedelta(days=7)
ASK_AGAIN = timedelta(days=1)  # for one by schedule that was refused


class Facts(Protocol):
    def collectable(self) -> int: ...

    def is_running(self) -> bool: ...

    def released(self) -> State | None: ...


def refusal(known: Retraining, rules: RetrainSettings, facts: Facts, now: datetime) -> str:
    """Return why no retraining may begin now, nothing if one may. What is cheap to know is asked first."""
    if known.paused:
        why = f": {known.paused.reason}" if known.paused.reason else ""
        return f"{known.paused.who} paused it on {known.paused.time:%Y-%m-%d %H:%M} UTC{why}"
    if left := cool_down_left(known, rules, now):
        ago = f"less than retrain.cool_down_hours ({rules.cool_down_hours:g}) ago"
        return f"the last retraining ended {ago}: the next may begin at {now + left:%Y-%m-%d %H:%M} UTC"
    if budget_left(known, rules, now) <= 0:
        return f"retrain.runs_per_week ({rules.runs_per_week}) have been made in the last seven days"
    state = facts.released()
    if state is None:
        return "no version is released yet: promote one first"
    if state.candidate:
        return f"version {state.candidate} is on trial: promote it or end the canary first"
    if facts.is_running():
        return "a run of the pipeline is going on"
    try:
        rows = facts.collectable()
    except VouchError as error:
        return error.what
    if rows < rules.min_labels:
        return f"{counted(rows, 'new row')} with a true label, and retrain.min_labels asks for {rules.min_labels}"
    return ""


def cool_down_left(known: Retraining, rules: RetrainSettings, now: datetime) -> timedelta:
    """Return how long nothing may begin. A clock that was put back makes it longer, never shorter."""
    ends = [attempt.ended for attempt in known.carried_out if attempt.ended]
    left = max(ends) + timedelta(hours=rules.cool_down_hours) - now if ends else timedelta(0)
    return max(left, timedelta(0))


def budget_left(known: Retraining, rules: RetrainSettings, now: datetime) -> int:
    """Return how many retrainings may still begin within the last seven days."""
    return rules.runs_per_week - sum(attempt.began > now - WEEK for attempt in known.carried_out)


def scheduled(known: Retraining, rules: RetrainSettings, now: datetime) -> bool:
    """Return whether it is time for one though nobody asked: the last, or a refusal, is long enough ago."""
    if not rules.every_days:
        return False
    every = timedelta(days=rules.every_days)
    begun = [attempt.began for attempt in known.carried_out]
    refused = [attempt.ended for attempt in known.attempts if attempt.outcome == "refused" and attempt.ended]
    return all(now - at >= every for at in begun[-1:]) and all(now - at >= min(every, ASK_AGAIN) for at in refused[-1:])
