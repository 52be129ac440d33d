"""What TFMA is asked: our metrics with bounds, by slice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types

from components.evaluation.bounds import evaluate
from components.tasks import task_of
from components.tasks.rows import Answered
from config.data_settings import DataSettings
from config.settings import Settings
from serving.repository.layout import EXAMPLES_SIGNATURE

LOWER, UPPER = "_lower", "_upper"
BATCH = 1000
EXAMPLE_COUNT = "example_count"
GROUP_COUNT = "group_count"


class BoundedMetrics(metric_types.Metric):
    """Compute metrics with one-sided confidence bounds as `<metric>`, `<metric>_lower` and `<metric>_upper`.

    Reads the model's own outputs, so that decisions are those of its operating point. Where
    rows come in groups, `group_count` says how many.
    """

    def __init__(self, name: str = "bounded_metrics", **options: Any) -> None:
        """`options`: data, group_by, metrics, confidence, samples and seed, from `eval_config`."""
        super().__init__(_computations, name=name, **options)

    @property
    def compute_confidence_interval(self) -> bool:
        """The bounds are among the values already."""
        return False


def _computations(
    name: str,
    metrics: Sequence[str],
    model_names: Sequence[str] | None = None,
    *,
    data: dict[str, Any],
    group_by: str | None,
    confidence: float,
    samples: int,
    seed: int,
    **_: Any,
) -> list[metric_types.MetricComputation]:
    options = {"metrics": metrics, "confidence": confidence, "samples": samples, "seed": seed}
    names = [metric + end for metric in metrics for end in ("", LOWER, UPPER)] + ([GROUP_COUNT] if group_by else [])
    return [
        metric_types.MetricComputation(
            keys=[_key(name, model_name) for name in names],
            preprocessors=[metric_types.FeaturePreprocessor(feature_keys=[group_by])] if group_by else None,
            combiner=_CollectRows(model_name, data, group_by, options),
        )
        for model_name in model_names or [""]
    ]


def _key(name: str, model_name: str) -> metric_types.MetricKey:
    # thresholds given by name have `example_weighted` None in their keys
    return metric_types.MetricKey(name=name, model_name=model_name, example_weighted=None)


class _CollectRows(beam.CombineFn):
    """Collect what a model said of a slice's rows, and evaluate it: some 20 bytes a row, 4 a class, and its group."""

    def __init__(self, model_name: str, data: dict[str, Any], group_by: str | None, options: dict[str, Any]) -> None:
        self._model_name, self._group_by, self._options = model_name, group_by, options
        self._task = task_of(DataSettings.model_validate(data))

    def create_accumulator(self) -> tuple[list[Any], list[Any]]:
        return [], []

    def add_input(self, accumulator: tuple[list[Any], list[Any]], element: Any) -> tuple[list[Any], list[Any]]:
        blocks, waiting = accumulator
        outputs = element.get_predictions(self._model_name)
        true = np.asarray(element.get_labels(self._model_name)).item()
        group = str(np.asarray(element.get_features()[self._group_by]).item()) if self._group_by else ""
        waiting.append((true, group, *(np.asarray(outputs[name]).squeeze() for name in self._task.outputs)))
        return (_flush(blocks, waiting), []) if len(waiting) >= BATCH else accumulator

    def merge_accumulators(self, accumulators: Any) -> tuple[list[Any], list[Any]]:
        merged, waiting = self.create_accumulator()
        for accumulator in accumulators:
            merged += _flush(*accumulator)
        return merged, waiting

    def extract_output(self, accumulator: tuple[list[Any], list[Any]]) -> dict[metric_types.MetricKey, float]:
        rows = self._rows(_flush(*accumulator))
        values = {
            metric + end: value
            for metric, bounded in evaluate(rows, **self._options).items()
            for end, value in (("", bounded.value), (LOWER, bounded.lower), (UPPER, bounded.upper))
        }
        if rows.grouping is not None:
            values[GROUP_COUNT] = float(len(np.unique(rows.grouping)))
        return {_key(name, self._model_name): value for name, value in values.items()}

    def _rows(self, blocks: list[Any]) -> Answered:
        """Return all rows, in an order that does not depend on how Beam dealt them."""
        if not blocks:
            return self._task.no_rows()
        true, groups, *outputs = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        numbered = np.unique(groups, return_inverse=True)[1] if self._group_by else None
        named = dict(zip(self._task.outputs, outputs, strict=True))
        return self._task.rows(self._task.targets(true), named, numbered).in_order()


def _flush(blocks: list[Any], waiting: list[Any]) -> list[Any]:
    if not waiting:
        return blocks
    return [*blocks, tuple(np.stack(values) for values in zip(*waiting, strict=True))]


def eval_config(settings: Settings, confidence: float) -> tfma.EvalConfig:
    """Return TFMA's configuration. It holds no threshold: the verdict is on more than TFMA knows of.

    `confidence`: of each bound.
    """
    evaluation = settings.evaluation
    options = {
        "data": settings.data.without_place().model_dump(mode="json"),
        "group_by": settings.split.group_by,
        "metrics": [metric for metric in evaluation.metrics if metric != EXAMPLE_COUNT],
        "confidence": confidence,
        "samples": evaluation.bootstrap_samples,
        "seed": settings.seed,
    }
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name=EXAMPLES_SIGNATURE, label_key=settings.data.label)],
        slicing_specs=[tfma.SlicingSpec()]
        + [tfma.SlicingSpec(feature_values={s.feature: v}) for s in evaluation.slices for v in s.values]
        + [tfma.SlicingSpec(feature_keys=[s.feature]) for s in evaluation.slices if not s.values],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(class_name="ExampleCount"),
                    tfma.MetricConfig(class_name="BoundedMetrics", module=__name__, config=json.dumps(options)),
                ]
            )
        ],
    )
