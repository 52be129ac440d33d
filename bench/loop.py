"""How often the gates decide in `make loop` as the story has it: moved rows are let through, wrong labels are not.

The first version is trained on the real rows of a table, as they are dealt; the second on these and made-up ones that
have moved, with their true labels; the third on twice as many more whose labels are told wrongly. Each is judged on the
real test rows by the gate's own functions, the second and third beside the version before. As in `bench.gates` there is
no TFX around it; seeds differ in the made-up rows and in the training.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bench.gates import CONFIDENCE, NORMAL, Data, Gate, Outcome, tables, train
from bench.problems import Array, Problem
from bench.report import finish, parser, positive, say, start
from common.tables.columns import ARROW_TYPES
from common.tables.splitting import Splitter
from config.load import load_settings
from config.schema import Feature, model_features, read_schema
from config.settings import Settings
from monitoring.loop import MODEL, MOVES, OTHERS_MOVE, Move
from monitoring.simulate.copula import Population
from monitoring.simulate.people import lied
from monitoring.simulate.shifts import Shift, Table, draw

TEST = 2
AS_READ = {"float": float, "int": int, "string": str}
Columns = Mapping[str, Sequence[Any]]
Split = tuple[Array, Array]


class Story:
    """A table, its rows as they are dealt, and what people send once the world has moved."""

    def __init__(self, model: str) -> None:
        self.settings: Settings = load_settings(Path("config") / model)
        assert self.settings.schema_file
        self._features: Sequence[Feature] = model_features(read_schema(self.settings.schema_file), self.settings)
        self._classes = self.settings.data.classes
        frame = pd.read_csv(str(self.settings.data.source))
        label = frame[self.settings.data.label]
        labels = [self.settings.data.class_of(str(value)) if self._classes else str(float(value)) for value in label]
        columns = {feature.name: _cells(frame[feature.name], feature) for feature in self._features}
        self._known = {feature.name: _known(columns[feature.name], feature) for feature in self._features}
        dealt = self._deal(columns)
        self.real = self._splits(columns, labels, dealt)
        self._move: Move = MOVES.get(model, OTHERS_MOVE)
        self._table = _table(self._features, *_some(columns, labels, np.flatnonzero(dealt == 0)), self._classes)

    @property
    def problem(self) -> Problem:
        return Problem(self.settings.name, lambda rows, rng: self.real[0], 0, self.settings, fixed=True)

    def collected(self, rows: int, rng: np.random.Generator, *, is_lying: bool) -> tuple[Split, ...]:
        """Return moved rows as `collect` takes them, none of them for test."""
        shift = Shift("covariate", self._move.size, self._move.column)
        columns, labels = draw(self._table, shift, 2 * rows, rng)
        labels = lied(labels, self._classes) if is_lying else labels
        taken = np.flatnonzero(self._deal(columns) != TEST)[:rows]
        columns, labels = _some(columns, labels, taken)
        return self._splits(columns, labels, self._deal(columns))

    def outcomes(self, seed: int) -> Iterator[Outcome]:
        rng, before, said = np.random.default_rng(seed), self.real, None
        more = (
            ("version 1, real rows", 0, False),
            ("version 2, moved rows with their labels", self._move.labels, False),
            ("version 3, as many again twice, labels wrong", 2 * self._move.labels, True),
        )
        for name, rows, is_lying in more:
            if rows:
                pairs = zip(before, self.collected(rows, rng, is_lying=is_lying), strict=True)
                before = tuple((np.concatenate([x, xs]), np.concatenate([y, ys])) for (x, y), (xs, ys) in pairs)
            data = Data(before, (before[0][0][:0], before[0][1][:0]))
            model = train(self.problem, data, NORMAL, seed)
            yield Gate(self.problem, data).judge(name, model, said, seed, beside_plain_models=True)
            said = model

    def _deal(self, columns: Columns) -> Array:
        weights = [*self.settings.split.weights.values()]
        splitter = Splitter(weights, self.settings.data.label, None, self.settings.split_seed)
        arrays = {feature.name: _array(columns[feature.name], feature) for feature in self._features}
        return splitter.assign(pa.RecordBatch.from_arrays([*arrays.values()], [*arrays]))

    def _splits(self, columns: Columns, labels: Sequence[str], dealt: Array) -> tuple[Split, ...]:
        """Return each split as Transform would show it, about: quantities, and a column for each code."""
        shown: list[list[float]] = []
        for feature in self._features:
            cells, known = columns[feature.name], self._known[feature.name]
            if feature.kind == "categorical":
                shown += [[float(cell == value) for cell in cells] for value in known]
            else:
                shown.append([float(known[0] if cell is None else cell) for cell in cells])
        x = np.array(shown).T.reshape(len(labels), len(shown))
        y = np.array([self._classes.index(label) if self._classes else float(label) for label in labels])
        y = y.astype(np.int64 if self._classes else np.float64)
        return tuple((x[dealt == i], y[dealt == i]) for i in range(3))


def _cells(column: Any, feature: Feature) -> list[Any]:
    return [None if pd.isna(value) else AS_READ[feature.dtype](value) for value in column]


def _known(cells: Sequence[Any], feature: Feature) -> list[Any]:
    """Return a category's values, of a number what stands in for it where it is missing."""
    present = [cell for cell in cells if cell is not None]
    return sorted(set(present)) if feature.kind == "categorical" else [float(np.mean(present))]


def _array(cells: Sequence[Any], feature: Feature) -> pa.Array:
    array = pa.array(cells, ARROW_TYPES[feature.dtype])
    return array.cast(pa.float32(), safe=False) if feature.dtype == "float" else array


def _some(columns: Columns, labels: Sequence[str], rows: Array) -> tuple[dict[str, list[Any]], list[str]]:
    return {name: [cells[i] for i in rows] for name, cells in columns.items()}, [labels[i] for i in rows]


def _table(features: Sequence[Feature], columns: Columns, labels: Sequence[str], classes: Sequence[str]) -> Table:
    codes = tuple(feature.name for feature in features if feature.kind == "categorical")
    numbers = tuple(feature.name for feature in features if feature.kind != "categorical")
    if classes:
        population = Population.of(columns, labels, codes)
    else:
        population = Population.of_numbers(columns, [float(label) for label in labels], codes)
    return Table(population, numbers, codes, frozenset(), {})


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("loop", __doc__)
    options.add_argument("--model", default=MODEL, help="a table in config/ (%(default)s)")
    options.add_argument("--seeds", type=positive, default=20, help="(%(default)s)")
    options.add_argument("--first", type=int, default=0, help="seed (%(default)s)")
    given = options.parse_args(arguments)
    story, seen = Story(given.model), list[Outcome]()
    for seed in range(given.first, given.first + given.seeds):
        started = time.monotonic()
        seen += (found := [*story.outcomes(seed)])
        told = ", ".join(" ".join(outcome.kinds) or "blessed" for outcome in found)
        say(f"seed {seed}: {told}; {time.monotonic() - started:.0f} s")
    held = [tuple(o.passed for o in seen[i : i + 3]) == (True, True, False) for i in range(0, len(seen), 3)]
    text = f"{tables(seen)}\n\nThe story holds for {sum(held)} of {len(held)} seeds."
    finish(text, {"outcomes": [asdict(o) for o in seen]}, given.out, passed=float(np.mean(held)) >= CONFIDENCE)


if __name__ == "__main__":
    start(main)
