"""What `bench.serving` measured, its bars, and its tables."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.bodies import BATCH_1024, ROW, Shape
from bench.rivals.mlflow_server import MLFLOW

LIMIT, REST, GRPC, UNBATCHED = "in process (a)", "REST", "gRPC", "REST, no batching"
P99_MS, STEADY_PER_S = 10.0, 500.0  # single rows at this rate


@dataclass(frozen=True)
class Measurement:
    """One contender under one load. `at` is the rate asked for, or none for as fast as it goes."""

    contender: str
    shape: Shape
    concurrency: int
    turn: int
    per_s: float
    p50_ms: float
    p99_ms: float
    at: float | None = None


@dataclass(frozen=True)
class Bar:
    """The least that ours may reach, in times of the other's rate; the median of the turns counts."""

    ours: str
    other: str
    shape: Shape
    concurrency: int
    at_least: float


BARS = (
    Bar(REST, MLFLOW, ROW, 64, 5.0),
    Bar(GRPC, MLFLOW, ROW, 64, 3.0),
    Bar(REST, LIMIT, ROW, 64, 0.6),
    Bar(GRPC, LIMIT, ROW, 64, 0.2),
    Bar(REST, LIMIT, BATCH_1024, 8, 0.3),
    Bar(GRPC, LIMIT, BATCH_1024, 8, 0.5),
)


def ratios(measurements: Iterable[Measurement], ours: str, other: str, shape: Shape, concurrency: int) -> list[float]:
    """Return ours over the other's rate for each turn in which both were measured."""
    rates = {
        (m.contender, m.turn): m.per_s
        for m in measurements
        if m.shape == shape and m.concurrency == concurrency and m.at is None
    }
    turns = sorted(turn for contender, turn in rates if contender == ours)
    return [rates[ours, turn] / rates[other, turn] for turn in turns if (other, turn) in rates]


def summary(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Return each bar with its ratios, and whether all that could be judged are kept."""
    bars = []
    for bar in BARS:
        each = ratios(measurements, bar.ours, bar.other, bar.shape, bar.concurrency)
        if each:
            kept = statistics.median(each) >= bar.at_least
            bars.append({**asdict(bar), "shape": str(bar.shape), "ratios": each, "kept": kept})
    steady = []
    for contender in (REST, GRPC):
        each = [m.p99_ms for m in measurements if m.contender == contender and m.at is not None]
        if each:
            kept = statistics.median(each) <= P99_MS
            steady.append({"contender": contender, "p99_ms": each, "at_most_ms": P99_MS, "kept": kept})
    return {
        "bars": bars,
        "steady": steady,
        "cores": os.cpu_count(),
        "passed": bool(bars) and bool(steady) and all(m["kept"] for m in (*bars, *steady)),
    }


def markdown(measurements: Sequence[Measurement], result: dict[str, Any]) -> str:
    """Return tables: every load by its medians over the turns, and the bars."""
    lines = ["| request | at once | contender | requests/s | rows/s | p50 ms | p99 ms | of (a) |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for shape, concurrency, contender in _in_order(measurements):
        mine = [
            m
            for m in measurements
            if (m.shape, m.concurrency, m.contender, m.at) == (shape, concurrency, contender, None)
        ]
        per_s, p50_ms, p99_ms = (statistics.median(getattr(m, key) for m in mine) for key in _KEYS)
        of_limit = ratios(
            mine + [m for m in measurements if m.contender == LIMIT], contender, LIMIT, shape, concurrency
        )
        share = f"{statistics.median(of_limit):.3f}" if of_limit else ""
        lines.append(
            f"| {shape} | {concurrency} | {contender} | {per_s:,.0f} | {per_s * shape.rows:,.0f} "
            f"| {p50_ms:.2f} | {p99_ms:.2f} | {share} |"
        )
    lines += ["", "| bar | each turn | median | wanted | |", "|---|---|---|---|---|"]
    for bar in result["bars"]:
        what = f"{bar['ours']} over {bar['other']}, {bar['shape']}, {bar['concurrency']} at once"
        lines.append(_bar_line(what, bar["ratios"], f"≥ {bar['at_least']:g}", bar["kept"]))
    for m in result["steady"]:
        what = f"p99 of {m['contender']} at {STEADY_PER_S:g} a second, {ROW}, ms"
        lines.append(_bar_line(what, m["p99_ms"], f"≤ {m['at_most_ms']:g}", m["kept"]))
    return "\n".join(lines)


_KEYS = ("per_s", "p50_ms", "p99_ms")


def _in_order(measurements: Iterable[Measurement]) -> list[tuple[Shape, int, str]]:
    """Return each kind of load once, in the order of measuring."""
    return list(dict.fromkeys((m.shape, m.concurrency, m.contender) for m in measurements if m.at is None))


def _bar_line(what: str, each: Sequence[float], wanted: str, kept: bool) -> str:
    listed = ", ".join(f"{value:.2f}" for value in each)
    return f"| {what} | {listed} | {statistics.median(each):.2f} | {wanted} | {'kept' if kept else '**missed**'} |"
