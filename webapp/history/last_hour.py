"""The last hour of a model's predictions, in numbers, from the prediction log: all workers, and across restarts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from common.records.reader import Filters, Reader

MINUTES = 60
SCORE_BINS = 20
_LATENCIES = "SELECT quantile_cont(latency_ms, [0.5, 0.95, 0.99]) FROM passing WHERE row = 0"  # of requests, not rows
_COUNTS = """
    SELECT version, label, ($now_us - epoch_us(time)) // 60000000 AS age,
        least(floor(probability * $bins), $bins - 1)::INTEGER AS bin, count(*) AS rows
    FROM passing GROUP BY ALL
"""


@dataclass(frozen=True)
class Recent:
    """What is known of the last hour."""

    rows: int
    per_minute: tuple[int, ...]  # rows predicted, the last minute last
    latency_ms: tuple[float, ...]  # median, 95 % and 99 % of requests; empty without any
    answers: tuple[tuple[int, str, int], ...]  # version, label, rows; the newest version first
    scores: tuple[tuple[float, float, float], ...]  # low, high, rows


def recent(base: Path, now: datetime) -> Recent:
    """Return the numbers of the hour before `now`, of a model's log."""
    reader = Reader(base, Filters(start=now - timedelta(minutes=MINUTES), end=now))
    ages, answers, bins = Counter[int](), Counter[tuple[int, str]](), Counter[int]()
    now_us = round(now.timestamp() * 1e6)
    for version, label, age, score_bin, rows in reader.query(_COUNTS, {"now_us": now_us, "bins": SCORE_BINS}):
        ages[min(age, MINUTES - 1)] += rows
        answers[version, label] += rows
        bins[score_bin] += rows
    [[latency_ms]] = reader.query(_LATENCIES)
    return Recent(
        rows=ages.total(),
        per_minute=tuple(ages[age] for age in reversed(range(MINUTES))),
        latency_ms=tuple(latency_ms or ()),
        answers=tuple((*key, answers[key]) for key in sorted(answers, key=lambda key: (-key[0], key[1]))),
        scores=tuple((at / SCORE_BINS, (at + 1) / SCORE_BINS, bins[at]) for at in range(SCORE_BINS)),
    )
