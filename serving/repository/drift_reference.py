"""What a version's training data looked like, and its scores on test: what later traffic is measured against.

Of a number it holds up to `MOST_EDGES` of its values with the rows below and up to each, which is its whole
distribution where there are no more different ones; of a category the rows of its most frequent values. JSON, so that
any tool can read it; numbers have as few digits as read back to the same float32, which is what a model gets.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from common.adapters import adapter
from common.errors import DataError
from serving.repository.layout import STATISTICS
from serving.repository.manifest import Manifest

SCHEMA_VERSION = 1
MOST_EDGES, LEAST_EDGES = 1001, 51
ALL_EDGES = 500_000  # of all features together, so that a table of thousands does not make a file of hundreds of MB
MOST_VALUES = 1000  # of a category that are counted by themselves


@dataclass(frozen=True)
class Numbers:
    """The distribution of a number: `below[i]` rows are less than `edges[i]`, `up_to[i]` at most that.

    The first edge is the least value, the last the largest. `missing` rows have no value, or one that is not finite.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    rows: int
    missing: int
    sigma: float
    edges: list[float]
    below: list[int]
    up_to: list[int]

    @property
    def present(self) -> int:
        return self.rows - self.missing

    @staticmethod
    def of(values: NDArray[Any], most_edges: int = MOST_EDGES) -> Numbers:
        """Summarize `[rows]` numbers; NaN is missing."""
        present = np.sort(values[np.isfinite(values)].astype(np.float64))
        edges = np.unique(present)
        if len(edges) > most_edges:
            edges = np.unique(np.quantile(present, np.linspace(0, 1, most_edges), method="inverted_cdf"))
        return Numbers(
            rows=len(values),
            missing=len(values) - len(present),
            sigma=float(present.std(ddof=1)) if len(present) > 1 else 0.0,
            edges=[_short(edge) for edge in edges],
            below=np.searchsorted(present, edges, "left").tolist(),
            up_to=np.searchsorted(present, edges, "right").tolist(),
        )


@dataclass(frozen=True)
class Categories:
    """The rows of each value: `counts` of the most frequent, `other` of all others, `once` of values seen only once."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    rows: int
    missing: int
    counts: dict[str, int]
    other: int = 0
    once: int = 0

    @property
    def present(self) -> int:
        return self.rows - self.missing

    @staticmethod
    def of(values: Iterable[str | None]) -> Categories:
        """Count texts; None and the empty text are missing."""
        counts = Counter(value or "" for value in values)
        rows, missing = counts.total(), counts.pop("", 0)
        frequent = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_VALUES]
        once = sum(count == 1 for count in counts.values())
        return Categories(rows, missing, dict(frequent), rows - missing - sum(n for _, n in frequent), once)


@dataclass(frozen=True)
class Scores:
    """What the model said of the test rows. `score` is what the prediction log has as `probability`.

    `confusion`: true class: decided class: rows. `strangeness`: how far pictures lie from those of training, by what
    the network's layers make of them.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    score: Numbers
    confusion: dict[str, dict[str, int]]
    errors: Numbers | None = None  # of numbers: how far they were off, whichever way
    strangeness: Numbers | None = None

    @property
    def labels(self) -> Categories:
        """The classes that the model decided on."""
        decided = sum((Counter(row) for row in self.confusion.values()), Counter[str]())
        return Categories(decided.total(), 0, dict(decided))

    @staticmethod
    def of(
        true: NDArray[np.int64], decided: NDArray[np.int64], score: NDArray[Any], class_names: Sequence[str]
    ) -> Scores:
        """Summarize `[rows]` true and decided class indices and scores."""
        table = np.zeros((len(class_names), len(class_names)), np.int64)
        np.add.at(table, (true, decided), 1)
        rows = (dict(zip(class_names, row, strict=True)) for row in table.tolist())
        return Scores(Numbers.of(score), dict(zip(class_names, rows, strict=True)))

    @staticmethod
    def of_numbers(predicted: NDArray[Any], true: NDArray[Any]) -> Scores:
        """Summarize `[rows]` predicted numbers, of which there is no class, and how far they were off."""
        return Scores(Numbers.of(predicted), {}, Numbers.of(np.abs(predicted - true)))

    def told(self) -> dict[str, Any]:
        """Return what there is: an earlier release does not know what only pictures have."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def text(self) -> str:
        return json.dumps(self.told(), ensure_ascii=False) + "\n"

    @staticmethod
    def parse(text: str | bytes) -> Scores:
        """Raises ValueError."""
        return adapter(Scores).validate_json(text)


@dataclass(frozen=True)
class DriftReference:
    """The features by name, and the scores if the evaluation kept them. `rows`: of the train split.

    `slices`: as `sex = 1`, the training rows of each of `evaluation.slices` alone, without scores.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    rows: int
    numbers: dict[str, Numbers]
    categories: dict[str, Categories]
    scores: Scores | None = None
    schema_version: int = SCHEMA_VERSION
    slices: dict[str, DriftReference] = field(default_factory=dict)

    def text(self) -> str:
        scores = {"scores": self.scores.told()} if self.scores else {}
        return json.dumps(asdict(self) | scores, ensure_ascii=False) + "\n"

    def of_slice(self, name: str) -> DriftReference:
        """Raises DataError if it holds no such slice."""
        if name in self.slices:
            return self.slices[name]
        raise DataError(
            "the drift reference holds no such slice",
            got=name,
            wanted=", ".join(self.slices) or "a slice of evaluation.slices, which is empty",
            fix="name it in evaluation.slices, then train and push the model again",
        )

    @staticmethod
    def read(folder: Path) -> DriftReference:
        """Read what travels with a version. Raises DataError if there is nothing that this release can read."""
        version = f"version {folder.name} of {folder.parent.name}"
        name = Manifest.read(folder).drift_reference
        if name == STATISTICS:
            raise DataError(
                f"{version} has nothing that drift could be measured against",
                got="it was pushed by a release whose versions did not carry a drift reference",
                fix="train and push the model again: local_runner.py run",
            )
        try:
            text = (folder / name).read_bytes()
            written_as = json.loads(text).get("schema_version")
            if written_as != SCHEMA_VERSION:
                raise ValueError(f"schema version {written_as}; this release reads {SCHEMA_VERSION}")
            return adapter(DriftReference).validate_json(text)
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(
                f"the drift reference of {version} cannot be read", got=error, fix="push the model again"
            ) from None


def edges_of_each(features: int) -> int:
    """Return how many edges each of so many features may have."""
    return max(LEAST_EDGES, min(MOST_EDGES, ALL_EDGES // max(1, features)))


def _short(value: float) -> float:
    """Return a float32 as people wrote it: 170.4, not 170.39999389648438."""
    with np.errstate(over="ignore"):
        rounded = np.float32(value)
    return float(str(rounded)) if float(rounded) == value and not value.is_integer() else float(value)
