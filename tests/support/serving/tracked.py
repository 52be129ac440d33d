"""What runs leave behind for MLflow, small and without a run; `tests/pipeline/test_tracking.py` holds it true."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.registry.queue import Released, RunEnded

DIGEST = "b3748504ce640c49312f8a3da2ed70cc44f6d0ab5404803002f656648e4e1234"
FACTS: dict[str, Any] = {
    "classes": ["B", "M"],
    "positive": "M",
    "label": "diagnosis",
    "source": "cells.csv",
    "source_digest": DIGEST,
    "settings_hash": "39ee237db524ae9e",
    "rows_in": 569,
    "splits": [{"name": "train", "rows": 374, "class_counts": {"B": 241, "M": 133}}],
    "features": [
        {"name": "radius", "kind": "numeric", "missing": 0},
        {"name": "colour", "kind": "categorical", "missing": 3},
    ],
    "metrics": [{"name": "auc", "value": 0.99, "lower": 0.95, "upper": 1.0, "asked": 0.9}],
    "slices": [{"name": "sex:♀", "rows": 9, "metrics": [{"name": "auc", "value": 0.9, "lower": None, "upper": None}]}],
    "baselines": [{"name": "SVM (RBF)", "metrics": [{"name": "auc", "value": 0.98, "lower": 0.9, "upper": 1.0}]}],
    "operating_point": {"threshold": 0.5, "recall": 0.9, "precision": 0.8, "false_positive_rate": 0.1, "vouched": None},
    "confusion": [[64, 0], [5, 33]],
    "history": {"values": {"loss": [0.9, 0.5], "val_loss": [0.8, None]}, "kept_epoch": 1},
    "stages": [{"component": "Trainer", "state": "COMPLETE", "seconds": 7.5, "execution_id": 9}],
    "settings": {
        "title": "Cells",
        "class_names": {"B": "benign", "M": "malignant"},
        "seed": 42,
        "data": {"source": "cells.csv", "positive": "M"},
        "model": {"hidden_units": [256, 128], "dropout": 0.3},
    },
}
_seconds = itertools.count()


def time() -> str:
    """A moment later than the one before."""
    minutes, seconds = divmod(next(_seconds), 60)
    return f"2026-11-21T08:{minutes:02}:{seconds:02}.000+00:00"


def run_ended(
    folder: Path, model: str, run_id: str, facts: Mapping[str, Any] | None = FACTS, state: str = "complete"
) -> RunEnded:
    """What a run leaves: its log, schema, statistics, and a report unless `facts` is None."""
    places = {name: folder / run_id / name for name in ("log", "report", "schema", "statistics")}
    for place in places.values():
        place.mkdir(parents=True)
    (places["schema"] / "schema.pbtxt").write_text('feature { name: "radius" }')
    (places["statistics"] / "Split-train").mkdir()
    (places["statistics"] / "Split-train" / "FeatureStats.pb").write_bytes(b"statistics")
    if facts is not None:
        (places["report"] / "report.json").write_text(json.dumps(facts))
        (places["report"] / "model_card.md").write_text("# A card")
    return RunEnded(
        model=model,
        run_id=run_id,
        started="2026-11-21T08:00:00.000+00:00",
        time=time(),
        state=state,
        version=1 if facts else None,
        command="python local_runner.py run config/cells",
        metadata=str(folder / "metadata.sqlite"),
        executions={"Trainer": 9},
        folder=str(places["log"]),
        report=str(places["report"]) if facts else None,
        schema=str(places["schema"]),
        statistics=str(places["statistics"]),
        verdicts={"data": "The data passed.", "evaluation": "Blessed on 102 test rows."},
    )


def released(model: str, release: str, stable: int = 1, candidate: int | None = None) -> Released:
    return Released(release, model, time(), "tester", "promote", stable, candidate)
