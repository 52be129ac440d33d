"""Measure the web app: beside its model server, beside an older commit of itself, under a flood, and under faults.

All run as `make demo` starts them, in turn, on the same cores as the load generator: ratios within a turn count, not
the figures. The model server is this checkout's for both web apps.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from bench.commit import HERE, WebApp, checkout, copy_model, web_app
from bench.load import Load, Shot, drive, require_generator, wait_until_idle
from bench.model_server import ROW, Bodies
from bench.report import RunFailed, finish, parser, positive, say, start, table, verdict
from bench.serving import newest
from bench.webapp_faults import Fault, faults
from bench.webapp_faults import markdown as faults_markdown
from common.paths import Paths, var_root
from serving.launch.launcher import Start, launch

PEAK = 32  # requests at once where throughput is at its height
FLOOD = 512  # connections that offer three times the peak
FLOOD_PROCESSES = 16  # that send it: each costs as much as some hundred requests to start
CSV_ROWS = 100_000
ANSWER_S = 120.0


@dataclass(frozen=True)
class Turn:
    """What one turn saw. `half`: at half of the peak; `older_half`: of the other commit, at the same rate."""

    alone: Load  # one client
    direct: Load  # one client of the model server itself
    peak: Load
    half: Load
    flood: Load
    csv_s: float
    older_peak: Load | None = None
    older_half: Load | None = None


def main() -> None:
    options = parser("webapp", __doc__)
    options.add_argument("--model", default="breast_cancer", help="whose newest pushed version is used (%(default)s)")
    options.add_argument("--beside", metavar="COMMIT", help="measure this commit's web app, too, in turn")
    options.add_argument("--turns", type=positive, default=3, help="turns (%(default)s)")
    options.add_argument("--seconds", type=float, default=4.0, help="of each load (%(default)s)")
    options.add_argument("--scratch", type=Path, default=Path(".tools/bench_webapp"), help="folder for state and logs")
    given = options.parse_args()
    require_generator()
    base = Paths(var_root(), given.model).serving
    newest(base)
    with _field(base, given.scratch.resolve(), given.beside) as field:
        turns = [field.turn(number, given.seconds) for number in range(1, given.turns + 1)]
        hurt = field.faults()
    result = summary(turns)
    numbers = {"turns": [asdict(t) for t in turns], "bars": result, "faults": [asdict(f) for f in hurt]}
    passed = all(bar["kept"] for bar in result.values()) and all(fault.is_kept for fault in hurt)
    finish(f"{markdown(result)}\n\n{faults_markdown(hurt)}", numbers, given.out, passed=passed)


@dataclass(frozen=True)
class Field:
    """A model server and the web apps before it, running."""

    app: WebApp
    older: WebApp | None
    direct: Shot
    body: Path
    csv: bytes
    server_pid: int
    faults: Callable[[], list[Fault]]

    def turn(self, number: int, seconds: float) -> Turn:
        """Drive all, in the order in which each needs the figure before it."""
        alone = self._quiet(drive(self._page(self.app), 1, seconds))
        direct = self._quiet(drive(self.direct, 1, seconds))
        peak = self._quiet(drive(self._page(self.app), PEAK, seconds))
        older_peak = self._quiet(drive(self._page(self.older), PEAK, seconds)) if self.older else None
        half = self._quiet(drive(self._page(self.app), PEAK, seconds, peak.per_s / 2))
        older_half = None
        if self.older:
            older_half = self._quiet(drive(self._page(self.older), PEAK, seconds, peak.per_s / 2))
        flood = self._quiet(drive(self._page(self.app), FLOOD, seconds, 3 * peak.per_s, generators=FLOOD_PROCESSES))
        turn = Turn(alone, direct, peak, half, flood, self._score_csv(), older_peak, older_half)
        older = f" ({older_peak.per_s:,.0f}/s, {older_half.p99_ms:.0f} ms)" if older_peak and older_half else ""
        say(
            f"turn {number}: one client {alone.p50_ms:.2f} ms, the model server {direct.p50_ms:.2f}; peak "
            f"{peak.per_s:,.0f}/s, p99 at half of it {half.p99_ms:.0f} ms{older}; three times the peak offered: "
            f"{flood.per_s:,.0f}/s answered, {flood.refused:,} refused, generator {flood.generator_s:.1f} s of the "
            f"processors ({peak.generator_s:.1f} at the peak); {CSV_ROWS:,} rows of CSV in {turn.csv_s:.1f} s"
        )
        return turn

    def _page(self, app: WebApp) -> Shot:
        return Shot(f"{app.url}/api/v1/predict", self.body, may_miss=True)

    def _quiet(self, load: Load) -> Load:
        for pid in (self.app.pid, self.server_pid, *([self.older.pid] if self.older else [])):
            wait_until_idle(pid)
        return load

    def _score_csv(self) -> float:
        headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
        began = time.monotonic()
        answer = requests.post(f"{self.app.url}/api/v1/predict/csv", self.csv, headers=headers, timeout=ANSWER_S)
        took_s = time.monotonic() - began
        rows = answer.content.count(b"\n") - 1
        if not answer.ok or rows != CSV_ROWS:
            raise RunFailed("not every row of the CSV was scored", got=f"{answer.status_code}, {rows} rows")
        wait_until_idle(self.app.pid)
        return took_s


@contextmanager
def _field(base: Path, scratch: Path, beside: str | None) -> Iterator[Field]:
    shutil.rmtree(scratch, ignore_errors=True)
    own, older, hurt = scratch / "own", scratch / "older", scratch / "faults"
    copy_model(base, own)
    bodies = Bodies(newest(base), scratch / "bodies")
    rows = [dict(zip(bodies.columns, values, strict=True)) for values in zip(*bodies.columns.values(), strict=True)]
    body = scratch / "row.json"
    body.write_text(json.dumps({"model": base.name, "rows": rows[:1]}))
    with ExitStack() as stack:
        server = stack.enter_context(launch(Start(own / "serving", rest_port=0, grpc_port=0)))
        older_app = None
        if beside:
            commit = stack.enter_context(checkout(beside, Path(stack.enter_context(tempfile.TemporaryDirectory()))))
            copy_model(own / "serving" / base.name, older, for_an_older_commit=True)
            older_app = stack.enter_context(web_app(commit, older, server.addresses))
        app = stack.enter_context(web_app(HERE, own, server.addresses))
        copy_model(own / "serving" / base.name, hurt)
        direct = Shot(f"{server.addresses.rest}/v1/models/{base.name}/labels/stable:predict", bodies.rest(ROW))
        yield Field(
            app,
            older_app,
            direct,
            body,
            _csv(rows),
            server.process.pid,
            lambda: faults(hurt, server.addresses, base.name, rows[0]),
        )


def _csv(rows: list[dict[str, Any]]) -> bytes:
    """Return a file of CSV_ROWS rows with an id that nobody knows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["id", *rows[0]])
    writer.writeheader()
    for number in range(CSV_ROWS):
        writer.writerow({"id": number, **rows[number % len(rows)]})
    return text.getvalue().encode()


