"""Compare our model server by REST and gRPC with calls in process (a) and with MLflow (b).

All answer the same golden rows with the same network, which is checked first; then they are driven in turn by h2load.
Ratios are taken within a turn. Servers and generator share the same cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import model_server as ours
from bench.bodies import ROW, SHAPES, Bodies, Shape
from bench.load import Load, Shot, drive, drive_at, require_generator
from bench.pipeline import RunFailed, positive
from bench.processes import end_on_sigterm, wait_until_idle
from bench.rivals import mlflow_server as rivals
from bench.serving_result import GRPC, LIMIT, REST, STEADY_PER_S, UNBATCHED, Measurement, markdown, summary
from common.errors import DataError, VouchError
from common.files import write_text
from common.paths import Paths, var_root

CONCURRENCIES = (1, 8, 64)
PEAK = 64  # where the bars for single rows are
CHOICE_S = 2.0  # for each way to run a rival, for each number of threads in process
ENOUGH_OF_PACE = 0.95  # a generator that could not keep its rate says nothing about the server


@dataclass(frozen=True)
class Plan:
    turns: int
    seconds: float
    concurrencies: tuple[int, ...]
    is_quick: bool


@dataclass
class Field:
    limit: ours.Limit
    batched: ours.Served
    unbatched: ours.Served
    rivals: dict[str, rivals.Served]


def main() -> None:
    """Measure, print Markdown tables, and fail if a bar is missed."""
    options = arguments().parse_args()
    end_on_sigterm()
    plan = (
        Plan(1, 1.0, (PEAK, 8), True) if options.quick else Plan(options.turns, options.seconds, CONCURRENCIES, False)
    )
    tried: dict[str, float] = {}
    try:
        require_generator()
        version = newest(Paths(var_root(), options.model).serving)
        work = options.scratch.resolve() / "run"
        shutil.rmtree(work, ignore_errors=True)
        with ExitStack() as stack:
            contenders = enter(stack, version, options.scratch.resolve(), plan, tried, options.skip_rivals)
            measurements = [
                measurement for turn in range(1, plan.turns + 1) for measurement in measure(contenders, plan, turn)
            ]
    except VouchError as error:
        sys.exit(f"error: {error}")
    result = summary(measurements)
    print(markdown(measurements, result))
    if options.out:
        runs = [asdict(measurement) for measurement in measurements]
        threads = {str(shape): count for shape, count in contenders.limit.threads.items()}
        write_text(
            options.out, json.dumps({"runs": runs, "tried": tried, "threads": threads, **result}, indent=2) + "\n"
        )
    sys.exit(0 if result["passed"] else 1)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="breast_cancer", help="whose newest pushed version is served (%(default)s)")
    parser.add_argument("--turns", type=positive, default=3, help="counted turns (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one turn of a second each, rivals set up one way only")
    parser.add_argument("--skip-rivals", action="store_true", help="only ours and (a): no environment to make")
    parser.add_argument(
        "--scratch",
        type=Path,
        default=Path(".tools/rivals"),
        help="folder for the rivals' environment, kept, and for logs (%(default)s)",
    )
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    return parser


def newest(base: Path) -> Path:
    """Return the folder of a model's newest version. Raises DataError if none was pushed."""
    numbers = [int(path.name) for path in base.iterdir() if path.name.isdecimal()] if base.is_dir() else []
    if not numbers:
        raise DataError(
            f"no model was pushed to {base} yet", fix="make demo, or: python local_runner.py run config/NAME"
        )
    return base / str(max(numbers))


def enter(
    stack: ExitStack, version: Path, scratch: Path, plan: Plan, tried: dict[str, float], skip_rivals: bool
) -> Field:
    """Start every contender; each has given the golden answers then. What was tried for rivals goes to `tried`."""
    work = scratch / "run"
    bodies = Bodies(version, work / "bodies")
    chosen: list[rivals.Way] = []
    if not skip_rivals:
        bin_ = rivals.environment(scratch)
        say("writing the rivals' models")
        rivals.prepare(sys.executable, bin_, version, work)
        chosen = fastest_ways(rivals.ways(bin_, work), bodies, work, plan, tried)
    say("starting our servers and the limit")
    limit = stack.enter_context(ours.limit(version, work))
    for shape in SHAPES:
        limit.choose_threads(shape, CHOICE_S / 2)
    batched, unbatched = (
        stack.enter_context(ours.serving(version.parent, bodies, work, batching=batching)) for batching in (True, False)
    )
    running = {way.rival: stack.enter_context(rivals.serving(way, bodies, work)) for way in chosen}
    return Field(limit, batched, unbatched, running)


def fastest_ways(
    ways: Sequence[rivals.Way], bodies: Bodies, work: Path, plan: Plan, tried: dict[str, float]
) -> list[rivals.Way]:
    """Return for each rival the way that answers most single rows, or the first if there is little time."""
    best: dict[str, rivals.Way] = {}
    for way in ways:
        if plan.is_quick:
            best.setdefault(way.rival, way)
            continue
        with rivals.serving(way, bodies, work) as served:
            drive(served.shots[ROW], PEAK, CHOICE_S)  # warms up what tunes itself
            tried[str(way)] = drive(served.shots[ROW], PEAK, 2 * CHOICE_S).per_s
        say(f"{way}: {tried[str(way)]:,.0f} requests/s")
        if way.rival not in best or tried[str(way)] > tried[str(best[way.rival])]:
            best[way.rival] = way
    return list(best.values())


def measure(field: Field, plan: Plan, turn: int) -> list[Measurement]:
    """Drive each contender in turn with each shape of request, and ours at a steady rate."""
    measurements = []
    for shape in SHAPES:
        for concurrency in plan.concurrencies:
            loads = drive_all(field, shape, concurrency, plan.seconds)
            say(
                f"turn {turn}, {shape}, {concurrency} at once: "
                + ", ".join(f"{name} {load.per_s:,.0f}/s" for name, load in loads.items())
            )
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
    for rival, served in field.rivals.items():
        if shape not in served.shots:
            continue
        try:
            loads[rival] = drive(served.shots[shape], concurrency, seconds)
        except RunFailed as error:
            if shape is ROW:
                raise
            say(f"left out: {rival}, {shape}, {concurrency} at once: {error}")
        wait_until_idle(served.pid)
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
    load = drive_at(shot, concurrency, seconds, per_s) if per_s else drive(shot, concurrency, seconds)
    wait_until_idle(served.pid)
    good, bad = (now - before for now, before in zip(served.counts(), (good, bad), strict=True))
    if bad or good < load.requests:
        raise RunFailed(
            "our server did not answer every request",
            got=f"{good} answered, {bad} failed",
            wanted=f"at least {load.requests} answered",
        )
    return load


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _as_measured(
    name: str, shape: Shape, concurrency: int, turn: int, load: Load, at: float | None = None
) -> Measurement:
    return Measurement(name, shape, concurrency, turn, load.per_s, load.p50_ms, load.p99_ms, at)


if __name__ == "__main__":
    main()
