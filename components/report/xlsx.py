"""The report's numbers as a workbook. Text from data never becomes a formula."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from components.evaluation.bounds import Metric
from components.report.facts import Facts

Row = Sequence[Any]
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # OWASP, CSV injection
MAX_TEXT = 32_767  # Excel's limit of a cell
BOUNDS = ("", " at least", " at most")


def write_xlsx(facts: Facts, path: Path) -> None:
    from openpyxl import Workbook
    from openpyxl.utils import get_column_letter

    book = Workbook(write_only=True)
    for title, rows in _sheets(facts).items():
        sheet = book.create_sheet(title)
        sheet.freeze_panes = "A2"
        table = [list(row) for row in rows]
        for index, width in enumerate(_widths(table), 1):
            sheet.column_dimensions[get_column_letter(index)].width = width
        for number, row in enumerate(table):
            sheet.append([_cell(sheet, value, is_header=number == 0) for value in row])
    book.save(path)


def _sheets(facts: Facts) -> dict[str, Iterable[Row]]:
    names = [m.title + bound for m in facts.metrics for bound in BOUNDS]
    return {
        "Summary": _summary(facts),
        "Metrics": [
            ("Metric", "Value", "At least", "At most", "Asked", "Met"),
            *((m.title, m.value, m.lower, m.upper, m.asked, m.is_met) for m in facts.metrics),
        ],
        "Confusion": [
            ("True class", *(f"called {name}" for name in facts.classes)),
            *((name, *row) for name, row in zip(facts.classes, facts.confusion, strict=True)),
        ],
        "Slices": [("Slice", "Rows", *names), *((s.name, s.rows, *_flat(s.metrics)) for s in facts.slices)],
        "Baselines": [
            ("Model", "Rows fitted", "Rows judged", "Threshold", *names),
            ("This network", None, facts.test_rows, _threshold(facts), *_flat(facts.metrics)),
            *((b.name, b.fit_rows, b.test_rows, b.threshold, *_flat(b.metrics)) for b in facts.baselines),
        ],
        "Data": _data(facts),
        "History": [
            ("Epoch", *facts.history.values),
            *((i + 1, *(_at(v, i) for v in facts.history.values.values())) for i in range(facts.history.epochs)),
        ],
        "Gates": [
            ("Gate", "Passed", "Severity", "Kind", "Feature", "Sentence"),
            *(row for v in facts.verdicts for row in _gate(v)),
        ],
    }


def _summary(facts: Facts) -> Iterable[Row]:
    yield "What", "Value"
    yield "Model", facts.name
    yield "Run", facts.run_id
    yield "Written (UTC)", facts.created
    yield "Outcome", facts.headline
    yield from (("Because", reason) for reason in facts.reasons)
    yield from (("Override", override) for override in facts.overrides)
    yield "Source", facts.source
    yield "Rows read", facts.rows_in
    yield "Data digest", facts.source_digest
    yield "Settings hash", facts.settings_hash
    yield "Seed", facts.seed
    yield "Decision threshold", _threshold(facts)
    yield "Layer widths saved", "-".join(map(str, facts.network.saved))
    yield "As configured", facts.network.is_as_configured
    yield from ((f"Seconds: {s.component}", s.seconds if s.state == "COMPLETE" else s.state) for s in facts.stages)
    yield from facts.environment.items()


def _data(facts: Facts) -> Iterable[Row]:
    yield "Split", "Rows", *facts.classes
    for split in facts.splits:
        yield split.name, split.rows, *(split.class_counts.get(name, 0) for name in facts.classes)
    yield ()
    yield "Feature", "Kind", "Unit", "Missing", "Least", "Mean", "Most", "Deviation", "Distinct"
    for f in facts.features:
        yield f.name, f.kind, f.unit, f.missing, f.minimum, f.mean, f.maximum, f.deviation, f.distinct
    if facts.anomalies:
        yield ()
        yield "Anomaly in", "Feature", "Kind", "What"
        yield from ((a.split, a.feature, a.kind, a.sentence) for a in facts.anomalies)


def _gate(verdict: Any) -> Iterable[Row]:
    yield verdict.gate, verdict.passed, None, None, None, verdict.sentence
    for finding in verdict.findings:
        yield verdict.gate, None, finding.severity, finding.kind, finding.feature, finding.sentence


def _threshold(facts: Facts) -> float | None:
    return facts.operating_point.threshold if facts.operating_point else None


def _flat(metrics: Iterable[Metric]) -> list[float]:
    return [value for m in metrics for value in (m.value, m.lower, m.upper)]


def _at(values: Sequence[float], index: int) -> float | None:
    return values[index] if index < len(values) else None


def _widths(table: list[list[Any]]) -> list[float]:
    columns = max((len(row) for row in table), default=0)
    longest = [max((len(str(row[i])) for row in table if i < len(row)), default=0) for i in range(columns)]
    return [min(max(length + 2, 9), 60) for length in longest]


def _cell(sheet: Any, value: Any, *, is_header: bool) -> Any:
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
    from openpyxl.styles import Font

    if isinstance(value, float) and not math.isfinite(value):
        value = None
    if not isinstance(value, str):
        return value if not is_header else WriteOnlyCell(sheet, value)
    text = ILLEGAL_CHARACTERS_RE.sub("", value)[:MAX_TEXT]
    if not is_header and not text.startswith(FORMULA_STARTS):
        return text
    cell = WriteOnlyCell(sheet, text)
    cell.data_type = "s"  # openpyxl takes a leading = for a formula
    cell.quotePrefix = text.startswith(FORMULA_STARTS)  # stays text when edited or saved as CSV
    if is_header:
        cell.font = Font(bold=True)
    return cell
