"""Plain models on the same splits: what a network has to be worth. The gate and the report set it beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from common.files import write_text
from components.evaluation.bounds import Difference, Metric, difference, evaluate
from components.splits import SplitTables
from components.table import Table
from components.tasks.plain import MAX_ROWS
from components.tasks.rows import Answered, Rows
from components.training.plain import PlainModels
from config.settings import Settings

FILE_NAME = "plain_models.json"


@dataclass(frozen=True)
class Baseline:
    """A plain model on the same splits. `threshold` was chosen on eval as the network's was; None if multi-class.

    `on_eval`: `change_metric` on eval, more is better, by which the best of them is told without a look at test.
    `behind`: how much better the network is by `change_metric` on the same test rows; None where that says nothing.
    `is_constant`: it answers all rows alike. `confusion`: test rows by true and called class. `seconds`: fitting took.
    """

    name: str
    fit_rows: int
    test_rows: int
    threshold: float | None
    metrics: tuple[Metric, ...]
    on_eval: float | None = None
    behind: Difference | None = None
    is_constant: bool = False
    confusion: tuple[tuple[int, ...], ...] = ()
    seconds: float = field(default=0.0, compare=False)

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
                "confusion": tuple(map(tuple, values["confusion"])),
            }
        )
        for values in json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    )


def judge_baselines(
    models: PlainModels, tables: SplitTables, written: dict[str, int], network: Answered, settings: Settings
) -> tuple[Baseline, ...]:
    """Set the network beside the plain models on test. `written`: the rows of each split.

    `network`: what it says of all test rows; of a split too large for plain models every n-th row is taken.
    """
    evaluation, test = (tables.read(split, written[split], MAX_ROWS) for split in ("eval", "test"))
    every = max(1, -(-written["test"] // MAX_ROWS))
    same = network.of(None if every == 1 else np.arange(len(network)) % every == 0)
    return beside(models, evaluation, test, settings, same)


def compare(
    train: Table, evaluation: Table, test: Table, settings: Settings, network: Answered | None = None
) -> tuple[Baseline, ...]:
    """Fit plain models and set the network beside them, all at once."""
    return beside(PlainModels.fit(train, evaluation, settings), evaluation, test, settings, network)


def beside(
    models: PlainModels, evaluation: Table, test: Table, settings: Settings, network: Answered | None = None
) -> tuple[Baseline, ...]:
    """Judge each plain model on test. `network`: what it says of the same rows, if it is to be compared."""
    if not len(evaluation.targets) or not len(test.targets):
        return ()
    baselines = []
    for one in models.fitted:
        tuned, tested = (models.rows(one, table) for table in (evaluation, test))
        on_eval, behind = (None, None) if network is None else _compared(tuned, tested, network, settings)
        baselines.append(
            Baseline(
                one.model.name,
                one.rows,
                len(test.targets),
                one.threshold,
                bounded(tested, settings),
                on_eval,
                behind,
                one.model.is_constant,
                tested.confusion if isinstance(tested, Rows) else (),
                one.seconds,
            )
        )
    return tuple(baselines)


def _compared(
    tuned: Answered, tested: Answered, network: Answered, settings: Settings
) -> tuple[float | None, Difference | None]:
    """Return how good a plain model is on eval, and how much better the network is on the same test rows."""
    wanted = settings.evaluation
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


def bounded(rows: Answered, settings: Settings) -> tuple[Metric, ...]:
    """Return the metrics that the network is judged by, with the same kind of bounds."""
    wanted = settings.evaluation
    values = evaluate(
        rows,
        [name for name in wanted.metrics if name != "example_count"],
        confidence=wanted.confidence,
        samples=wanted.bootstrap_samples,
        seed=settings.seed,
    )
    return tuple(values.values())
