"""What the Evaluator is asked: metrics with bounds, thresholds on the bounds, the margin to the blessed model."""

from __future__ import annotations

import json

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2  # not all of it is exported by every version of tfma

from components.evaluation.metrics import LOWER
from config.settings import Settings
from serving.repository.layout import EXAMPLES_SIGNATURE

EXAMPLE_COUNT = "example_count"


def eval_config(settings: Settings) -> tfma.EvalConfig:
    """Return TFMA's configuration: bounds as absolute thresholds, the margin as change threshold."""
    evaluation = settings.evaluation
    bounded = [metric for metric in evaluation.metrics if metric != EXAMPLE_COUNT]
    options = {
        "classes": settings.data.classes,
        "positive_index": settings.data.positive_index if settings.data.is_binary else None,
        "metrics": bounded,
        "confidence": evaluation.confidence,
        "samples": evaluation.bootstrap_samples,
        "seed": settings.seed,
    }
    thresholds = {
        metric + LOWER: tfma.MetricThreshold(value_threshold=tfma.GenericValueThreshold(lower_bound={"value": least}))
        for metric, least in evaluation.thresholds.items()
    }
    thresholds[evaluation.change_metric] = tfma.MetricThreshold(
        change_threshold=tfma.GenericChangeThreshold(
            absolute={"value": -evaluation.change_margin}, direction=tfma.MetricDirection.HIGHER_IS_BETTER
        )
    )
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name=EXAMPLES_SIGNATURE, label_key=settings.data.label)],
        slicing_specs=[tfma.SlicingSpec()]
        + [tfma.SlicingSpec(feature_values={s.feature: v}) for s in evaluation.slices for v in s.values]
        + [tfma.SlicingSpec(feature_keys=[s.feature]) for s in evaluation.slices if not s.values],
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
