"""Compare our model server by REST and gRPC with calls in process (a) and with MLflow (b).

All answer the same golden rows with the same network, which is checked first; then they are driven in turn by h2load.
Ratios are taken within a turn. Servers and generator share the same cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import model_server as ours
from bench.load import Load, Shot, drive, require_generator, wait_until_idle
from bench.model_server import BATCH_1024, ROW, SHAPES, Bodies, Shape
from bench.report import RunFailed, finish, parser, positive, say, start, table, verdict
from bench.rivals import mlflow_server as rivals
from bench.rivals.mlflow_server import MLFLOW
from common.errors import DataError
from common.paths import Paths, var_root
from serving.repository.layout import versions

CONCURRENCIES = (1, 8, 64)
PEAK = 64  # where the bars for single rows are
CHOICE_S = 1.0  # for each number of threads in process
ENOUGH_OF_PACE = 0.95  # a generator that could not keep its rate says nothing about the server
LIMIT, REST, GRPC, UNBATCHED = "in process (a)", "REST", "gRPC", "REST, no batching"
P99_MS, STEADY_PER_S = 10.0, 500.0  # single rows at this rate


@dataclass(frozen=True)
class Plan:
    turns: int
    seconds: float
    concurrencies: tuple[int, ...]


@dataclass
class Field:
    limit: ours.Limit
    batched: ours.Served
    unbatched: ours.Served
    mlflow: rivals.Served | None


def main() -> None:
    options = arguments().parse_args()
    plan = Plan(options.turns, options.seconds, CONCURRENCIES)
    if options.quick:
        plan = Plan(1, 1.0, (PEAK, 8))
    require_generator()
    version = newest(Paths(var_root(), options.model).serving)
    scratch = options.scratch.resolve()
    shutil.rmtree(scratch / "run", ignore_errors=True)
    with ExitStack() as stack:
        field = enter(stack, version, scratch, options.skip_rivals)
        measurements = [measurement for turn in range(1, plan.turns + 1) for measurement in measure(field, plan, turn)]
    result = summary(measurements)
    runs = [asdict(measurement) for measurement in measurements]
    threads = {str(shape): count for shape, count in field.limit.threads.items()}
    numbers = {"runs": runs, "threads": threads, **result}
    finish(markdown(measurements, result), numbers, options.out, passed=result["passed"])


def arguments() -> argparse.ArgumentParser:
    options = parser("serving", __doc__)
    options.add_argument("--model", default="breast_cancer", help="whose newest version is served (%(default)s)")
    options.add_argument("--turns", type=positive, default=3, help="counted turns (%(default)s)")
    options.add_argument("--seconds", type=float, default=3.0, help="of each load (%(default)s)")
    options.add_argument("--quick", action="store_true", help="one turn of a second each")
    options.add_argument("--skip-rivals", action="store_true", help="only ours and (a): no environment to make")
    where = "folder for the rivals' environment, kept, and for logs (%(default)s)"
    options.add_argument("--scratch", type=Path, default=Path(".tools/rivals"), help=where)
    return options


def newest(base: Path) -> Path:
    """Return the folder of a model's newest version. Raises DataError if none was pushed."""
    if not (numbers := versions(base)):
        fix = "make demo, or: python local_runner.py run config/NAME"
        raise DataError(f"no model was pushed to {base} yet", fix=fix)
    return base / str(numbers[-1])


def enter(stack: ExitStack, version: Path, scratch: Path, skip_rivals: bool) -> Field:
    """Start every contender; each has given the golden answers then."""
    work = scratch / "run"
    bodies = Bodies(version, work / "bodies")
    mlflow = None
    if not skip_rivals:
        bin_ = rivals.environment(scratch)
        mlflow = stack.enter_context(rivals.serving(bin_, rivals.prepare(bin_, version, work), bodies, work))
    say("starting our servers and the limit")
    limit = stack.enter_context(ours.limit(version, work))
    for shape in SHAPES:
        limit.choose_threads(shape, CHOICE_S)
    batched, unbatched = (
        stack.enter_context(ours.serving(version.parent, bodies, work, batching=batching)) for batching in (True, False)
    )
    return Field(limit, batched, unbatched, mlflow)


def measure(field: Field, plan: Plan, turn: int) -> list[Measurement]:
    """Drive each contender in turn with each shape of request, and ours at a steady rate."""
    measurements = []
    for shape in SHAPES:
        for concurrency in plan.concurrencies:
            loads = drive_all(field, shape, concurrency, plan.seconds)
            rates = ", ".join(f"{name} {load.per_s:,.0f}/s" for name, load in loads.items())
            say(f"turn {turn}, {shape}, {concurrency} at once: {rates}")
            measurements += [_as_measured(name, shape, concurrency, turn, load) for name, load in loads.items()]
            if shape is ROW and concurrency == PEAK:
                for name, shots in ((REST, field.batched.rest), (GRPC, field.batched.grpc)):
                    measurements.append(steady_load(field.batched, shots[ROW], name, plan, turn))
    return measurements


