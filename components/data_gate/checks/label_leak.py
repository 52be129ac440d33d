"""Find a feature that alone tells the label.

Each feature is scored by itself: balanced accuracy, five-fold cross-validated, of the majority label of each value and,
for numbers, of a small decision tree. Exact and renamed copies of the label score 1. Missing counts as a value of its
own; and the rows that have a value are also scored apart, for a leak that only some rows show. Of a label that is a
number the classes are its tenths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import beta

from components.data_gate.judge import RawFinding

FOLDS = 5
MIN_ROWS = 20
MIN_PER_CLASS = 10  # for the rows with a value, scored apart
LEAVES_PER_CLASS = 4
MAX_CELLS = 2**22  # rows × classes
SLACK = 0.01  # a fold's tree may do a little better on its fifth than any tree on the whole
UNUSUAL = 0.97  # from here on a feature is told of, though it be no leak
UNUSUAL_OF_FEW, FEW_ROWS = 0.9, 100  # looked into from here on where a class has so few rows
CONFIDENCE = 0.95
TENTHS = 10  # a label that is a number is told by these
Codes = NDArray[np.int64]


def label_leaks(sample: Mapping[str, Any], label: str, threshold: float, seed: int) -> list[RawFinding]:
    """Score each feature of a sample: `{column: flat Arrow array}`, the label among them."""
    if label not in sample:
        return []
    labels = encode(sample[label])
    if pa.types.is_floating(sample[label].type):
        labels = tenths(labels)
    random = np.random.default_rng(seed)
    kept = _usable(labels, random)
    labels = np.unique(labels[kept], return_inverse=True)[1].astype(np.int64)
    if len(labels) < MIN_ROWS or labels.max() < 1:
        return []
    folds = _folds(labels, random)
    # a tree is fitted only where it may matter: of few rows of a class chance takes more away
    floor = min(threshold, UNUSUAL if np.bincount(labels).min() >= FEW_ROWS else UNUSUAL_OF_FEW)
    findings = []
    for name, column in sample.items():
        if name == label:
            continue
        codes = encode(column)[kept]
        is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        numbers = positions(column)[kept] if is_number else None
        score, most, rows = best_score(codes, numbers, labels, folds, floor)
        if score >= threshold:
            findings.append(_leak(name, label, score, rows, copies=_is_copy(codes, labels)))
        elif score >= UNUSUAL or most >= threshold:
            findings.append(_possible_leak(name, label, score, most, len(rows)))
    return findings


def tenths(ranks: Codes) -> Codes:
    """Return to which tenth of the rows each rank of a number belongs; equal numbers go together, missing stays -1."""
    known = ranks[ranks >= 0]
    counts = np.bincount(known) if len(known) else np.zeros(1, np.int64)
    middles = np.cumsum(counts) - counts / 2
    of_rank = np.minimum(middles * TENTHS // max(len(known), 1), TENTHS - 1).astype(np.int64)
    return np.where(ranks < 0, -1, of_rank[ranks])


def encode(column: Any) -> Codes:
    """Return the rank of each value among the column's distinct values, `[rows]` int64; missing is -1."""
    is_missing = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type):
        codes = column.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    else:
        codes = np.unique(column.fill_null(0).to_numpy(zero_copy_only=False), return_inverse=True)[1].astype(np.int64)
    return np.where(is_missing, -1, codes)


def positions(column: Any) -> NDArray[np.float64]:
    """Return numbers from 0 on that keep the order and the gaps of a column's; missing and infinite ones lie apart."""
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    is_missing = column.is_null().to_numpy(zero_copy_only=False)
    is_finite = np.isfinite(values) & ~is_missing
    least = values[is_finite].min() if is_finite.any() else values.dtype.type(0)
    shifted = np.where(is_finite, values - least, 0).astype(np.float64)  # so that large integers survive float32
    gap = max(float(shifted.max(initial=0.0)), 1.0)
    shifted[values == np.inf] = 2 * gap
    shifted[values == -np.inf] = -gap
    shifted[np.isnan(values)] = 3 * gap
    shifted[is_missing] = -2 * gap
    return shifted


def best_score(
    codes: Codes, numbers: NDArray[np.float64] | None, labels: Codes, folds: Codes, threshold: float
) -> tuple[float, float, NDArray[np.intp]]:
    """Return the best balanced accuracy of one feature, its upper confidence bound, and the rows it holds for.

    `numbers` are its positions, if it is numeric. A score that is surely below the threshold may come back as 0.
    """
    everything = np.arange(len(codes))
    subsets = [everything]
    present = np.flatnonzero(codes >= 0)
    counts = np.bincount(labels[present])
    if len(present) < len(codes) and (counts >= MIN_PER_CLASS).sum() > 1:
        subsets.append(present[counts[labels[present]] >= MIN_PER_CLASS])
    best = 0.0, 0.0, everything
    for rows in subsets:
        values = np.unique(codes[rows], return_inverse=True)[1]
        classes = np.unique(labels[rows], return_inverse=True)[1]
        predictions = [predict_by_value(values, classes, folds[rows])]
        score = balanced_accuracy(predictions[0], classes)
        if numbers is not None and score < threshold and bound_of_tree(values, classes) >= threshold - SLACK:
            predictions.append(predict_by_tree(numbers[rows], classes, folds[rows]))
        for predicted in predictions:
            scored = balanced_accuracy(predicted, classes), _upper_bound(predicted, classes), rows
            best = max(best, scored, key=lambda scored: scored[0])
    return best


