"""What the Evaluator is asked: which model to compare with, our metrics with bounds, thresholds on the bounds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2  # not all of it is exported by every version of tfma
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy

from components.evaluation.bounds import Tally, evaluate
from config.settings import Settings
from serving.repository.layout import EXAMPLES_SIGNATURE

CANDIDATE, MODEL, BLESSING = "candidate", "model", "model_blessing"
LOWER, UPPER = "_lower", "_upper"
BATCH = 1000
EXAMPLE_COUNT = "example_count"


class BlessedBeforeStrategy(LatestBlessedModelStrategy):
    """Resolve the latest model blessed before the candidate was trained.

    TFX's own strategy takes the latest of all: a repeated run would compare a cached candidate with itself, and
    nothing after it could come from the cache.
    """

    def resolve_artifacts(self, store: Any, input_dict: dict[str, list[Any]]) -> dict[str, list[Any]]:
        candidates = input_dict[CANDIDATE]
        newest = max((artifact.id for artifact in candidates), default=0)
        older = [model for model in input_dict[MODEL] if model.id < newest]
        resolved = super().resolve_artifacts(store, {MODEL: older, BLESSING: input_dict[BLESSING]})
        return {CANDIDATE: candidates, **resolved}


class BoundedMetrics(metric_types.Metric):
    """Compute metrics with one-sided confidence bounds as `<metric>`, `<metric>_lower` and `<metric>_upper`.

    Reads the model's `probabilities` and `label` outputs, so that decisions are those of its operating point.
    """

    def __init__(self, name: str = "bounded_metrics", **options: Any) -> None:
        """`options`: classes, positive_index, metrics, confidence, samples and seed, from `eval_config`."""
        super().__init__(_computations, name=name, **options)

    @property
    def compute_confidence_interval(self) -> bool:
        """The bounds are among the values already."""
        return False


def _computations(
    name: str,
    classes: Sequence[str],
    metrics: Sequence[str],
    model_names: Sequence[str] | None = None,
    *,
    positive_index: int | None,
    confidence: float,
    samples: int,
    seed: int,
    **_: Any,
) -> list[metric_types.MetricComputation]:
    options = {"positive_index": positive_index, "confidence": confidence, "samples": samples, "seed": seed}
    return [
        metric_types.MetricComputation(
            keys=[_key(metric + end, model_name) for metric in metrics for end in ("", LOWER, UPPER)],
            preprocessors=None,
            combiner=_TallyRows(model_name, classes, metrics, options),
        )
        for model_name in model_names or [""]
    ]


def _key(name: str, model_name: str) -> metric_types.MetricKey:
    # thresholds given by name have `example_weighted` None in their keys
    return metric_types.MetricKey(name=name, model_name=model_name, example_weighted=None)


class _TallyRows(beam.CombineFn):
    def __init__(
        self, model_name: str, classes: Sequence[str], metrics: Sequence[str], options: dict[str, Any]
    ) -> None:
        self._model_name, self._classes, self._metrics, self._options = model_name, classes, metrics, options
        self._index = {name.encode(): i for i, name in enumerate(classes)}

    def create_accumulator(self) -> tuple[Tally, list[Any]]:
        return Tally.empty(len(self._classes), self._options["positive_index"]), []

    def add_input(self, accumulator: tuple[Tally, list[Any]], element: Any) -> tuple[Tally, list[Any]]:
        tally, waiting = accumulator
        outputs = element.get_predictions(self._model_name)
        true = self._index[np.asarray(element.get_labels(self._model_name)).item()]
        decided = self._index[np.asarray(outputs["label"]).item()]
        waiting.append((true, decided, np.asarray(outputs["probabilities"]).reshape(-1)))
        return _flush(tally, waiting) if len(waiting) >= BATCH else accumulator

    def merge_accumulators(self, accumulators: Any) -> tuple[Tally, list[Any]]:
        merged, _ = self.create_accumulator()
        for tally, waiting in accumulators:
            merged.merge(_flush(tally, waiting)[0])
        return merged, []

    def extract_output(self, accumulator: tuple[Tally, list[Any]]) -> dict[metric_types.MetricKey, float]:
        tally, _ = _flush(*accumulator)
        values = evaluate(tally, self._metrics, **self._options)
        return {
            _key(metric + end, self._model_name): v
            for metric, bounded in values.items()
            for end, v in (("", bounded.value), (LOWER, bounded.lower), (UPPER, bounded.upper))
        }


def _flush(tally: Tally, waiting: list[Any]) -> tuple[Tally, list[Any]]:
    if waiting:
        true, decided, probabilities = zip(*waiting, strict=True)
        tally.add(np.array(true), np.array(decided), np.stack(probabilities))
    return tally, []


def eval_config(settings: Settings) -> tfma.EvalConfig:
    """Return TFMA's configuration: bounds as absolute thresholds, the margin as change threshold."""
    evaluation = settings.evaluation
    options = {
        "classes": settings.data.classes,
        "positive_index": settings.data.positive_index if settings.data.is_binary else None,
        "metrics": [metric for metric in evaluation.metrics if metric != EXAMPLE_COUNT],
        "confidence": evaluation.confidence,
        "samples": evaluation.bootstrap_samples,
        "seed": settings.seed,
    }
    thresholds = {
        metric + LOWER: tfma.MetricThreshold(value_threshold=tfma.GenericValueThreshold(lower_bound={"value": least}))
        for metric, least in evaluation.thresholds.items()
    }
    change = tfma.GenericChangeThreshold(
        absolute={"value": -evaluation.change_margin}, direction=tfma.MetricDirection.HIGHER_IS_BETTER
    )
    thresholds[evaluation.change_metric] = tfma.MetricThreshold(change_threshold=change)
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
                    tfma.MetricConfig(class_name="BoundedMetrics", module=__name__, config=json.dumps(options)),
                ],
            )
        ],
    )


def _on_the_whole(threshold: tfma.MetricThreshold) -> config_pb2.PerSliceMetricThresholds:
    """Return a threshold for the whole test split alone."""
    whole = config_pb2.PerSliceMetricThreshold(slicing_specs=[tfma.SlicingSpec()], threshold=threshold)
    return config_pb2.PerSliceMetricThresholds(thresholds=[whole])
