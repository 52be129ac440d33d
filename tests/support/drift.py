"""A model whose version carries a drift reference, and a prediction log with the rows that a test wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from common.records.files import STRANGENESS
from common.records.labels import Feedback, keep
from serving.repository.drift_reference import Categories, DriftReference, Numbers, Scores
from serving.repository.layout import DRIFT_REFERENCE, MANIFEST
from serving.repository.manifest import Manifest, checksums
from tests.support.serving.versions import bare_version
from tests.support.web.apps import open_database
from tests.support.web.logged import batch, put

OUTPUTS = ("probability", STRANGENESS)
MIDNIGHT = datetime(2026, 11, 20, tzinfo=timezone.utc)
DAY = timedelta(days=1)
Columns = Mapping[str, Any]


def floats(values: Any) -> np.ndarray[Any, Any]:
    """Numbers as the model reads them, and as they come into the log: as people write them."""
    return np.array([float(str(np.float32(value))) for value in values])


def patients(rows: int, seed: int = 1, **changes: Any) -> dict[str, Any]:
    """Columns of a table: `age` (tied), `pressure`, `kind` (text), `code` (whole numbers that are categories)."""
    chance = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "age": floats(np.round(chance.normal(50, 10, rows))),
        "pressure": floats(chance.normal(120, 15, rows)),
        "kind": chance.choice(["a", "b", "c"], rows, p=[0.6, 0.3, 0.1]).tolist(),
        "probability": chance.beta(2, 5, rows),
    }
    return columns | {name: change(columns[name], chance) for name, change in changes.items()}


def reference_of(columns: Columns, *, is_scored: bool = True) -> DriftReference:
    """What the pusher would write of such a table."""
    texts = {name: Categories.of(values) for name, values in columns.items() if isinstance(values, list)}
    numbers = {
        name: Numbers.of(np.float32(values).astype(float))
        for name, values in columns.items()
        if name not in texts and name != "probability"
    }
    score: Any = np.float32(columns["probability"])
    decided = (score >= 0.5).astype(int)
    return DriftReference(
        len(score), numbers, texts, Scores.of(decided, decided, score, ("no", "yes")) if is_scored else None
    )


@dataclass(frozen=True)
class Watched:
    """State under `var` of one model."""

    var: Path
    model: str = "patients"
    references: dict[int, DriftReference] = field(default_factory=dict)

    def push(self, version: int, reference: DriftReference | None) -> None:
        """Make a version, of an earlier release if it has no reference."""
        folder = bare_version(self.var / "serving" / self.model, version)
        if reference:
            (folder / DRIFT_REFERENCE).write_text(reference.text(), encoding="utf-8")
            manifest = replace(Manifest.read(folder), drift_reference=DRIFT_REFERENCE)
            (folder / MANIFEST).unlink()
            (folder / MANIFEST).write_text(replace(manifest, checksums=checksums(folder)).text())

    def predict(
        self,
        columns: Columns,
        at: datetime,
        version: int = 1,
        route: str = "stable",
        decided: Sequence[str] | None = None,
    ) -> None:
        """Have the version answer some rows, as the web app logs it. `decided`: by default what the score says."""
        score: Any = np.float32(columns["probability"])
        put(
            self.var / "predictions" / self.model,
            batch(
                len(score),
                at,
                self.model,
                version,
                route=route,
                columns={name: values for name, values in columns.items() if name not in OUTPUTS},
                strangeness=[*columns.get(STRANGENESS, ())],
                labels=list(decided or ("yes" if value >= 0.5 else "no" for value in score)),
                probabilities=np.stack([1 - score, score], axis=1),
                classes=("no", "yes"),
                positive="yes",
            ),
        )

    def predict_day(
        self, days_ago: float, by: float = 0.0, version: int = 1, decided: Sequence[str] | None = None
    ) -> datetime:
        """Have 300 rows answered some days ago, whose pressure has moved by so much; return when."""
        at = datetime.now(timezone.utc) - timedelta(days=days_ago)
        columns = patients(300, int(10 * days_ago), pressure=lambda values, _: floats(values + by))
        self.predict(columns, at, version, decided=decided)
        return at

    def label(self, at: datetime, labels: Mapping[int, str], version: int = 1, who: str = "ann") -> None:
        """Tell the true labels of rows predicted together at a time, by their number."""
        with open_database(self.var / "webapp.sqlite").writing() as connection:
            for row, label in labels.items():
                told = Feedback(at + DAY, f"request-{at:%d%H%M%S%f}", row, version, label, who)
                keep(connection, self.model, at, told)
