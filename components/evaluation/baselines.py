"""Plain models on the same splits: what a network has to be worth. The gate and the report set it beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.files import write_text
from components.evaluation.bounds import Difference, Metric, difference, evaluate
from components.splits import SPLITS, SplitTables
from components.table import Table
from components.tasks import task_of
from components.tasks.rows import Answered
from config.gate_settings import LOSSES
from config.settings import Settings

MAX_FIT_ROWS = 20_000
MAX_SVM_ROWS = 5_000  # its time grows with the square of the rows
MAX_CATEGORIES = 100  # commonest values of a text column that get a column of their own
FILE_NAME = "plain_models.json"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Baseline:
    """A plain model on the same splits. `threshold` was chosen on eval as the network's was; None if multi-class.

    `on_eval`: `change_metric` on eval, more is better, by which the best of them is told without a look at test.
    `behind`: how much better the network is by `change_metric` on the same test rows; None where that says nothing.
    `is_constant`: it answers all rows alike.
    """

    name: str
    fit_rows: int
    test_rows: int
    threshold: float | None
    metrics: tuple[Metric, ...]
    on_eval: float | None = None
    behind: Difference | None = None
    is_constant: bool = False

    def metric(self, name: str) -> Metric | None:
        return next((metric for metric in self.metrics if metric.name == name), None)


def best_of(baselines: Sequence[Baseline]) -> Baseline | None:
    """Return the plain model that was best on eval among those that the network can be compared with."""
    fitted = [(b.on_eval, b) for b in baselines if b.behind and not b.is_constant and b.on_eval is not None]
    return max(fitted, key=lambda pair: pair[0], default=(0.0, None))[1]


def write_baselines(baselines: Sequence[Baseline], folder: Path) -> None:
    write_text(folder / FILE_NAME, json.dumps([asdict(baseline) for baseline in baselines], indent=1) + "\n")


def read_baselines(folder: Path) -> tuple[Baseline, ...]:
    """Return what the Evaluator left of plain models beside its metrics."""
    return tuple(
        Baseline(
            **{
                **values,
                "metrics": tuple(Metric(**metric) for metric in values["metrics"]),
                "behind": values["behind"] and Difference(**values["behind"]),
            }
        )
        for values in json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    )


def fit_baselines(
    tables: SplitTables, written: dict[str, int], network: Answered, settings: Settings
) -> tuple[Baseline, ...]:
    """Fit plain models on train and set the network beside them on test. `written`: the rows of each split.

    `network`: what it says of all test rows; of a split too large for plain models every n-th row is taken.
    """
    train, evaluation, test = (tables.read(split, written[split], MAX_FIT_ROWS) for split in SPLITS)
    every = max(1, -(-written["test"] // MAX_FIT_ROWS))
    same = network.of(None if every == 1 else np.arange(len(network)) % every == 0)
    return compare(train, evaluation, test, settings, same)


def compare(
    train: Table, evaluation: Table, test: Table, settings: Settings, network: Answered | None = None
) -> tuple[Baseline, ...]:
    """Fit each plain model on train, choose its threshold on eval as the network's was, and judge it on test.

    Large splits are sampled with the run's seed; each says how many rows it saw. Nothing comes back where the train
    split has a single class or a split has no rows. `network`: what it says of the same test rows.
    """
    if len(np.unique(train.targets)) < 2 or not len(evaluation.targets) or not len(test.targets):
        return ()
    encode, task = encoder(train), task_of(settings.data)
    x_train, x_eval, x_test = encode(train), encode(evaluation), encode(test)
    rng = np.random.default_rng(settings.seed)
    baselines = []
    for name, estimator in task.plain_models(settings.seed):
        rows, limit = len(train.targets), MAX_SVM_ROWS if name.startswith("SVM") else MAX_FIT_ROWS
        chosen = np.arange(rows) if rows <= limit else np.sort(rng.choice(rows, limit, replace=False))
        if len(np.unique(train.targets[chosen])) < 2:
            continue
        estimator.fit(x_train[chosen], train.targets[chosen])
        threshold = task.plain_head(estimator, x_eval, evaluation.targets, settings)
        tuned, tested = (
            task.plain_rows(estimator, x, table.targets, threshold, _groups(table))
            for x, table in ((x_eval, evaluation), (x_test, test))
        )
        # a margin is no probability: its loss would say nothing
        has_losses = settings.data.is_regression or hasattr(estimator, "predict_proba")
        baselines.append(
            Baseline(
                name,
                len(chosen),
                len(test.targets),
                threshold,
                bounded(tested, settings, has_losses=has_losses),
                *_beside(tuned, tested, network, settings, has_losses=has_losses),
                is_constant=name == task.commonest,
            )
        )
    return tuple(baselines)


def _beside(
    tuned: Answered, tested: Answered, network: Answered | None, settings: Settings, *, has_losses: bool
) -> tuple[float | None, Difference | None]:
    """Return how good a plain model is on eval, and how much better the network is on the same test rows."""
    wanted = settings.evaluation
    if network is None or (wanted.change_metric in LOSSES and not has_losses):
        return None, None
    [on_eval] = evaluate(tuned, [wanted.change_metric], confidence=0.5, samples=2, seed=0).values()
    found = difference(
        network,
        tested,
        wanted.change_metric,
        confidence=wanted.confidence,
        samples=wanted.bootstrap_samples,
        seed=settings.seed,
    )
    return None if np.isnan(on_eval.goodness) else on_eval.goodness, None if np.isnan(found.error) else found


def bounded(rows: Answered, settings: Settings, *, has_losses: bool = True) -> tuple[Metric, ...]:
    """Return the metrics that the network is judged by, with the same kind of bounds."""
    wanted = settings.evaluation
    values = evaluate(
        rows,
        [name for name in wanted.metrics if name != "example_count"],
        confidence=wanted.confidence,
        samples=wanted.bootstrap_samples,
        seed=settings.seed,
    )
    unknown = (float("nan"),) * 3
    return tuple(m if has_losses or m.name not in LOSSES else Metric(m.name, *unknown) for m in values.values())


def _groups(table: Table) -> NDArray[np.int64] | None:
    return None if table.groups is None else np.unique(table.groups, return_inverse=True)[1]


def encoder(train: Table) -> Any:
    """Return what turns a Table into a matrix: z-scores and missing flags, and one column for each common text."""
    known = ~np.isnan(train.numbers)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, train.numbers, 0.0).sum(axis=0) / count
    deviation = np.sqrt((np.where(known, train.numbers - mean, 0.0) ** 2).sum(axis=0) / count)
    optional = ~known.all(axis=0)
    texts = []
    for column in train.texts.T:
        values, counts = np.unique(column.astype(str), return_counts=True)
        texts.append(values[np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]])

    def encode(table: Table) -> Floats:
        missing = np.isnan(table.numbers)
        scores = np.where(missing, 0.0, table.numbers - mean) / np.where(deviation > 0, deviation, 1.0)
        hot = [column.astype(str)[:, None] == values for column, values in zip(table.texts.T, texts, strict=True)]
        return np.concatenate([scores, missing[:, optional], *hot], axis=1).astype(np.float64)

    return encode
