"""What the Evaluator answered: metrics by slice, and the evaluation gate's verdict in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import tensorflow_model_analysis as tfma

from components.evaluation.tfma_config import EXAMPLE_COUNT, LOWER, UPPER
from components.verdict import Finding, Verdict
from config.settings import EvaluationSettings, Settings

OVERALL = "overall"
DIFFERENCE = "_diff"  # what TFMA appends to a metric less the baseline's


@dataclass(frozen=True)
class SliceMetrics:
    """The metrics of one slice: `values[metric] = (value, lower, upper)`.

    `differences[metric]` is the candidate's value less the blessed model's, None if there was none to compare with.
    """

    name: str
    rows: int
    values: dict[str, tuple[float, float, float]]
    differences: dict[str, float] | None = None


def read_metrics(evaluation_uri: str) -> list[SliceMetrics]:
    """Return the candidate's metrics by slice, the whole test split first."""
    result = tfma.load_eval_result(evaluation_uri)
    slices = []
    for slice_key, outputs in result.slicing_metrics:
        values = {name: _number(value) for name, value in outputs[""][""].items()}
        names = [name for name in values if name + LOWER in values]
        title = ", ".join(f"{column} = {value}" for column, value in slice_key) or OVERALL
        triples = {name: (values[name], values[name + LOWER], values[name + UPPER]) for name in names}
        has_baseline = any(spec.is_baseline for spec in result.config.model_specs)
        differences = {name: values[name + DIFFERENCE] for name in names} if has_baseline else None
        slices.append(SliceMetrics(title, int(values[EXAMPLE_COUNT]), triples, differences))
    return sorted(slices, key=lambda s: (s.name != OVERALL, s.name))


def read_verdict(evaluation_uri: str, settings: Settings) -> Verdict:
    validation = tfma.load_validation_result(evaluation_uri)
    overall = next((s for s in read_metrics(evaluation_uri) if s.name == OVERALL), None)
    bars = settings.evaluation
    if overall is None:
        sentence = "The test split holds no rows, so the model could not be evaluated."
        return Verdict("evaluation", False, sentence, (Finding("NO_TEST_ROWS", "error", sentence),))
    findings = [_against_threshold(overall, metric, least, bars) for metric, least in bars.thresholds.items()]
    findings.append(_against_blessed(overall, bars))
    failed = [finding for finding in findings if finding.severity == "error"]
    if not validation.validation_ok and not failed:
        failed = [Finding("NOT_VALIDATED", "error", f"TFMA refused: {validation}".replace("\n", " "))]
        findings += failed
    passed = bool(validation.validation_ok) and not failed
    if passed:
        least = "; ".join(f.sentence.removesuffix(".") for f in findings)
        sentence = f"Blessed on {overall.rows} test rows: {least}."
    else:
        sentence = "Not blessed: " + " ".join(f.sentence for f in failed)
    return Verdict("evaluation", passed, sentence, tuple(findings))


def _against_threshold(overall: SliceMetrics, metric: str, least: float, bars: EvaluationSettings) -> Finding:
    value, lower, upper = overall.values.get(metric, (math.nan,) * 3)
    details = {"metric": metric, "value": value, "lower": lower, "upper": upper, "least": least}
    if lower >= least:
        sentence = (
            f"{metric} is {value:.4f}, and with {bars.confidence:.0%} confidence at least {lower:.4f} ≥ {least:g}."
        )
        return Finding("THRESHOLD_MET", "info", sentence, details=details)
    sentence = (
        f"{metric} is {value:.4f} on {overall.rows} rows, but with {bars.confidence:.0%} confidence "
        f"only at least {lower:.4f}, and {least:g} is asked for."
    )
    return Finding("THRESHOLD_MISSED", "error", sentence, details=details)


def _against_blessed(overall: SliceMetrics, bars: EvaluationSettings) -> Finding:
    metric, margin = bars.change_metric, bars.change_margin
    if overall.differences is None:
        sentence = "there is no blessed model to compare with yet."
        return Finding("NO_BLESSED_MODEL", "info", sentence, details={"metric": metric, "margin": margin})
    difference = overall.differences[metric]
    details = {"metric": metric, "margin": margin, "difference": difference}
    if difference >= -margin:
        sentence = f"{metric} is {difference:+.4f} against the blessed model's, {-margin:g} or more is asked for."
        return Finding("NOT_WORSE_THAN_BLESSED", "info", sentence, details=details)
    sentence = f"{metric} is {-difference:.4f} lower than the blessed model's; {margin:g} lower is the most allowed."
    return Finding("WORSE_THAN_BLESSED", "error", sentence, details=details)


def _number(value: Any) -> float:
    return float(value.get("doubleValue", value.get("boundedValue", {}).get("value", math.nan)))
