"""How often the evaluation's bounds hold: the share of samples whose bound lies on the right side of the truth.

`python -m bench.bounds` draws tables whose truth is known (normal scores, calibrated probabilities; numbers whose mean
the model knows) and prints metric by table. Of an area, a share and R² the lower bound is looked at, of a loss and an
error the upper one: those that a threshold is held against. 95 of 100 are promised.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import expon, norm, t

from components.evaluation.bounds import evaluate
from components.tasks.rows import Answered, NumberRows, Rows
from config.gate_settings import LOSSES

METRICS = ("accuracy", "recall", "precision", "specificity", "f1", "auc", "average_precision", "log_loss", "brier")
OF_NUMBERS = ("rmse", "mae", "r2")
CONFIDENCE, SHARE_LIMIT = 0.95, 0.93
TRUTH_ROWS = 200_000


class Table(Protocol):
    """Rows to draw, as many as it says or as are asked for."""

    def draw(self, rng: np.random.Generator, rows: int | None = None) -> Answered: ...


@dataclass(frozen=True)
class ClassTable:
    """Rows to draw: classes by their shares, scores `distance` standard deviations apart.

    With groups, `alike` is the share of variance that the rows of one have in common.
    """

    rows: int
    shares: tuple[float, ...]
    distance: float
    of_each_group: int = 1
    alike: float = 0.0

    def __str__(self) -> str:
        shares = "/".join(f"{share:.0%}" for share in self.shares)
        groups = f", groups of {self.of_each_group} alike by {self.alike:g}" if self.of_each_group > 1 else ""
        return f"{self.rows} rows of {shares}, {self.distance:g} apart{groups}"

    def draw(self, rng: np.random.Generator, rows: int | None = None) -> Rows:
        """Draw rows, labels and noise of a group partly in common."""
        count = rows or self.rows
        group = np.arange(count) // self.of_each_group
        label, *noises = (_noise(rng, group, self.alike) for _ in range(1 + len(self.shares)))
        true = np.minimum(np.searchsorted(np.cumsum(self.shares), norm.cdf(label)), len(self.shares) - 1)
        if len(self.shares) == 2:
            score = self.distance * (true - 0.5) + noises[0]
            odds = np.exp(self.distance * score) * self.shares[1] / self.shares[0]
            probabilities = np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)
        else:
            scores = np.stack(noises, axis=1) + self.distance * np.eye(len(self.shares))[true]
            weights = np.exp(self.distance * (scores - scores.max(axis=1, keepdims=True))) * self.shares
            probabilities = weights / weights.sum(axis=1, keepdims=True)
        positive = 1 if len(self.shares) == 2 else None
        groups = group if self.of_each_group > 1 else None
        return Rows(true, probabilities.argmax(axis=1), probabilities, positive, groups)


@dataclass(frozen=True)
class NumberTable:
    """Rows whose label is a mean that the model knows, and an error around it, half of the variance each.

    `errors`: normal, skewed (exponential), heavy (Student's t of 5), or growing with the mean, as those of prices do.
    """

    rows: int
    errors: Literal["normal", "skewed", "heavy", "growing"]
    of_each_group: int = 1
    alike: float = 0.0

    def __str__(self) -> str:
        groups = f", groups of {self.of_each_group} alike by {self.alike:g}" if self.of_each_group > 1 else ""
        return f"{self.rows} numbers, {self.errors} errors{groups}"

    def draw(self, rng: np.random.Generator, rows: int | None = None) -> NumberRows:
        count = rows or self.rows
        group = np.arange(count) // self.of_each_group
        mean, noise = (_noise(rng, group, self.alike) for _ in range(2))
        if self.errors == "skewed":
            noise = expon.ppf(norm.cdf(noise)) - 1
        elif self.errors == "heavy":
            noise = t.ppf(norm.cdf(noise), 5) / np.sqrt(5 / 3)
        elif self.errors == "growing":
            mean = np.exp(mean / 2)
            noise *= mean / 2
        groups = group if self.of_each_group > 1 else None
        return NumberRows(mean + noise, mean, mean, mean, groups)


def _noise(rng: np.random.Generator, group: NDArray[np.int64], alike: float) -> NDArray[np.float64]:
    common, own = rng.normal(size=group.max() + 1), rng.normal(size=len(group))
    return np.asarray(np.sqrt(alike) * common[group] + np.sqrt(1 - alike) * own)


TABLES = (
    *(
        ClassTable(rows, shares, distance)
        for rows in (100, 400)
        for shares in ((0.6, 0.4), (0.9, 0.1))
        for distance in (1.2, 2.5)
    ),
    *(ClassTable(rows, (0.8, 0.15, 0.05), 2.5) for rows in (100, 200, 500)),
    *(ClassTable(104, (0.6, 0.4), 1.5, 4, alike) for alike in (0.5, 0.9)),
)

NUMBERS = (
    *(NumberTable(rows, errors) for rows in (50, 100, 400) for errors in ("normal", "skewed", "heavy", "growing")),
    *(NumberTable(104, "normal", 4, alike) for alike in (0.5, 0.9)),
)


def coverage(table: Table, metrics: Sequence[str], draws: int, samples: int) -> dict[str, float]:
    """Return the share of draws in which each metric's bound held; draws without a value do not count."""
    truth = evaluate(table.draw(np.random.default_rng(2**32), TRUTH_ROWS), metrics, confidence=0.5, samples=2, seed=0)
    held: dict[str, list[bool]] = {metric: [] for metric in metrics}
    for seed in range(draws):
        rows = table.draw(np.random.default_rng(seed))
        for metric, bounded in evaluate(rows, metrics, confidence=CONFIDENCE, samples=samples, seed=seed).items():
            real = truth[metric].value
            if not np.isnan(bounded.value):
                held[metric].append(bounded.upper >= real if metric in LOSSES else bounded.lower <= real)
    return {metric: float(np.mean(outcomes)) if outcomes else float("nan") for metric, outcomes in held.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000, help="samples of each table (2000)")
    parser.add_argument("--resamples", type=int, default=400, help="of each sample, for areas and losses (400)")
    options = parser.parse_args()
    for tables, metrics in ((TABLES, METRICS), (NUMBERS, OF_NUMBERS)):
        print(f"\n| table | {' | '.join(metrics)} |\n|---|{'---|' * len(metrics)}")
        for table in tables:
            kept = coverage(table, metrics, options.draws, options.resamples)
            marks = {metric: "" if share >= SHARE_LIMIT else "**" for metric, share in kept.items()}
            cells = (f"{marks[metric]}{share:.3f}{marks[metric]}" for metric, share in kept.items())
            print(f"| {table} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
