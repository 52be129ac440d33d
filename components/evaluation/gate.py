"""What the Evaluator is asked, and its answer in words: the evaluation gate."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2  # not all of it is exported by every version of tfma

from components.evaluation.metrics import LOWER, UPPER
from components.verdict import Finding, Verdict
from config.settings import Settings
from serving.repository.layout import EXAMPLES_SIGNATURE

OVERALL = "overall"
EXAMPLE_COUNT = "example_count"
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


def eval_config(settings: Settings) -> tfma.EvalConfig:
    """Return TFMA's configuration: bounds as absolute thresholds, the margin as change threshold."""
    asked = settings.evaluation
    bounded = [metric for metric in asked.metrics if metric != EXAMPLE_COUNT]
    options = {
        "classes": settings.data.classes,
        "positive_index": settings.data.positive_index if settings.data.is_binary else None,
        "metrics": bounded,
        "confidence": asked.confidence,
        "samples": asked.bootstrap_samples,
        "seed": settings.seed,
    }
    thresholds = {
        metric + LOWER: tfma.MetricThreshold(value_threshold=tfma.GenericValueThreshold(lower_bound={"value": least}))
        for metric, least in asked.thresholds.items()
    }
    thresholds[asked.change_metric] = tfma.MetricThreshold(
        change_threshold=tfma.GenericChangeThreshold(
            absolute={"value": -asked.change_margin}, direction=tfma.MetricDirection.HIGHER_IS_BETTER
        )
    )
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name=EXAMPLES_SIGNATURE, label_key=settings.data.label)],
        slicing_specs=[tfma.SlicingSpec()]
        + [tfma.SlicingSpec(feature_values={s.feature: v}) for s in asked.slices for v in s.values]
        + [tfma.SlicingSpec(feature_keys=[s.feature]) for s in asked.slices if not s.values],
        metrics_specs=[
            tfma.MetricsSpec(
                # plain `thresholds` would hold for every slice too, however few its rows
                per_slice_thresholds={metric: _on_the_whole(threshold) for metric, threshold in thresholds.items()},
                metrics=[
                    tfma.MetricConfig(class_name="ExampleCount"),
                    tfma.MetricConfig(
                        class_name="BoundedMetrics", module="components.evaluation.metrics", config=json.dumps(options)
                    ),
                ],
            )
        ],
    )


def _on_the_whole(threshold: tfma.MetricThreshold) -> config_pb2.PerSliceMetricThresholds:
    """Return a threshold for the whole test split alone."""
    whole = config_pb2.PerSliceMetricThreshold(slicing_specs=[tfma.SlicingSpec()], threshold=threshold)
    return config_pb2.PerSliceMetricThresholds(thresholds=[whole])


def read_metrics(evaluation_uri: str) -> list[SliceMetrics]:
    """Return the candidate's metrics by slice, the whole test split first."""
    result = tfma.load_eval_result(evaluation_uri)
    found = []
    for slice_key, outputs in result.slicing_metrics:
        values = {name: _number(value) for name, value in outputs[""][""].items()}
        names = [name for name in values if name + LOWER in values]
        title = ", ".join(f"{column} = {value}" for column, value in slice_key) or OVERALL
        triples = {name: (values[name], values[name + LOWER], values[name + UPPER]) for name in names}
        has_baseline = any(spec.is_baseline for spec in result.config.model_specs)
        differences = {name: values[name + DIFFERENCE] for name in names} if has_baseline else None
        found.append(SliceMetrics(title, int(values[EXAMPLE_COUNT]), triples, differences))
    return sorted(found, key=lambda s: (s.name != OVERALL, s.name))


def read_verdict(evaluation_uri: str, settings: Settings) -> Verdict:
    """Return the evaluation gate's verdict in words."""
    validation = tfma.load_validation_result(evaluation_uri)
    overall = next((s for s in read_metrics(evaluation_uri) if s.name == OVERALL), None)
    asked = settings.evaluation
    if overall is None:
        sentence = "The test split holds no rows, so the model could not be evaluated."
        return Verdict("evaluation", False, sentence, (Finding("NO_TEST_ROWS", "error", sentence),))
    findings = [_against_threshold(overall, metric, least, asked) for metric, least in asked.thresholds.items()]
    findings.append(_against_blessed(overall, asked))
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


def _against_threshold(overall: SliceMetrics, metric: str, least: float, asked: Any) -> Finding:
    value, lower, upper = overall.values.get(metric, (math.nan,) * 3)
    details = {"metric": metric, "value": value, "lower": lower, "upper": upper, "least": least}
    if lower >= least:
        sentence = (
            f"{metric} is {value:.4f}, and with {asked.confidence:.0%} confidence at least {lower:.4f} ≥ {least:g}."
        )
        return Finding("THRESHOLD_MET", "info", sentence, details=details)
    sentence = (
        f"{metric} is {value:.4f} on {overall.rows} rows, but with {asked.confidence:.0%} confidence "
        f"only at least {lower:.4f}, and {least:g} is asked for."
    )
    return Finding("THRESHOLD_MISSED", "error", sentence, details=details)


def _against_blessed(overall: SliceMetrics, asked: Any) -> Finding:
    """Say how the candidate compares with the model in service, on the same rows."""
    metric, margin = asked.change_metric, asked.change_margin
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
