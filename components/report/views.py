"""What people see of a run: the report's page, the model card, a workbook of the numbers.

The page is one HTML file that needs nothing else. The card is Hugging Face's: a YAML head, then Markdown (Mitchell et
al. 2019; https://huggingface.co/docs/hub/model-cards). In the workbook text from data never becomes a formula.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.draw.charts import STYLE, Chart
from common.errors import ConfigError
from components.evaluation.baselines import Baseline
from components.evaluation.bounds import Metric
from components.report import figures
from components.report.facts import Facts
from config.gate_settings import LOSSES

HTML_TEMPLATE, CARD_TEMPLATE = "report.html.j2", "model_card.md.j2"
Row = Sequence[Any]
ONE_TABLE = {"Metrics", "Slices", "Baselines", "History", "Curves", "Lineage", "Gates"}  # sheets that can be filtered
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # OWASP, CSV injection
MAX_TEXT = 32_767  # Excel's limit of a cell
HUB_METRICS = {"auc": "roc_auc", "binary_accuracy": "accuracy"}  # ids of Hugging Face's where they are others
BOUNDS = ("", " at least", " at most")
BEHIND = ("at least", "at most")


def render_html(facts: Facts) -> str:
    template = _environment().get_template(HTML_TEMPLATE)
    return template.render(
        facts=facts,
        mistakes=facts.mistakes,
        learning=_drawn(figures.learning_curves(facts)),
        discrimination=_drawn([figures.roc(facts), figures.precision_recall(facts)]),
        calibration=_drawn(figures.calibrations(facts)),
        predictions=figures.predictions(facts),
        histograms=figures.histograms(facts),
        scale_start=scale_start(facts.metrics),
        stage_seconds=sum(stage.seconds for stage in facts.stages),
        chart_style=Markup(STYLE.read_text(encoding="utf-8")),
        longest=max((stage.seconds for stage in facts.stages), default=0.0),
    )


def render_card(facts: Facts) -> str:
    """Return the model card. Raises ConfigError naming what is empty: a card with holes vouches for nothing."""
    if empty := [what for what, text in (("name", facts.name), ("run id", facts.run_id)) if not text.strip()]:
        raise ConfigError(
            "the model card is not complete",
            got=f"nothing for {', '.join(empty)}",
            wanted="text in every section",
            fix="fill `title` and `description` in pipeline.yaml and run again",
        )
    test = next((s for s in facts.splits if s.name == "test" and s.class_counts), None)
    own = ["This network", *(_bounded(m) for m in facts.metrics)]
    template = _environment().get_template(CARD_TEMPLATE)
    card = template.render(
        facts=facts,
        head=yaml.safe_dump(_card_head(facts), sort_keys=False, allow_unicode=True),
        rarest=min(test.class_counts.items(), key=lambda pair: pair[1]) if test else None,
        split_rows=[[s.name, s.rows, *(s.class_counts.get(c, 0) for c in facts.classes)] for s in facts.splits],
        feature_rows=[
            [f"`{_code(f.name)}`", _cell(f.unit), f.kind, f.missing, *map(brief, (f.minimum, f.mean, f.maximum))]
            for f in facts.features
        ],
        metric_rows=[[m.title, *map(number, (m.value, m.lower, m.upper)), brief(m.asked)] for m in facts.metrics],
        slice_rows=[[_cell(s.name), s.rows, *(_bounded(m) for m in s.metrics)] for s in facts.slices],
        baseline_rows=[own, *([b.name, *(_bounded(m) for m in b.metrics)] for b in facts.baselines)],
        blessed_rows=[own, [facts.blessed.name, *(_bounded(m) for m in facts.blessed.metrics)]]
        if facts.blessed
        else [],
    )
    return f"{card}\n"


def _card_head(facts: Facts) -> dict[str, Any]:
    metrics = [
        {"type": HUB_METRICS.get(metric.name, metric.name), "name": metric.title, "value": round(metric.value, 6)}
        for metric in facts.metrics
        if math.isfinite(metric.value)
    ]
    source = {"type": facts.source, "name": facts.source, "split": "test", "revision": facts.source_digest}
    task = "tabular-classification" if facts.classes else "tabular-regression"
    task = task if facts.pictures is None else "image-classification"
    result = {"task": {"type": task}, "dataset": source, "metrics": metrics}
    return {
        "library_name": "tf",
        "pipeline_tag": task,
        "tags": [task, "tfx", "tensorflow-serving"],
        "model_name": facts.model,
        **({"license": licence.lower()} if (licence := facts.card.get("licence")) else {}),
        "model-index": [{"name": facts.model, "results": [result]}],
    }


def number(value: Any, digits: int = 3) -> str:
    """Return a number for people: `digits` after the point, a dash where it is not defined."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    return f"{value:.{digits}f}"


