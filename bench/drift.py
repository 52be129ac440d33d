"""How often drift is found where there is none, how often where there is some, and what a large window costs.

References and windows are drawn from populations whose truth is known: a Gaussian copula of the example data, 30
numbers, and of a mixed table made here, numbers with ties and gaps beside categories. A reference is used for all of
its windows, as a version is, so that what one unlucky training split does is in the figures: many references count,
not many windows. A window counts as a day for alarms.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.drift_worlds import TRAIN, Columns, Version, World, worlds
from bench.report import ROOT, finish, parser, positive, say, start, table, verdict
from common.records.drift import WindowCheck
from common.records.files import INPUT, META, day_folder, with_facts, write
from monitoring.drift.check import check
from monitoring.drift.timeline import alarms
from monitoring.drift.window import Span, read_window
from serving.repository.drift_reference import DriftReference, Numbers

DAY = timedelta(days=1)
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
MOST_FINDINGS, MOST_ALARMS, LEAST_DETECTED = 0.5, 0.5, 0.99  # the bars, at 500 rows; the first two of 100 windows
LARGE_ROWS, MOST_SECONDS, MOST_MB = 1_000_000, 3.0, 1024
COMPARATORS = (0.05, 0.1, 0.15)  # TFDV's thresholds of the Jensen-Shannon divergence


@dataclass
class Outcome:
    """What was seen in windows of one size."""

    rows: int
    windows: int = 0
    findings: int = 0
    odd_windows: int = 0  # with at least one finding
    worst_reference: int = 0  # findings in the windows of one
    alarm_days: int = 0
    detected: dict[str, list[bool]] = field(default_factory=dict)  # by what was done to the window

    @property
    def findings_of_100(self) -> float:
        return 100 * self.findings / self.windows

    @property
    def alarms_of_100(self) -> float:
        return 100 * self.alarm_days / self.windows

    def share(self, case: str) -> float:
        return float(np.mean(self.detected[case]))


def half_a_sigma(world: World, columns: Columns, chance: np.random.Generator) -> tuple[Columns, set[str]]:
    """Move one number by half of its standard deviation."""
    names = [name for name in world.numbers if len({*columns[name]}) > 20]
    name = names[chance.integers(len(names))]
    present = [value for value in columns[name] if value is not None]
    by = 0.5 * float(np.std(present))
    return {**columns, name: [None if value is None else value + by for value in columns[name]]}, {name}


def swapped(world: World, columns: Columns, chance: np.random.Generator) -> tuple[Columns, set[str]]:
    """Call two of four categories by each other's names."""
    names = {"none": "some", "some": "none"}
    return {**columns, "pain": [names.get(value, value) for value in columns["pain"]]}, {"pain"}


def missing(world: World, columns: Columns, chance: np.random.Generator) -> tuple[Columns, set[str]]:
    """Lose every fifth value of a number."""
    name = world.numbers[chance.integers(len(world.numbers))]
    is_lost = chance.random(len(columns[name])) < 0.2
    values = [None if gone else value for value, gone in zip(columns[name], is_lost, strict=True)]
    return {**columns, name: values}, {name}


CASES: dict[str, Callable[[World, Columns, np.random.Generator], tuple[Columns, set[str]]]] = {
    "0.5 σ in one number": half_a_sigma,
    "a fifth of a number missing": missing,
    "two categories swapped": swapped,
}
PRIOR = "the rare class twice as frequent"


