"""Plain models on the same splits, so that one sees what the network is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluation.bounds import Metric, Rows, choose_threshold, evaluate
from components.table import Table
from config.settings import LOSSES, Settings

MAX_FIT_ROWS = 20_000
MAX_SVM_ROWS = 5_000  # its time grows with the square of the rows
MAX_CATEGORIES = 100  # commonest values of a text column that get a column of their own
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Baseline:
    """A plain model on the same splits. `threshold` was chosen on eval as the network's was; None if multi-class."""

    name: str
    fit_rows: int
    test_rows: int
    threshold: float | None
    metrics: tuple[Metric, ...]


def compare(train: Table, evaluation: Table, test: Table, settings: Settings) -> tuple[Baseline, ...]:
    """Fit each baseline on train, choose its threshold on eval as the network's was, and judge it on test.

    Large splits are sampled with the run's seed; each baseline says how many rows it saw. Nothing comes back where
    the train split has a single class or a split has no rows.
    """
    if len(np.unique(train.classes)) < 2 or not len(evaluation.classes) or not len(test.classes):
        return ()
    encode = _encoder(train)
    x_train, x_eval, x_test = encode(train), encode(evaluation), encode(test)
    rng = np.random.default_rng(settings.seed)
    baselines = []
    for name, estimator, limit in _estimators(settings.seed):
        rows = len(train.classes)
        chosen = np.arange(rows) if rows <= limit else np.sort(rng.choice(rows, limit, replace=False))
        if len(np.unique(train.classes[chosen])) < 2:
            continue
        estimator.fit(x_train[chosen], train.classes[chosen])
        width = len(settings.data.classes)
        on_eval, on_test = (_probabilities(estimator, x, width) for x in (x_eval, x_test))
        threshold = _threshold(on_eval, evaluation.classes, settings)
        metrics = bounded(test, _decide(on_test, threshold, settings), on_test, settings)
        if not hasattr(estimator, "predict_proba"):  # a margin is no probability: its loss would say nothing
            metrics = tuple(Metric(m.name, *[float("nan")] * 3) if m.name in LOSSES else m for m in metrics)
        baselines.append(Baseline(name, len(chosen), len(test.classes), threshold, metrics))
    return tuple(baselines)


def bounded(test: Table, decided: NDArray[np.int64], probabilities: Floats, settings: Settings) -> tuple[Metric, ...]:
    """Return the metrics that the network is judged by, with the same kind of bounds."""
    wanted = settings.evaluation
    positive = settings.data.positive_index if settings.data.is_binary else None
    groups = None if test.groups is None else np.unique(test.groups, return_inverse=True)[1]
    values = evaluate(
        Rows(test.classes, decided, probabilities, positive, groups),
        [name for name in wanted.metrics if name != "example_count"],
        confidence=wanted.confidence,
        samples=wanted.bootstrap_samples,
        seed=settings.seed,
    )
    return tuple(values.values())


def _estimators(seed: int) -> Sequence[tuple[str, Any, int]]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    return (
        ("Logistic regression", LogisticRegression(max_iter=1000), MAX_FIT_ROWS),
        ("Decision tree", DecisionTreeClassifier(min_samples_leaf=5, random_state=seed), MAX_FIT_ROWS),
        ("SVM (RBF kernel)", SVC(random_state=seed), MAX_SVM_ROWS),
    )


def _encoder(train: Table) -> Any:
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


def _probabilities(estimator: Any, x: Floats, classes: int) -> Floats:
    """Return `[rows, classes]`; a margin is squashed, which keeps its order and so its AUC."""
    if hasattr(estimator, "predict_proba"):
        known = estimator.predict_proba(x)
    else:
        margin = np.clip(estimator.decision_function(x), -15, 15)
        if margin.ndim == 1:
            margin = np.stack([-margin / 2, margin / 2], axis=1)
        known = np.exp(margin) / np.exp(margin).sum(axis=1, keepdims=True)
    every = np.zeros((len(x), classes))
    every[:, estimator.classes_] = known  # a class without a train row has no column
    return every


def _threshold(probabilities: Floats, true: NDArray[np.int64], settings: Settings) -> float | None:
    if not settings.data.is_binary:
        return None
    positive = settings.data.positive_index
    scores = probabilities[:, positive].astype(np.float32)
    return choose_threshold(true == positive, scores, settings.evaluation.target_recall).threshold


def _decide(probabilities: Floats, threshold: float | None, settings: Settings) -> NDArray[np.int64]:
    if threshold is None:
        return probabilities.argmax(axis=1)
    positive = settings.data.positive_index
    return np.where(probabilities[:, positive].astype(np.float32) >= threshold, positive, 1 - positive)