def brief(value: float | None) -> str:
    """Return a measurement in at most four significant digits."""
    return number(value) if value is None or not math.isfinite(value) else f"{value:.4g}"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}\u202f%" if whole and math.isfinite(part) else "–"


def scale_start(metrics: Sequence[Metric]) -> float:
    """Return where a scale to 1 should start for the intervals to fill it."""
    known = [
        v for m in metrics if m.name not in LOSSES for v in (m.lower, m.asked) if v is not None and math.isfinite(v)
    ]
    return max(math.floor(min(known, default=0.0) * 10 - 0.5) / 10, 0.0)


def interval(metric: Metric, start: float) -> dict[str, float] | None:
    """Return where a metric's interval lies in per cent of the way from `start` to 1, None for a loss and for none."""
    if metric.name in LOSSES or not all(math.isfinite(v) for v in (metric.value, metric.lower, metric.upper)):
        return None
    place = {"lower": metric.lower, "value": metric.value, "upper": metric.upper, "asked": metric.asked}
    return {
        key: round(100 * min(max((v - start) / (1 - start), 0.0), 1.0), 2) for key, v in place.items() if v is not None
    }


def _bounded(metric: Metric) -> str:
    return f"{number(metric.value)} ({number(metric.lower)}–{number(metric.upper)})"


