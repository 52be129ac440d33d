"""The tables on which the evaluation gate is asked: drawn ones whose truth is known, and two of ours as shipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.load import load_settings
from config.onboard.guesses import recipe
from config.settings import Settings

Array = NDArray[Any]
HEART = Path("data/heart_disease")


@dataclass(frozen=True)
class Problem:
    """A table to draw; a `fixed` one has no more rows than it has, so that a loss is known from test rows alone."""

    name: str
    draw: Callable[[int, np.random.Generator], tuple[Array, Array]]
    rows: int
    settings: Settings
    fixed: bool = False

    @property
    def classes(self) -> int:
        """How many there are, 0 where a number is predicted."""
        return len(self.settings.data.classes)


def settings_of(classes: int, train_rows: int) -> Settings:
    """Return what `init` writes for a table of so many rows; without classes a number is predicted."""
    accuracy = "binary_accuracy" if classes == 2 else "accuracy"
    metrics = ["auc", "precision", "recall", accuracy] if classes else ["rmse", "mae", "r2"]
    kind = {"classes": [str(i) for i in range(classes)]} if classes else {"task": "regression"}
    values: dict[str, Any] = {
        "name": "bench",
        "data": {"source": "x.csv", "label": "y", **kind},
        "model": recipe(train_rows, is_number=not classes),
        "evaluation": {"metrics": metrics, "when_plain_is_better": "refuse"},
    }
    if classes == 2:
        values["operating_point"] = {"objective": "accuracy"}
    return Settings.model_validate(values)


def noisy(rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two of ten columns tell the class, with so much noise that the best AUC is about .79."""
    x = rng.normal(size=(rows, 10))
    return x, (x[:, 0] + x[:, 1] + 1.8 * rng.normal(size=rows) > 0).astype(np.int64)


def number(rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """A number that two of ten columns tell, with so much noise that the best R² is about .38."""
    x = rng.normal(size=(rows, 10))
    return x, x[:, 0] + x[:, 1] + 1.8 * rng.normal(size=rows)


def three(rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Three classes of 50, 30 and 20 %, of which two lie close."""
    y = rng.choice(3, rows, p=[0.5, 0.3, 0.2])
    x = rng.normal(size=(rows, 8))
    x[:, :3] += 1.2 * np.eye(3)[y] + 0.5 * (y == 2)[:, None] * np.array([0, 1, 0])
    return x, y


def breast_cancer(_rows: int, _rng: np.random.Generator) -> tuple[Array, Array]:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    return data.data, (data.target == 0).astype(np.int64)


def heart_disease(_rows: int, _rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the Cleveland table as Transform would show it: quantities, and a column for each code."""
    import pandas as pd

    data = pd.read_csv(HEART / "heart_disease.csv")
    codes = list(load_settings(Path("config/heart_disease")).categorical)
    quantities = data.drop(columns=["num", *codes])
    coded = pd.get_dummies(data[codes].astype("string"), dummy_na=True)
    x = pd.concat([quantities.fillna(quantities.mean()), coded.loc[:, coded.any()]], axis=1)
    return x.to_numpy(np.float64), data["num"].to_numpy(np.int64)


def problems() -> tuple[Problem, ...]:
    cancer, heart = (load_settings(Path("config") / name) for name in ("breast_cancer", "heart_disease"))
    return (
        Problem("breast cancer, as shipped", breast_cancer, 569, cancer, fixed=True),
        Problem("heart disease, as shipped", heart_disease, 303, heart, fixed=True),
        Problem("noisy, 3,000 × 10", noisy, 3000, settings_of(2, 1920)),
        Problem("three classes, 1,500 × 8", three, 1500, settings_of(3, 960)),
        Problem("a number, 3,000 × 10", number, 3000, settings_of(0, 1920)),
    )
