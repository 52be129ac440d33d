"""What the controller tells Prometheus, read from what is on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from common.errors import DataError
from common.records.retrain import Outcome, Retraining, Stage
from monitoring.controller.machine import Machine
from monitoring.controller.rules import budget_left, cool_down_left

STAGES = ("idle", *(stage for stage in get_args(Stage) if stage != "ended"))
OUTCOMES = tuple(outcome for outcome in get_args(Outcome) if outcome)


class _Known(Collector):
    def __init__(self, machines: Iterable[Machine], now: datetime) -> None:
        self._machines, self._now = machines, now

    def collect(self) -> Iterator[Metric]:
        stage = GaugeMetricFamily("vouch_retrain_stage", "1 for where a retraining is.", labels=["model", "stage"])
        since = GaugeMetricFamily(
            "vouch_retrain_began_timestamp_seconds", "When the one under way began.", labels=["model"]
        )
        ended = CounterMetricFamily("vouch_retrain_ended", "Retrainings by outcome.", labels=["model", "outcome"])
        last = GaugeMetricFamily(
            "vouch_retrain_last_ended_timestamp_seconds", "When the last had this outcome.", labels=["model", "outcome"]
        )
        budget = GaugeMetricFamily("vouch_retrain_budget_left", "That may still begin this week.", labels=["model"])
        waits = GaugeMetricFamily("vouch_retrain_cool_down_seconds", "Until one may begin again.", labels=["model"])
        paused = GaugeMetricFamily("vouch_retrain_paused", "1 while somebody has paused it.", labels=["model"])
        for machine in self._machines:
            with suppress(DataError):
                known = Retraining.read(machine.var, machine.model)
                name, active = machine.model, known.active
                for each in STAGES:
                    stage.add_metric([name, each], float(each == (active.stage if active else "idle")))
                if active:
                    since.add_metric([name], active.began.timestamp())
                times = Counter[str]()
                for attempt in known.attempts:
                    times[attempt.outcome] += attempt.times
                for outcome in OUTCOMES:
                    ended.add_metric([name, outcome], times[outcome])
                for outcome, at in {a.outcome: a.ended for a in known.attempts if a.ended}.items():
                    last.add_metric([name, outcome], at.timestamp())
                budget.add_metric([name], budget_left(known, machine.rules, self._now))
                waits.add_metric([name], cool_down_left(known, machine.rules, self._now).total_seconds())
                paused.add_metric([name], float(known.paused is not None))
        yield from (stage, since, ended, last, budget, waits, paused)


def text_of(machines: Iterable[Machine], now: datetime) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Known(list(machines), now))
    return generate_latest(registry)