def measure(world: World, rows: int, references: int, windows: int, tries: int) -> Outcome:
    outcome = Outcome(rows)
    cases = {name: case for name, case in CASES.items() if name != "two categories swapped" or world.name == "mixed"}
    for seed in range(references):
        chance = np.random.default_rng([seed, rows])
        version = Version.train(world, chance)
        days: list[WindowCheck] = []
        of_reference = 0
        for day in range(windows):
            columns, _ = world.draw(rows, chance)
            measured = check(version.reference, version.window(columns))
            begin = BEGIN + day * DAY
            days.append(WindowCheck(1, begin, begin + DAY, rows, rows, "checked", measured))
            of_reference += len(days[-1].findings)
            outcome.odd_windows += bool(days[-1].findings)
            outcome.alarm_days += bool(alarms(days[-3:]))
        outcome.windows += windows
        outcome.findings += of_reference
        outcome.worst_reference = max(outcome.worst_reference, of_reference)
        for _ in range(tries):
            for name, case in cases.items():
                columns, wanted = case(world, world.draw(rows, chance)[0], chance)
                outcome.detected.setdefault(name, []).append(wanted <= version.findings(columns))
            rare = min(world.population.shares, key=lambda label: world.population.shares[label])
            share = min(0.9, 2 * world.population.shares[rare])
            moved = {label: share if label == rare else 1 - share for label in world.population.shares}
            columns, _ = world.draw(rows, chance, moved)
            outcome.detected.setdefault(PRIOR, []).append(bool(version.findings(columns)))
        if seed % 10 == 9:
            say(f"{world.name}, {rows} rows: {seed + 1} of {references} references")
    return outcome


def compared(world: World, rows: int, windows: int) -> Iterator[tuple[str, float, float]]:
    """Yield TFDV's comparator by its threshold: windows of 100 with an alarm when clean, and half a sigma found."""
    import pandas as pd
    import tensorflow_data_validation as tfdv

    chance = np.random.default_rng(5)
    columns, _ = world.draw(TRAIN, chance)
    trained = tfdv.generate_statistics_from_dataframe(pd.DataFrame(columns))
    schema = tfdv.infer_schema(trained)
    seen: dict[float, tuple[list[bool], list[bool]]] = {limit: ([], []) for limit in COMPARATORS}
    for _ in range(windows):
        clean = world.draw(rows, chance)[0]
        moved, [name] = half_a_sigma(world, world.draw(rows, chance)[0], chance)
        for odd, drawn in ((0, clean), (1, moved)):
            statistics = tfdv.generate_statistics_from_dataframe(pd.DataFrame(drawn))
            for limit, lists in seen.items():
                for feature in schema.feature:
                    feature.drift_comparator.jensen_shannon_divergence.threshold = limit
                drift_info = tfdv.validate_statistics(statistics, schema, previous_statistics=trained).drift_skew_info
                drifted = {
                    info.path.step[0]
                    for info in drift_info
                    if any(m.value > m.threshold for m in info.drift_measurements)
                }
                lists[odd].append(name in drifted if odd else bool(drifted))
    for limit, (alarms_of_clean, detections) in seen.items():
        yield f"JS > {limit:g}", 100 * float(np.mean(alarms_of_clean)), float(np.mean(detections))


def large(folder: Path) -> dict[str, float]:
    """Read a million rows of 30 numbers from a log and check them; return seconds, and the process' peak in MB."""
    chance = np.random.default_rng(3)
    names = [f"f{i}" for i in range(30)]
    trained = chance.normal(size=(100_000, 30)).astype(np.float32)
    reference = DriftReference(100_000, {name: Numbers.of(trained[:, i]) for i, name in enumerate(names)}, {})
    for part in range(20):
        _write_part(folder, names, part, LARGE_ROWS // 20, chance)
    started, processor = time.perf_counter(), time.process_time()
    span = Span(BEGIN, BEGIN + DAY)
    window = read_window(folder, span, 1, reference)
    measured = check(reference, window)
    seconds, processor_s = time.perf_counter() - started, time.process_time() - processor
    assert (window.rows, len(measured) >= 30) == (LARGE_ROWS, True)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "processor_s": processor_s, "peak_mb": peak_mb}


def _write_part(folder: Path, names: Sequence[str], part: int, rows: int, chance: np.random.Generator) -> None:
    moment = BEGIN + part * timedelta(hours=1)
    fixed: dict[str, Any] = {
        "model": "m",
        "route": "stable",
        "who": "bench",
        "source": "api",
        "reference": None,
        "label": "a",
    }
    arrays: dict[str, Any] = {name: pa.array([value] * rows, pa.string()) for name, value in fixed.items()}
    arrays |= {
        "time": pa.array([moment + timedelta(milliseconds=i) for i in range(rows)], META.field("time").type),
        "request_id": pa.array([f"{part}-{i}" for i in range(rows)]),
        "row": pa.array([0] * rows, pa.int64()),
        "version": pa.array([1] * rows, pa.int64()),
        "latency_ms": pa.array([1.0] * rows),
        "probability": pa.array([0.5] * rows),
        "probabilities": pa.array([[0.5, 0.5]] * rows, META.field("probabilities").type),
    }
    features = {INPUT + name: pa.array(chance.normal(size=rows)) for name in names}
    schema = pa.schema([*META, *(pa.field(name, pa.float64()) for name in features)])
    columns = [arrays[name] for name in META.names] + [*features.values()]
    facts = {"classes": ["a", "b"], "positive": "a"}
    write(day_folder(folder, moment.date()), pa.table(columns, schema=with_facts(schema, facts)))


