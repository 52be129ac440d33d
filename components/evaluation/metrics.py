"""Our metrics as TFMA knows them: one pass over the rows of each slice, bounds included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types

from components.evaluation.bounds import Tally, evaluate

LOWER, UPPER = "_lower", "_upper"
BATCH = 1000


class BoundedMetrics(metric_types.Metric):
    """Compute metrics with one-sided confidence bounds as `<metric>`, `<metric>_lower` and `<metric>_upper`.

    Reads the model's `probabilities` and `label` outputs, so that decisions are those of its operating point.
    """

    def __init__(
        self,
        classes: Sequence[str],
        positive_index: int | None,
        metrics: Sequence[str],
        confidence: float,
        samples: int,
        seed: int,
        name: str = "bounded_metrics",
    ) -> None:
        super().__init__(
            _computations,
            name=name,
            classes=tuple(classes),
            positive_index=positive_index,
            metrics=tuple(metrics),
            confidence=confidence,
            samples=samples,
            seed=seed,
        )

    @property
    def compute_confidence_interval(self) -> bool:
        """The bounds are among the values already."""
        return False


def _computations(
    name: str,
    classes: tuple[str, ...],
    positive_index: int | None,
    metrics: tuple[str, ...],
    confidence: float,
    samples: int,
    seed: int,
    model_names: Sequence[str] | None = None,
    **_: Any,
) -> list[metric_types.MetricComputation]:
    options = {"positive_index": positive_index, "confidence": confidence, "samples": samples, "seed": seed}
    computations = []
    # `example_weighted` is None in the keys of thresholds given by name
    for model_name in model_names or [""]:
        keys = [
            metric_types.MetricKey(name=metric + end, model_name=model_name, example_weighted=None)
            for metric in metrics
            for end in ("", LOWER, UPPER)
        ]
        combiner = _TallyRows(model_name, classes, metrics, options)
        computations.append(metric_types.MetricComputation(keys=keys, preprocessors=None, combiner=combiner))
    return computations


class _TallyRows(beam.CombineFn):
    """Count the rows of a slice and evaluate the counts."""

    def __init__(
        self, model_name: str, classes: tuple[str, ...], metrics: tuple[str, ...], options: dict[str, Any]
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
            metric_types.MetricKey(metric + end, model_name=self._model_name, example_weighted=None): v
            for metric, bounded in values.items()
            for end, v in (("", bounded.value), (LOWER, bounded.lower), (UPPER, bounded.upper))
        }


def _flush(tally: Tally, waiting: list[Any]) -> tuple[Tally, list[Any]]:
    if waiting:
        true, decided, probabilities = zip(*waiting, strict=True)
        tally.add(np.array(true), np.array(decided), np.stack(probabilities))
    return tally, []
