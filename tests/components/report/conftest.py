from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from components.evaluation.baselines import Baseline
from components.evaluation.bounds import Difference, Metric
from components.report import facts as f
from components.report.curves import class_curves, point_on_test
from components.tasks.rows import Rows
from components.verdict import Finding, Verdict
from config.load import settings_values
from config.settings import CardSettings, Settings

CLOSE = Difference(0.004, -0.002, 0.01, 0.004)
FactsMaker = Callable[..., f.Facts]
METRICS = (
    Metric("auc", 0.9961, 0.9912, 0.9992, asked=0.97),
    Metric("precision", 0.9512, 0.8841, 0.9833),
    Metric("recall", 0.975, 0.9159, 0.9957),
    Metric("binary_accuracy", 0.9732, 0.9401, 0.9896, asked=0.93),
)


@pytest.fixture
def make_facts() -> FactsMaker:
    """Return a maker of facts about an invented run: two classes by default, any field overridden."""

    def make(classes: tuple[str, ...] = ("B", "M"), rows: int = 113, **changes: Any) -> f.Facts:
        scored = invented_scores(classes, rows)
        is_binary = len(classes) == 2
        ranked = [1] if is_binary else list(range(len(classes)))
        counts = {name: int((scored.true == i).sum()) for i, name in enumerate(classes)}
        rate, recall, precision = point_on_test(scored, 1)
        point = f.OperatingPointFacts(0.4312, "recall at least 0.95", 0.93, 91, 0.9706, 0.9429, rate, recall, precision)
        values: dict[str, Any] = {
            "model": "invented",
            "title": "Invented cells",
            "description": "Tells one kind of invented cell from another.",
            "card": CardSettings().model_dump(),
            "run_id": "20261121T054500.123456",
            "created": "2026-11-21T05:46:10+00:00",
            "pushed_version": 3,
            "label": "diagnosis",
            "classes": classes,
            "positive": "M" if is_binary else None,
            "source": "invented.csv",
            "source_digest": "3f" * 32,
            "settings_hash": "0123456789abcdef",
            "seed": 42,
            "confidence": 0.95,
            "group_by": None,
            "test_groups": None,
            "rows_in": rows * 5,
            "splits": (
                f.SplitFacts("train", rows * 3, {c: 3 * n for c, n in counts.items()}),
                f.SplitFacts("eval", rows, counts),
                f.SplitFacts("test", rows, counts),
            ),
            "features": (
                f.FeatureFacts("radius_mean", "Radius", "µm", "numeric", 0, 6.98, 14.1, 28.1, 3.5),
                f.FeatureFacts("stain", "Stain", "", "categorical", 4, distinct=3),
            ),
            "anomalies": (f.AnomalyFacts("eval", "stain", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "Got: <violet>"),),
            "verdicts": (
                Verdict(
                    "data",
                    True,
                    "The data may be trained on: 1 warning.",
                    (Finding("ENUM_TYPE_UNEXPECTED_STRING_VALUES", "warn", "A new stain in 1 row.", "stain"),),
                ),
                Verdict("evaluation", True, "Blessed on 113 test rows: auc is at least 0.9912 ≥ 0.97."),
                Verdict("serving", True, "All 16 golden rows answered as they should."),
            ),
            "metrics": METRICS,
            "slices": (f.SliceFacts("stain = blue", 40, METRICS),),
            "operating_point": point if is_binary else None,
            "confusion": scored.confusion,
            "curves": tuple(class_curves(classes[i], scored.true == i, scored.probabilities[:, i]) for i in ranked),
            "test_rows": rows,
            "numbers": None,
            "history": f.History(
                {
                    "loss": [0.6, 0.3, 0.15, 0.1, 0.08],
                    "val_loss": [0.5, 0.28, 0.17, 0.15, 0.16],
                    "accuracy": [0.8, 0.9, 0.95, 0.97, 0.98],
                    "val_accuracy": [0.85, 0.92, 0.95, 0.96, 0.95],
                    "learning_rate": [1e-4] * 5,
                },
                kept_epoch=4,
            ),
            "network": f.Network((256, 128, 64, 32, 1), (256, 128, 64, 32, 1), 53_377),
            "baselines": (
                Baseline("Logistic regression", 339, rows, 0.5, METRICS, 0.99, CLOSE, confusion=scored.confusion),
            ),
            "blessed": f.BlessedFacts(2, "20261120T000000.000000", METRICS),
            "stages": (f.Stage("CsvExampleGen", "CACHED", 0.0, 1), f.Stage("Trainer", "COMPLETE", 8.25, 2)),
            "lineage": (f.ArtifactFacts("examples", "Examples", 1, "CsvExampleGen/examples/1"),),
            "environment": {"Python": "3.11.7", "TFX": "1.16.0"},
            "settings": invented_settings(classes),
            "command": "python local_runner.py run config/invented --set model.dropout=0.3",
        }
        return f.Facts(**{**values, **changes})

    return make


def invented_settings(classes: tuple[str, ...]) -> dict[str, Any]:
    data = {"source": "/home/somebody/invented.csv", "label": "diagnosis", "classes": classes}
    metrics = {"metrics": ["auc", "precision", "recall"]}
    return settings_values(Settings.model_validate({"name": "invented", "data": data, "evaluation": metrics}))


def invented_scores(classes: tuple[str, ...], rows: int) -> Rows:
    rng = np.random.default_rng(1)
    true = rng.choice(len(classes), rows, p=np.array([0.63, *[0.37 / (len(classes) - 1)] * (len(classes) - 1)]))
    logits = rng.normal(0, 1.1, (rows, len(classes))) + 3.2 * (true[:, None] == np.arange(len(classes)))
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    return Rows(true, probabilities.argmax(axis=1), probabilities)
