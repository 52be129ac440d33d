"""Rows must agree between steps: TFDV can lose some silently (tensorflow/data-validation#247)."""

from __future__ import annotations

from collections.abc import Mapping

from components.data_gate.finding import RawFinding


def row_losses(written: Mapping[str, int], statistics: Mapping[str, int], read: Mapping[str, int]) -> list[RawFinding]:
    """Compare the rows that ExampleGen wrote, StatisticsGen saw and this gate read.

    `written` holds `rows_in` and `rows_<split>` where ExampleGen left them; what it does not hold is not compared.
    """
    findings = []
    steps = {f"rows_{split}": rows for split, rows in read.items()} | {"rows_in": sum(read.values())}
    for key, rows in steps.items():
        counts_by_step = {"ExampleGen wrote": written.get(key), "this gate read": rows}
        if key != "rows_in":
            counts_by_step["StatisticsGen saw"] = statistics.get(key.removeprefix("rows_"), 0)
        counts_by_step = {step: count for step, count in counts_by_step.items() if count is not None}
        if len(set(counts_by_step.values())) > 1:
            what = "in all splits" if key == "rows_in" else f"in {key.removeprefix('rows_')}"
            listed = ", ".join(f"{step} {count}" for step, count in counts_by_step.items())
            findings.append(
                RawFinding(
                    "ROW_LOSS",
                    f"The numbers of rows {what} differ: {listed}",
                    details={**counts_by_step},
                    cure="Run again without the cache, and with Beam's default runner",
                )
            )
    return findings