def summary(turns: Sequence[Turn]) -> dict[str, dict[str, Any]]:
    """Return each bar with the median of the turns, and whether it was kept."""
    ratios: dict[str, tuple[list[float], str, float]] = {
        "p50 with one client, of the model server's own": (
            [turn.alone.p50_ms / turn.direct.p50_ms for turn in turns],
            "at most",
            3.5,
        ),
        "peak, of the older commit's": (
            [turn.peak.per_s / turn.older_peak.per_s for turn in turns if turn.older_peak],
            "at least",
            0.7,
        ),
        "p99 at half of the peak, of the older commit's": (
            [turn.half.p99_ms / turn.older_half.p99_ms for turn in turns if turn.older_half],
            "at most",
            1.5,
        ),
        "answered of the peak, three times offered": (
            [turn.flood.per_s / turn.peak.per_s for turn in turns],
            "at least",
            0.9,
        ),
        f"{CSV_ROWS:,} rows of CSV, s": ([turn.csv_s for turn in turns], "at most", 3.0),
    }
    return {
        name: {
            "seen": (seen := statistics.median(values)),
            "from": min(values),
            "to": max(values),
            "wanted": wanted,
            "sense": sense,
            "kept": seen <= wanted if sense == "at most" else seen >= wanted,
        }
        for name, (values, sense, wanted) in ratios.items()
        if values
    }


def markdown(result: dict[str, dict[str, Any]]) -> str:
    rows = [
        (
            name,
            f"{bar['seen']:.2f} ({bar['from']:.2f} to {bar['to']:.2f})",
            f"{bar['sense']} {bar['wanted']:g}",
            verdict(bar["kept"]),
        )
        for name, bar in result.items()
    ]
    return table(("bar", "seen (median of the turns)", "wanted", ""), rows)


if __name__ == "__main__":
    start(main)