def _plain(text: str) -> str:
    """Return text that cannot turn into HTML in a Markdown page."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _cell(text: str) -> str:
    """Return text that stays within its table cell."""
    return _plain(_code(text))


def _code(text: str) -> str:
    """Return text that stays within its code span, where HTML is text already, and the span within a table cell."""
    return text.replace("|", "\\|").replace("\n", " ").replace("`", "'")


def _drawn(charts: Iterable[Chart]) -> list[Chart]:
    return [chart for chart in charts if not chart.is_empty]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=lambda name: name == HTML_TEMPLATE,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, brief=brief, interval=interval, plain=_plain, cell=_cell, code=_code)
    environment.globals.update(percent=percent)
    return environment


def write_xlsx(facts: Facts, path: Path) -> None:
    from openpyxl import Workbook
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.properties import PageSetupProperties

    book = Workbook(write_only=True)
    for title, rows in _sheets(facts).items():
        sheet = book.create_sheet(title)
        sheet.freeze_panes = "A2"
        sheet.page_setup.orientation = "landscape"
        sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
        sheet.page_setup.fitToHeight = 0  # as many pages as it takes, one of them wide
        table = [list(row) for row in rows]
        if title in ONE_TABLE:
            sheet.auto_filter.ref = f"A1:{get_column_letter(len(table[0]))}{len(table)}"
        for index, width in enumerate(_widths(table), 1):
            sheet.column_dimensions[get_column_letter(index)].width = width
        for number, row in enumerate(table):
            sheet.append([_workbook_cell(sheet, value, is_header=number == 0) for value in row])
    book.save(path)


def _sheets(facts: Facts) -> dict[str, Iterable[Row]]:
    names = [m.title + bound for m in facts.metrics for bound in BOUNDS]
    return {
        "Summary": _summary(facts),
        "Metrics": [
            ("Metric", "Value", "At least", "At most", "Asked", "Met"),
            *((m.title, m.value, m.lower, m.upper, m.asked, m.is_met) for m in facts.metrics),
        ],
        **_of_kind(facts),
        "Slices": [("Slice", "Rows", *names), *((s.name, s.rows, *_flat(s.metrics)) for s in facts.slices)],
        "Baselines": [
            ("Model", "Rows fitted", "Seconds", "Rows judged", "Threshold", *names, "Network better by", *BEHIND),
            (
                "This network",
                facts.split("train").rows,
                None,
                facts.test_rows,
                _threshold(facts),
                *_flat(facts.metrics),
            ),
            *(
                (b.name, b.fit_rows, b.seconds, b.test_rows, b.threshold, *_flat(b.metrics), *_behind(b))
                for b in facts.baselines
            ),
        ],
        "Data": _data(facts),
        "History": [
            ("Epoch", *facts.history.values),
            *((i, *values) for i, values in enumerate(zip_longest(*facts.history.values.values()), 1)),
        ],
        "Curves": [
            ("Class", "Curve", "x", "y"),
            *((c.name, "ROC", *point) for c in facts.curves for point in c.roc),
            *((c.name, "Precision by recall", *point) for c in facts.curves for point in c.precision_recall),
            *((c.name, "Share by probability", b.predicted, b.observed) for c in facts.curves for b in c.calibration),
        ],
        "Lineage": [
            ("Input", "Type", "Artifact", "Place"),
            *((a.name, a.type, a.artifact_id, a.uri) for a in facts.lineage),
        ],
        "Gates": [
            ("Gate", "Passed", "Severity", "Kind", "Feature", "Sentence"),
            *(row for v in facts.verdicts for row in _gate(v)),
        ],
    }


def _of_kind(facts: Facts) -> dict[str, Iterable[Row]]:
    if facts.numbers:
        rows = zip(facts.numbers.points, facts.numbers.spans, strict=True)
        header = ("Predicted", "True", "Interval from", "Interval to")
        return {"Predictions": [header, *((*point, *span) for point, span in rows)]}
    return {"Confusion": _confusions(facts)}


def _confusions(facts: Facts) -> Iterable[Row]:
    """Yield the matrix of the network, and those of plain models under it."""
    yield "True class", *(f"called {name}" for name in facts.classes)
    yield from ((name, *row) for name, row in zip(facts.classes, facts.confusion, strict=True))
    for baseline in (b for b in facts.baselines if b.confusion):
        yield ()
        yield baseline.name, *(f"called {name}" for name in facts.classes)
        yield from ((name, *row) for name, row in zip(facts.classes, baseline.confusion, strict=True))


def _summary(facts: Facts) -> Iterable[Row]:
    yield "What", "Value"
    yield "Model", facts.name
    yield "Run", facts.run_id
    yield "Written (UTC)", facts.created
    yield "Outcome", facts.headline
    yield from (("Because", reason) for reason in facts.reasons)
    yield from (("Override", override) for override in facts.overrides)
    yield "Command", facts.command
    yield "Label", facts.label
    yield "Positive class", facts.positive
    yield "Confidence of each bound", facts.confidence
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


def _behind(baseline: Baseline) -> list[float]:
    found = baseline.behind
    return [found.value, found.lower, found.upper] if found else []


def _flat(metrics: Iterable[Metric]) -> list[float]:
    return [value for m in metrics for value in (m.value, m.lower, m.upper)]


def _widths(table: list[list[Any]]) -> list[float]:
    columns = max((len(row) for row in table), default=0)
    longest = [max((len(str(row[i])) for row in table if i < len(row)), default=0) for i in range(columns)]
    return [min(max(length + 2, 9), 60) for length in longest]


def _workbook_cell(sheet: Any, value: Any, *, is_header: bool) -> Any:
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
    from openpyxl.styles import Font

    if isinstance(value, float) and not math.isfinite(value):
        value = None
    if not isinstance(value, str):
        cell = WriteOnlyCell(sheet, value)
        if isinstance(value, float):
            cell.number_format = "0.0000"
        return cell
    text = ILLEGAL_CHARACTERS_RE.sub("", value)[:MAX_TEXT]
    if not is_header and not text.startswith(FORMULA_STARTS):
        return text
    cell = WriteOnlyCell(sheet, text)
    cell.data_type = "s"  # openpyxl takes a leading = for a formula
    cell.quotePrefix = text.startswith(FORMULA_STARTS)  # stays text when edited or saved as CSV
    if is_header:
        cell.font = Font(bold=True)
    return cell
