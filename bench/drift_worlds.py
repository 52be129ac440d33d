"""Populations whose truth is known, and references trained on rows of them: what `bench.drift` looks for drift in."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.report import ROOT
from common.records.files import INPUT
from monitoring.drift.check import check
from monitoring.drift.window import Gathered, Window
from monitoring.simulate.copula import Population
from serving.repository.drift_reference import Categories, DriftReference, Numbers, Scores

TRAIN, TEST = 364, 102  # rows of the example's splits
Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class World:
    """A table to draw from. `positive` is the class whose probability is the score."""

    name: str
    population: Population
    positive: str

    def draw(
        self, rows: int, chance: np.random.Generator, shares: Mapping[str, float] | None = None
    ) -> tuple[Columns, list[str]]:
        return self.population.draw(rows, chance, shares)

    @property
    def numbers(self) -> list[str]:
        """The columns of numbers."""
        columns, _ = self.draw(20, np.random.default_rng(0))
        return [name for name, values in columns.items() if not any(isinstance(value, str) for value in values)]


@dataclass(frozen=True)
class Version:
    """A reference, and a model to score windows with: logistic regression on the numbers."""

    reference: DriftReference
    model: Any
    names: list[str]
    positive: str

    @staticmethod
    def train(world: World, chance: np.random.Generator) -> Version:
        names = world.numbers
        columns, labels = world.draw(TRAIN, chance)
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(_matrix(columns, names), labels)
        version = Version(_reference(columns, names, None), model, names, world.positive)
        tested, true = world.draw(TEST, chance)
        score = version.scores(tested)
        classes = [str(name) for name in model.classes_]
        numbered = {name: i for i, name in enumerate(classes)}
        decided = np.where(score >= 0.5, numbered[world.positive], 1 - numbered[world.positive])
        scores = Scores.of(np.array([numbered[label] for label in true]), decided, score, classes)
        return Version(_reference(columns, names, scores), model, names, world.positive)

    def scores(self, columns: Columns) -> Any:
        likely = self.model.predict_proba(_matrix(columns, self.names))
        return np.float32(likely[:, [*self.model.classes_].index(self.positive)])

    def window(self, columns: Columns) -> Window:
        gathered = Gathered(self.reference)
        score = self.scores(columns)
        other = next(str(name) for name in self.model.classes_ if name != self.positive)
        features = {INPUT + name: pa.array(values, from_pandas=True) for name, values in columns.items()}
        labels = [self.positive if value >= 0.5 else other for value in score]
        gathered.add(pa.table({**features, "probability": score.astype(np.float64), "label": labels}))
        return gathered.window()

    def findings(self, columns: Columns) -> set[str]:
        """Return the columns that are called drifted."""
        return {each.title for each in check(self.reference, self.window(columns)) if each.is_finding}


def worlds() -> tuple[World, World]:
    with (ROOT / "data" / "breast_cancer" / "breast_cancer.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = [row.pop("diagnosis") for row in rows]
    cells = {name: [float(row[name]) for row in rows] for name in rows[0]}
    return World("30 numbers", Population.of(cells, labels), "M"), World("mixed", Population.of(*_mixed()), "ill")


def _mixed() -> tuple[Columns, list[str]]:
    """Return a table with ties, gaps, whole numbers, few and many categories, and a column that never varies."""
    chance, rows = np.random.default_rng(11), 5000
    is_ill = chance.random(rows) < 0.35
    age = np.clip(np.round(np.where(is_ill, 60, 50) + chance.normal(0, 11, rows)), 18, 95)
    dose = np.where(chance.random(rows) < 0.6, 0.0, chance.gamma(2, 10, rows))
    value: Columns = {
        "age": [int(number) for number in age],
        "pressure": [round(float(number), 1) for number in 80 + age + chance.normal(0, 14, rows)],
        "dose": [round(float(number), 2) for number in dose],
        "glucose": [
            None if gone else round(float(n), 1)
            for n, gone in zip(chance.lognormal(4.6, 0.3, rows), chance.random(rows) < 0.15, strict=True)
        ],
        "visits": [int(number) for number in chance.poisson(1.5, rows)],
        "ratio": [float(number) for number in np.round(chance.exponential(1, rows), 4)],
        "constant": [1.0] * rows,
        "sex": chance.choice(["f", "m"], rows).tolist(),
        "pain": chance.choice(["none", "some", "typical", "atypical"], rows, p=[0.5, 0.25, 0.15, 0.1]).tolist(),
        "ward": [f"w{number}" for number in chance.zipf(1.6, rows).clip(1, 60)],
        "note": [
            None if gone else word
            for word, gone in zip(chance.choice(["a", "b"], rows).tolist(), chance.random(rows) < 0.4, strict=True)
        ],
    }
    return value, ["ill" if ill else "well" for ill in is_ill]


def _reference(columns: Columns, names: Sequence[str], scores: Scores | None) -> DriftReference:
    numbers = {name: Numbers.of(np.float32(np.array(columns[name], float)).astype(float)) for name in names}
    categories = {name: Categories.of(values) for name, values in columns.items() if name not in names}
    return DriftReference(TRAIN, numbers, categories, scores)


def _matrix(columns: Columns, names: Sequence[str]) -> Any:
    return np.nan_to_num(np.array([columns[name] for name in names], float).T)
