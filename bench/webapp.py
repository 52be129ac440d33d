"""Measure what the web app adds to its model server, what it does when far too much is asked, and how it scores a CSV.

Both run as `make demo` starts them. All in one run on the same cores as the load generator, so ratios and differences
within a run count, not the figures.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from bench.bodies import ROW, Bodies
from bench.load import Load, Shot, drive, drive_at, require_generator
from bench.pipeline import RunFailed, positive
from bench.processes import Command, end_on_sigterm, running, wait_until, wait_until_idle
from bench.serving import newest, say
from common.errors import VouchError
from common.files import write_text
from common.paths import Paths, var_root
from serving.launch.launcher import Start, launch

PEAK = 32  # requests at once where throughput is at its height
FLOOD = 512  # connections that offer three times the peak
ADDED_P50_MS, ADDED_P99_MS, GOODPUT, CSV_S = 1.5, 10.0, 0.9, 5.0
CSV_ROWS = 100_000
START_S, ANSWER_S = 60.0, 120.0


@dataclass(frozen=True)
class Turn:
    """What one turn saw. `direct` is the model server alone, at the same rate as `half`."""

    peak: Load
    half: Load
    direct: Load
    flood: Load
    offered_per_s: float
    csv_s: float
    csv_rows: int

    @property
    def added_ms(self) -> tuple[float, float]:
        """What the web app adds at half of its peak: p50, p99."""
        return self.half.p50_ms - self.direct.p50_ms, self.half.p99_ms - self.direct.p99_ms

    @property
    def goodput(self) -> float:
        """Share of the peak that is answered well when three times the peak is offered."""
        return self.flood.per_s / self.peak.per_s


def main() -> None:
    """Measure, print a Markdown table, and fail if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.webapp", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="breast_cancer", help="whose newest pushed version is used (%(default)s)")
    parser.add_argument("--turns", type=positive, default=3, help="turns (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load (%(default)s)")
    parser.add_argument("--scratch", type=Path, default=Path(".tools/bench_webapp"), help="folder for state and logs")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    options = parser.parse_args()
    end_on_sigterm()
    try:
        require_generator()
        base = Paths(var_root(), options.model).serving
        newest(base)
        with ExitStack() as stack:
            field = stack.enter_context(_field(base, options.scratch.resolve()))
            turns = [field.turn(number, options.seconds) for number in range(1, options.turns + 1)]
    except VouchError as error:
        sys.exit(f"error: {error}")
    result = summary(turns)
    print(markdown(result))
    if options.out:
        result_text = json.dumps({"turns": [asdict(turn) for turn in turns], "bars": result}, indent=2)
        write_text(options.out, f"{result_text}\n")
    sys.exit(0 if all(bar["kept"] for bar in result.values()) else 1)


@dataclass(frozen=True)
class Field:
    """A model server and a web app before it, running."""

    page: Shot
    direct: Shot
    upload_url: str
    csv: bytes
    server_pid: int
    web_pid: int

    def turn(self, number: int, seconds: float) -> Turn:
        """Drive both, in the order in which each needs the figure before it."""
        peak = self._quiet(drive(self.page, PEAK, seconds))
        half = self._quiet(drive_at(self.page, PEAK, seconds, peak.per_s / 2))
        direct = self._quiet(drive_at(self.direct, PEAK, seconds, peak.per_s / 2))
        offered = 3 * peak.per_s
        flood = self._quiet(drive_at(self.page, FLOOD, seconds, offered))
        csv_s, rows = self._score_csv()
        turn = Turn(peak, half, direct, flood, offered, csv_s, rows)
        say(
            f"turn {number}: peak {peak.per_s:,.0f}/s; at half of it p50 {half.p50_ms:.2f}, p99 {half.p99_ms:.1f} ms, "
            f"the model server alone {direct.p50_ms:.2f} and {direct.p99_ms:.1f}; three times the peak offered: "
            f"{flood.per_s:,.0f}/s answered; {rows:,} rows of CSV in {csv_s:.1f} s"
        )
        return turn

    def _quiet(self, load: Load) -> Load:
        wait_until_idle(self.web_pid)
        wait_until_idle(self.server_pid)
        return load

    def _score_csv(self) -> tuple[float, int]:
        began = time.monotonic()
        answer = requests.post(
            self.upload_url, data=self.csv, headers={"Content-Type": "text/csv", "Accept": "text/csv"}, timeout=ANSWER_S
        )
        took_s = time.monotonic() - began
        rows = answer.content.count(b"\n") - 1
        if not answer.ok or rows != CSV_ROWS:
            raise RunFailed("not every row of the CSV was scored", got=f"{answer.status_code}, {rows} rows")
        wait_until_idle(self.web_pid)
        return took_s, rows


