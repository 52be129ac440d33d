"""What the Evaluator answered: metrics by slice, and the evaluation gate's verdict in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import tensorflow_model_analysis as tfma

from components.evaluation.bounds import Metric
from components.evaluation.comparison import Comparison
from components.evaluation.looks import Looks
from components.evaluation.tfma_config import EXAMPLE_COUNT, GROUP_COUNT, LOWER, UPPER
from components.verdict import Finding, Verdict
from config.settings import LOSSES, EvaluationSettings, Settings

OVERALL = "overall"


@dataclass(frozen=True)
class SliceMetrics:
    """The metrics of one slice: `values[metric] = (value, lower, upper)`.

    `groups`: how many its rows are of, None if each is its own.
    """

    name: str
    rows: int
    groups: int | None
    values: dict[str, tuple[float, float, float]]

    @property
    def size(self) -> str:
        """What the slice holds, in words: grouped rows say less than they are."""
        return f"{self.rows} rows" if self.groups is None else f"{self.rows} rows of {self.groups} groups"


def read_metrics(evaluation_uri: str) -> list[SliceMetrics]:
    """Return the candidate's metrics by slice, the whole test split first."""
    result = tfma.load_eval_result(evaluation_uri)
    slices = []
    for slice_key, outputs in result.slicing_metrics:
        values = {name: _number(value) for name, value in outputs[""][""].items()}
        names = [name for name in values if name + LOWER in values]
        title = ", ".join(f"{column} = {value}" for column, value in slice_key) or OVERALL
        triples = {name: (values[name], values[name + LOWER], values[name + UPPER]) for name in names}
        groups = int(values[GROUP_COUNT]) if GROUP_COUNT in values else None
        slices.append(SliceMetrics(title, int(values[EXAMPLE_COUNT]), groups, triples))
    return sorted(slices, key=lambda s: (s.name != OVERALL, s.name))


def judge(evaluation_uri: str, comparison: Comparison, settings: Settings, looks: Looks) -> Verdict:
    """Return the evaluation gate's verdict on what TFMA wrote and what the comparison showed."""
    validation = tfma.load_validation_result(evaluation_uri)
    overall = next((s for s in read_metrics(evaluation_uri) if s.name == OVERALL), None)
    wanted = settings.evaluation
    if overall is None:
        sentence = "The test split holds no rows, so the model could not be evaluated."
        return Verdict("evaluation", False, sentence, (Finding("NO_TEST_ROWS", "error", sentence),))
    confidence = looks.confidence(wanted.confidence)
    findings = [_against_threshold(overall, metric, least, confidence) for metric, least in wanted.thresholds.items()]
    findings.append(_against_blessed(comparison, wanted))
    failed = [finding for finding in findings if finding.severity == "error"]
    if not validation.validation_ok and not failed:
        failed = [Finding("NOT_VALIDATED", "error", f"TFMA refused: {validation}".replace("\n", " "))]
        findings += failed
    passed = bool(validation.validation_ok) and not failed
    if passed:
        least = "; ".join(f.sentence.removesuffix(".") for f in findings)
        sentence = f"Blessed on {overall.size.replace(' rows', ' test rows')}: {least}."
    else:
        sentence = "Not blessed: " + " ".join(f.sentence for f in failed)
    findings += filter(None, [looks.finding(wanted.confidence)])
    return Verdict("evaluation", passed, sentence, tuple(findings))


def _against_threshold(overall: SliceMetrics, metric: str, asked: float, confidence: float) -> Finding:
    value, lower, upper = overall.values.get(metric, (math.nan,) * 3)
    details = {"metric": metric, "value": value, "lower": lower, "upper": upper, "least": asked}
    bound, word, sign = (upper, "most", "≤") if metric in LOSSES else (lower, "least", "≥")
    surely = f"with {100 * confidence:.5g}% confidence"
    if Metric(metric, value, lower, upper, asked).is_met:
        sentence = f"{metric} is {value:.4f}, and {surely} at {word} {bound:.4f} {sign} {asked:g}."
        return Finding("THRESHOLD_MET", "info", sentence, details=details)
    if math.isnan(value):
        sentence = (
            f"{metric} is undefined on these {overall.size}, because a class has none, and {asked:g} is asked for."
        )
    else:
        sentence = (
            f"{metric} is {value:.4f} on {overall.size}, but {surely} only at {word} {bound:.4f}, "
            f"and {asked:g} is asked for."
        )
    return Finding("THRESHOLD_MISSED", "error", sentence, details=details)


def _against_blessed(comparison: Comparison, wanted: EvaluationSettings) -> Finding:
    """Say how the candidate compares with the best blessed model, on the same rows; no obstacle is passed over."""
    metric, margin, found = wanted.change_metric, wanted.change_margin, comparison.difference
    details: dict[str, Any] = {"metric": metric, "margin": margin, "rows": comparison.rows}
    if found is None and not comparison.obstacles:
        sentence = "there is no blessed model to compare with yet."
        return Finding("NO_BLESSED_MODEL", "info", sentence, details=details)
    if found is None:
        refuses = wanted.when_not_comparable == "refuse"
        sentence = f"no blessed model can be compared fairly: {'; '.join(comparison.obstacles)}. " + (
            "evaluation.when_not_comparable refuses that." if refuses else "The thresholds alone decide."
        )
        details["obstacles"] = list(comparison.obstacles)
        return Finding("NOT_COMPARABLE", "error" if refuses else "warn", sentence, details=details)
    details |= {
        "difference": found.value,
        "lower": found.lower,
        "upper": found.upper,
        "detectable": comparison.detectable,
        "baseline": comparison.baseline,
    }
    surely = f"with {100 * wanted.confidence:.5g}% confidence"
    told = f"{metric} is better by {found.value:+.4f} than the best blessed model's on the same {comparison.rows} rows"
    if found.upper >= -margin:
        sentence = (
            f"{told}, {surely} by {found.upper:+.4f} at most; these rows can tell a model that is worse by "
            f"{comparison.detectable:.4f}."
        )
        return Finding("NOT_WORSE_THAN_BLESSED", "info", sentence, details=details)
    sentence = f"{told}, {surely} by {found.upper:+.4f} at most, and {-margin:+g} is the least allowed."
    return Finding("WORSE_THAN_BLESSED", "error", sentence, details=details)


def _number(value: Any) -> float:
    return float(value.get("doubleValue", value.get("boundedValue", {}).get("value", math.nan)))