def predict_by_value(codes: Codes, labels: Codes, folds: Codes) -> Codes:
    """Predict each value's majority label, learnt from the other folds; an unknown value is predicted wrongly (-1)."""
    classes = int(labels.max()) + 1
    values = int(codes.max()) + 1
    if values * classes > MAX_CELLS or values > len(codes) // 2:
        return np.full(len(codes), -1)  # hardly a value comes twice: nothing to learn
    weights = 1.0 / np.bincount(labels)
    counts = np.bincount(codes * classes + labels, minlength=values * classes).reshape(values, classes)
    predicted = np.full(len(codes), -1)
    for fold in range(FOLDS):
        held = folds == fold
        held_counts = np.bincount(codes[held] * classes + labels[held], minlength=values * classes)
        learnt = (counts - held_counts.reshape(values, classes)) * weights
        majority = np.where(learnt.any(axis=1), learnt.argmax(axis=1), -1)
        predicted[held] = majority[codes[held]]
    return predicted


def bound_of_tree(codes: Codes, labels: Codes) -> float:
    """Return a balanced accuracy that no such tree surpasses on these rows; far cheaper than fitting one.

    Cut the sorted rows into blocks: a tree's thresholds lie in at most `leaves - 1` of them, and within each other
    block it answers the same, so it is wrong on the block's minority.
    """
    classes = int(labels.max()) + 1
    leaves = LEAVES_PER_CLASS * classes
    ordered = labels[np.argsort(codes, kind="stable")]
    weights = 1.0 / (classes * np.bincount(labels))
    bounds = [1.0]
    for blocks in (2 * leaves, 4 * leaves, 8 * leaves):
        block = np.arange(len(ordered)) * blocks // len(ordered)
        cells = np.bincount(block * classes + ordered, weights[ordered], blocks * classes).reshape(blocks, classes)
        wrong = np.sort(cells.sum(axis=1) - cells.max(axis=1))
        bounds.append(1.0 - wrong[: blocks - (leaves - 1)].sum())
    return min(bounds)


def predict_by_tree(numbers: NDArray[np.float64], labels: Codes, folds: Codes) -> Codes:
    # half a second to import, and mostly no feature needs it
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    leaves = LEAVES_PER_CLASS * (int(labels.max()) + 1)
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, class_weight="balanced", random_state=0)
    return np.asarray(cross_val_predict(tree, numbers.reshape(-1, 1), labels, cv=PredefinedSplit(folds)))


def _usable(labels: Codes, random: np.random.Generator) -> NDArray[np.intp]:
    """Return the rows to score: of known classes with a row for each fold, and not too many for many classes."""
    known = np.flatnonzero(labels >= 0)
    counts = np.bincount(labels[known], minlength=1)
    rows = known[counts[labels[known]] >= FOLDS]
    most = max(MAX_CELLS // max(len(counts), 1), MIN_ROWS)
    return rows if len(rows) <= most else np.sort(random.choice(rows, most, replace=False))


def _folds(labels: Codes, random: np.random.Generator) -> Codes:
    """Return each row's fold, 0 to 4, with every class spread evenly."""
    shuffled = random.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    folds = np.empty(len(labels), np.int64)
    folds[by_class] = np.arange(len(labels)) % FOLDS
    return folds


def balanced_accuracy(predicted: Codes, labels: Codes) -> float:
    return float((np.bincount(labels, predicted == labels) / np.bincount(labels)).mean())


def _upper_bound(predicted: Codes, labels: Codes) -> float:
    """Return the balanced accuracy that is still possible: the mean of each class's exact bound (Clopper-Pearson).

    One missed row of a rare class takes much away that another draw of rows would not.
    """
    rows, hits = np.bincount(labels), np.bincount(labels, predicted == labels)
    return float(np.where(hits == rows, 1.0, beta.ppf(CONFIDENCE, hits + 1, np.maximum(rows - hits, 1))).mean())


def _is_copy(codes: Codes, labels: Codes) -> bool:
    """Whether each value stands for one class and each class for one value, where there is a value."""
    present = codes >= 0
    pairs = np.unique(np.stack([codes[present], labels[present]]), axis=1)
    return pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1])) > 1


def _possible_leak(name: str, label: str, score: float, most: float, rows: int) -> RawFinding:
    return RawFinding(
        "POSSIBLE_LEAK",
        f"{name!r} alone tells {label!r} unusually well: balanced accuracy {score:.3f}, cross-validated on {rows} rows "
        f"of train, and up to {most:.3f} is possible by these rows",
        feature=name,
        splits=("train",),
        cure="Is it known before the outcome? If not, list it in data.ignore; if so, say it: "
        f"data_gate.severity: {{'POSSIBLE_LEAK:{name}': ignore}}",
        details={"balanced_accuracy": round(score, 6), "upper": round(most, 6), "rows": rows},
    )


def _leak(name: str, label: str, score: float, rows: NDArray[np.intp], copies: bool) -> RawFinding:
    how = "is a copy of" if copies else "alone tells"
    return RawFinding(
        "LABEL_LEAK",
        f"{name!r} {how} {label!r}: balanced accuracy {score:.3f}, cross-validated on {len(rows)} rows of train",
        feature=name,
        splits=("train",),
        cure="If it is known only after the outcome, list it in data.ignore; "
        f"if it is an honest feature, say so: data_gate.severity: {{'LABEL_LEAK:{name}': warn}}",
        details={"balanced_accuracy": round(score, 6), "rows": len(rows), "is_copy": copies},
    )