def main() -> None:
    options = parser("drift", __doc__)
    options.add_argument("--references", type=positive, default=200, help="drawn for each table (200)")
    options.add_argument("--windows", type=positive, default=20, help="clean ones for each reference (20)")
    options.add_argument("--tries", type=positive, default=5, help="of each kind of drift for each reference (5)")
    options.add_argument("--tfdv", type=int, default=0, help="windows to hold TFDV's comparator against (0)")
    options.add_argument("--large-in", type=Path, help="only check a million rows, written to this folder")
    chosen = options.parse_args()
    if chosen.large_in:
        print(json.dumps(large(chosen.large_in)))
        return
    outcomes = [
        (world, measure(world, rows, chosen.references, chosen.windows, chosen.tries))
        for world in worlds()
        for rows in (500, 100)
    ]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.drift", "--large-in", folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=True)
    size = json.loads(done.stdout)
    others = list(compared(worlds()[0], 500, chosen.tfdv)) if chosen.tfdv else []
    kept = _bars(outcomes, size)
    finish(
        _tables(outcomes, size, others, kept),
        {"outcomes": [{"table": w.name, **asdict(o)} for w, o in outcomes], "large": size},
        chosen.out,
        passed=all(kept.values()),
    )


def _bars(outcomes: Sequence[tuple[World, Outcome]], size: Mapping[str, float]) -> dict[str, bool]:
    kept = {}
    for world, outcome in outcomes:
        if outcome.rows == 500:
            kept[f"findings of 100 clean windows, {world.name}"] = outcome.findings_of_100 <= MOST_FINDINGS
            kept[f"days with an alarm of 100, {world.name}"] = outcome.alarms_of_100 <= MOST_ALARMS
            kept[f"0.5 σ detected, {world.name}"] = outcome.share("0.5 σ in one number") >= LEAST_DETECTED
    kept["a million rows"] = size["processor_s"] <= MOST_SECONDS and size["peak_mb"] <= MOST_MB
    return kept


def _tables(
    outcomes: Sequence[tuple[World, Outcome]],
    size: Mapping[str, float],
    others: Sequence[tuple[str, float, float]],
    kept: Mapping[str, bool],
) -> str:
    titles = [
        "table",
        "rows",
        "clean windows",
        "findings of 100",
        "windows with any, of 100",
        "in the worst reference",
        "days with an alarm, of 100",
        *CASES,
        PRIOR,
    ]
    rows = [
        [
            world.name,
            o.rows,
            o.windows,
            f"{o.findings_of_100:.2f}",
            f"{100 * o.odd_windows / o.windows:.2f}",
            o.worst_reference,
            f"{o.alarms_of_100:.2f}",
            *(f"{o.share(case):.3f}" if case in o.detected else "" for case in (*CASES, PRIOR)),
        ]
        for world, o in outcomes
    ]
    parts = [table(titles, rows)]
    parts.append(
        table(
            ["a million rows of 30 numbers", ""],
            [
                ["read from the log and checked, s of the processor", f"{size['processor_s']:.2f}"],
                ["by the clock, s", f"{size['seconds']:.2f}"],
                ["peak of the process, MB", f"{size['peak_mb']:.0f}"],
            ],
        )
    )
    if others:
        parts.append(
            table(
                ["TFDV, 500 rows, 30 numbers", "clean windows of 100 with an alarm", "0.5 σ detected"],
                [[name, f"{odd:.0f}", f"{found:.2f}"] for name, odd, found in others],
            )
        )
    parts.append(table(["bar", ""], [[name, verdict(is_kept)] for name, is_kept in kept.items()]))
    return "\n\n".join(parts)


if __name__ == "__main__":
    start(main)