@contextmanager
def _field(base: Path, scratch: Path) -> Iterator[Field]:
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "var").mkdir(parents=True)
    shutil.copytree(base, scratch / "var" / "serving" / base.name)
    model = base.name
    bodies = Bodies(newest(base), scratch / "bodies")
    rows = [dict(zip(bodies.columns, values, strict=True)) for values in zip(*bodies.columns.values(), strict=True)]
    body = scratch / "row.json"
    body.write_text(json.dumps({"model": model, "rows": rows[:1]}))
    with launch(Start(scratch / "var" / "serving", rest_port=0, grpc_port=0)) as server:
        words = [sys.executable, "-m", "webapp", "--port", "0"]
        environment = {
            "VOUCH_VAR": str(scratch / "var"),
            "VOUCH_MODEL_SERVER_REST": server.addresses.rest,
            "VOUCH_MODEL_SERVER_GRPC": server.addresses.grpc,
            "VOUCH_RATE_LIMIT": "",
        }
        command = Command(words, scratch / "webapp.log", environment=environment)
        with running(command) as web:
            wait_until(lambda: _is_ready(command.log), web, command, START_S)
            url = _url(command.log)
            direct = Shot(f"{server.addresses.rest}/v1/models/{model}/labels/stable:predict", bodies.rest(ROW))
            page = Shot(f"{url}/api/v1/predict", body, may_miss=True)
            upload = f"{url}/api/v1/predict/csv?model={model}"
            yield Field(page, direct, upload, _csv(rows), server.process.pid, web.pid)


def _url(log: Path) -> str:
    match = re.search(r"http://[\d.:]+", log.read_text(encoding="utf-8"))
    return match[0] if match else ""


def _is_ready(log: Path) -> bool:
    with suppress(requests.RequestException):
        return bool(url := _url(log)) and requests.get(f"{url}/readyz", timeout=5).ok
    return False


def _csv(rows: list[dict[str, Any]]) -> bytes:
    """Return a file of CSV_ROWS rows with an id that nobody knows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["id", *rows[0]])
    writer.writeheader()
    for number in range(CSV_ROWS):
        writer.writerow({"id": number, **rows[number % len(rows)]})
    return text.getvalue().encode()


def summary(turns: list[Turn]) -> dict[str, dict[str, Any]]:
    """Return each bar with the median of the turns, and whether it was kept."""

    def median(values: list[float]) -> float:
        return sorted(values)[len(values) // 2]

    bars = {
        "p50 added at half of the peak, ms": (median([turn.added_ms[0] for turn in turns]), "at most", ADDED_P50_MS),
        "p99 added at half of the peak, ms": (median([turn.added_ms[1] for turn in turns]), "at most", ADDED_P99_MS),
        "answered of the peak, three times offered": (median([turn.goodput for turn in turns]), "at least", GOODPUT),
        f"{CSV_ROWS:,} rows of CSV, s": (median([turn.csv_s for turn in turns]), "at most", CSV_S),
    }
    return {
        name: {
            "seen": seen,
            "wanted": wanted,
            "sense": sense,
            "kept": seen <= wanted if sense == "at most" else seen >= wanted,
        }
        for name, (seen, sense, wanted) in bars.items()
    }


def markdown(result: dict[str, dict[str, Any]]) -> str:
    lines = ["| bar | seen | wanted | |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {bar['seen']:.2f} | {bar['sense']} {bar['wanted']:g} | {'kept' if bar['kept'] else '**missed**'} |"
        for name, bar in result.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