def drive_all(field: Field, shape: Shape, concurrency: int, seconds: float) -> dict[str, Load]:
    """Drive each contender in turn with one shape of request.

    A rival that cannot bear batches is left out of that load. Raises RunFailed for any other that does not answer.
    """
    loads = {LIMIT: field.limit.measure(shape, seconds)}
    loads[REST] = counted(field.batched, field.batched.rest[shape], concurrency, seconds)
    loads[GRPC] = counted(field.batched, field.batched.grpc[shape], concurrency, seconds)
    if shape is ROW:
        loads[UNBATCHED] = counted(field.unbatched, field.unbatched.rest[shape], concurrency, seconds)
    if field.mlflow and shape in field.mlflow.shots:
        try:
            loads[MLFLOW] = drive(field.mlflow.shots[shape], concurrency, seconds)
        except RunFailed as error:
            if shape is ROW:
                raise
            say(f"left out: {MLFLOW}, {shape}, {concurrency} at once: {error}")
        wait_until_idle(field.mlflow.pid)
    return loads


def steady_load(served: ours.Served, shot: Shot, name: str, plan: Plan, turn: int) -> Measurement:
    """Drive at the steady rate, evenly. Raises RunFailed if it was not kept."""
    load = counted(served, shot, PEAK, plan.seconds, STEADY_PER_S)
    say(f"turn {turn}, {name} at {STEADY_PER_S:,.0f}/s: p99 {load.p99_ms:.1f} ms")
    if load.per_s < ENOUGH_OF_PACE * STEADY_PER_S:
        wanted = f"{STEADY_PER_S:.0f}/s"
        raise RunFailed(f"{name} did not keep the steady rate", got=f"{load.per_s:.0f}/s", wanted=wanted)
    return _as_measured(name, ROW, PEAK, turn, load, STEADY_PER_S)


def counted(served: ours.Served, shot: Shot, concurrency: int, seconds: float, per_s: float | None = None) -> Load:
    """Drive our server, which must have counted as many good requests and no bad one: HTTP hides gRPC's status."""
    good, bad = served.counts()
    load = drive(shot, concurrency, seconds, per_s)
    wait_until_idle(served.pid)
    good, bad = (now - before for now, before in zip(served.counts(), (good, bad), strict=True))
    if bad or good < load.requests:
        raise RunFailed(
            "our server did not answer every request",
            got=f"{good} answered, {bad} failed",
            wanted=f"at least {load.requests} answered",
        )
    return load


def _as_measured(
    name: str, shape: Shape, concurrency: int, turn: int, load: Load, at: float | None = None
) -> Measurement:
    return Measurement(name, shape, concurrency, turn, load.per_s, load.p50_ms, load.p99_ms, at)


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
    loads = []
    for shape, concurrency, contender in dict.fromkeys(
        (m.shape, m.concurrency, m.contender) for m in measurements if m.at is None
    ):
        same = [m for m in measurements if (m.shape, m.concurrency, m.at) == (shape, concurrency, None)]
        own = [m for m in same if m.contender == contender]
        per_s, p50_ms, p99_ms = (
            statistics.median(getattr(m, key) for m in own) for key in ("per_s", "p50_ms", "p99_ms")
        )
        of_limit = ratios(same, contender, LIMIT, shape, concurrency)
        share = f"{statistics.median(of_limit):.3f}" if of_limit else ""
        seen = (f"{per_s:,.0f}", f"{per_s * shape.rows:,.0f}", f"{p50_ms:.2f}", f"{p99_ms:.2f}")
        loads.append((shape, concurrency, contender, *seen, share))
    bars = []
    for bar in result["bars"]:
        what = f"{bar['ours']} over {bar['other']}, {bar['shape']}, {bar['concurrency']} at once"
        bars.append(_bar_row(what, bar["ratios"], f"≥ {bar['at_least']:g}", bar["kept"]))
    for m in result["steady"]:
        what = f"p99 of {m['contender']} at {STEADY_PER_S:g} a second, {ROW}, ms"
        bars.append(_bar_row(what, m["p99_ms"], f"≤ {m['at_most_ms']:g}", m["kept"]))
    titles = ("request", "at once", "contender", "requests/s", "rows/s", "p50 ms", "p99 ms", "of (a)")
    return f"{table(titles, loads)}\n\n{table(('bar', 'each turn', 'median', 'wanted', ''), bars)}"


def _bar_row(what: str, each: Sequence[float], wanted: str, kept: bool) -> tuple[str, ...]:
    listed = ", ".join(f"{value:.2f}" for value in each)
    return what, listed, f"{statistics.median(each):.2f}", wanted, verdict(kept)


if __name__ == "__main__":
    start(main)
