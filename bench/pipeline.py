"""Compare the whole pipeline with a plain Keras script.

Each run is a fresh process tree with fresh state on disk, in turn, after one of each that is not counted. Ratios are
taken within a turn, so that a slow minute of the machine slows both. Both run all epochs: early stopping, which depends
on chance, is off. Wall and CPU seconds and peak memory (of the largest process) are the kernel's, for the process and
all its children.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.report import ROOT, RunFailed, finish, parser, positive, say, start, table, verdict
from common.errors import ConfigError
from common.files import write_text
from config.load import load_settings
from config.settings import Settings

OURS, PLAIN = "ours", "plain Keras"
BAR = 2.5  # most that ours may take, in times of the rival's wall clock
ALL_EPOCHS = "model.early_stopping_patience=0"


@dataclass(frozen=True)
class Run:
    contender: str
    turn: int
    wall_s: float
    cpu_s: float
    peak_mb: float


def main() -> None:
    options = arguments().parse_args()
    overrides = [*options.overrides, ALL_EPOCHS]
    settings = plain_settings(load_settings(options.config, overrides))
    runs = measure(options.config, overrides, settings, options.runs, options.scratch)
    result = summary(runs)
    numbers = {"runs": [asdict(run) for run in runs], **result}
    finish(markdown(runs, result), numbers, options.out, passed=result["passed"])


def arguments() -> argparse.ArgumentParser:
    options = parser("pipeline", __doc__)
    options.add_argument("--runs", type=positive, default=3, help="counted turns (%(default)s)")
    options.add_argument("--config", type=Path, default=Path("config/breast_cancer"), help="%(default)s")
    options.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="override a setting, for both"
    )
    options.add_argument("--scratch", type=Path, help="folder for state and logs, kept; default: a temporary one")
    return options


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings as the rival reads them.

    Raises ConfigError for what the rival does not do, because then the work would differ.
    """
    unfair = {
        "data.classes": not settings.data.is_binary,
        "data.format": settings.data.format != "csv",
        "data.source": not (isinstance(settings.data.source, Path) and settings.data.source.is_file()),
        "split.group_by": settings.split.group_by is not None,
        "categorical": bool(settings.categorical),
        "model.class_weights": settings.model.class_weights != "none",
        "tuner.enabled": settings.tuner.enabled,
    }
    keys = [key for key, is_unfair in unfair.items() if is_unfair]
    if keys:
        raise ConfigError(
            "the plain script cannot do this configuration's work",
            got=", ".join(keys),
            wanted="two classes and numbers from one CSV file, plain training",
        )
    values = settings.model_dump(mode="json", by_alias=True)
    values["data"]["positive"] = settings.data.positive_class
    return values


def measure(
    config: Path, overrides: Sequence[str], settings: dict[str, Any], turns: int, scratch: Path | None
) -> list[Run]:
    """Run both in turn, one turn more than is counted, and return the counted runs."""
    runs = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = (scratch or Path(temporary)).resolve()
        file = folder / "settings.json"
        write_text(file, json.dumps(settings))
        for turn in range(turns + 1):
            for contender in (OURS, PLAIN):
                out = folder / f"{turn}-{contender.split()[0].lower()}"
                shutil.rmtree(out, ignore_errors=True)
                run = run_once(contender, command(contender, config, overrides, file, out), turn, out)
                say(f"{f'turn {turn}' if turn else 'warm-up'}: {contender} {run.wall_s:.1f} s")
                runs.append(run)
    return [run for run in runs if run.turn > 0]


def command(contender: str, config: Path, overrides: Sequence[str], settings: Path, out: Path) -> list[str]:
    if contender == OURS:
        sets = [word for override in overrides for word in ("--set", override)]
        return [sys.executable, str(ROOT / "local_runner.py"), "run", str(config.resolve()), *sets]
    return [sys.executable, "-m", "bench.rivals.plain_keras", "train", str(settings), str(out / "result")]


def run_once(contender: str, words: Sequence[str], turn: int, out: Path) -> Run:
    """Run one process tree to its end, its output in `out/log`, and return what it took.

    Raises RunFailed if it does not exit with 0.
    """
    out.mkdir(parents=True)
    environment = {
        **os.environ,
        "VOUCH_VAR": str(out / "var"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # bytecode is compiled at set-up, as a user has it
    log = out / "log"
    with log.open("wb") as file:
        started = time.monotonic()
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise RunFailed(
            f"{contender} ended with exit code {process.returncode}", got=tail, fix="run it alone: " + " ".join(words)
        )
    return Run(contender, turn, wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def ratios(runs: Sequence[Run], unit: str) -> list[float]:
    """Return ours over the plain script's for each turn; `unit` is `wall_s` or `cpu_s`."""
    taken = {(run.contender, run.turn): getattr(run, unit) for run in runs}
    turns = sorted({run.turn for run in runs})
    return [taken[OURS, turn] / taken[PLAIN, turn] for turn in turns]


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    wall = ratios(runs, "wall_s")
    return {
        "wall": wall,
        "cpu": ratios(runs, "cpu_s"),
        "bar": BAR,
        "cores": os.cpu_count(),
        "passed": statistics.median(wall) <= BAR,
    }


def markdown(runs: Sequence[Run], result: dict[str, Any]) -> str:
    each_run = [
        (run.contender, run.turn, f"{run.wall_s:.1f}", f"{run.cpu_s:.1f}", f"{run.peak_mb:.0f}")
        for run in sorted(runs, key=lambda run: run.contender)
    ]
    compared = []
    for unit, bar in (("wall", (f"≤ {result['bar']:.2f}", verdict(result["passed"]))), ("cpu", ("", ""))):
        values = result[unit]
        spread = (f"{value:.2f}" for value in (min(values), statistics.median(values), max(values)))
        compared.append((unit, ", ".join(f"{value:.2f}" for value in values), *spread, *bar))
    titles = ("ours over plain Keras by", "each turn", "min", "median", "max", "bar", "")
    return f"{table(('run', 'turn', 'wall s', 'CPU s', 'peak MB'), each_run)}\n\n{table(titles, compared)}"


if __name__ == "__main__":
    start(main)
