"""Print runs and verdicts for people, or as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Column, Table

from common.paths import Paths, var_root
from components.verdict import Verdict
from pipeline.history.runs import find_run, list_runs, verdicts

GATES = {"data": "data gate", "evaluation": "evaluation gate", "serving": "serving gate"}


def show_runs(model: str | None, limit: int, as_json: bool) -> None:
    runs = list_runs(Paths(var_root(), model or "").metadata, model)[:limit]
    if as_json:
        rows = [
            {
                "run_id": r.run_id,
                "model": r.model,
                "started": r.started.isoformat(),
                "state": r.state,
                "seconds": r.seconds,
                "version": r.pushed_version,
                "steps": {s.component: {"state": s.state, "seconds": s.seconds} for s in r.steps},
            }
            for r in runs
        ]
        print(json.dumps(rows, indent=2))
        return
    console = Console(highlight=False)
    if not runs:
        console.print("no runs yet: local_runner.py run config/NAME")
        return
    table = Table(Column("run", no_wrap=True), "model", "state", "version", "ran/cached", "seconds")
    for run in runs:
        ran = sum(step.state == "COMPLETE" for step in run.steps)
        cached = sum(step.state == "CACHED" for step in run.steps)
        version = str(run.pushed_version or "–")
        table.add_row(run.run_id, run.model, run.state, version, f"{ran}/{cached}", f"{run.seconds:.1f}")
    console.print(table)


def explain_run(run_id: str | None, model: str | None, as_json: bool) -> None:
    """Print what each gate said and how far the run got."""
    paths = Paths(var_root(), model or "")
    run = find_run(paths.metadata, run_id, model)
    judged = verdicts(run, Paths(paths.var, run.model).run(run.run_id))
    if as_json:
        values = {
            "run_id": run.run_id,
            "model": run.model,
            "state": run.state,
            "version": run.pushed_version,
            "verdicts": [asdict(verdict) for verdict in judged],
        }
        print(json.dumps(values, indent=2))
        return
    console = Console(highlight=False)
    outcome = f"pushed as version {run.pushed_version}" if run.pushed_version else "not pushed"
    console.print(f"[bold]{run.model}[/], run {run.run_id}: {run.state}, {outcome}", soft_wrap=True)
    for step in run.steps:
        if step.state not in ("COMPLETE", "CACHED"):
            console.print(
                f"  {step.component} ended as {step.state}; the log says more: "
                f"{Paths(paths.var, run.model).run(run.run_id) / 'run.log'}",
                soft_wrap=True,
            )
    print_verdicts(console, judged, details=True)


def print_verdicts(console: Console, judged: Sequence[Verdict], *, details: bool = False) -> None:
    """Print one line a gate, and its findings with `details` or if it refused."""
    console.print()
    for verdict in judged:
        mark = "[green]passed [/]" if verdict.passed else "[red]refused[/]"
        console.print(f"{mark} {GATES[verdict.gate]}: {verdict.sentence}", soft_wrap=True)
        if verdict.override:
            console.print(f"        overridden: {verdict.override}", soft_wrap=True, style="yellow")
        for finding in verdict.findings:
            if details or (finding.severity == "error"):
                console.print(f"        {finding.severity:<5} {finding.kind}: {finding.sentence}", soft_wrap=True)
