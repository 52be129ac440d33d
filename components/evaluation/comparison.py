"""The candidate against the models blessed before it, where that is fair: on test rows from which none of them learnt.

Features, label and classes are compared first, then how the rows were dealt: other rows, and a model would be judged on
those it was trained on. Classes are matched by name, and both models score the same rows. Of all that can be compared
the best is the baseline, not the last: a chain of models each a little worse would lead downwards otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from components.evaluation.baselines import bounded
from components.evaluation.bounds import Difference, Metric, Rows, difference, evaluate
from components.splits import SplitTables
from config.settings import Settings
from serving.repository.layout import EXAMPLES_SIGNATURE, TRAINING
from serving.repository.manifest import checksums, digest
from serving.server.core.servable import Servable
from serving.server.status import StatusError

POWER = 0.9  # how surely the difference that is called detectable would be seen


@dataclass(frozen=True)
class Comparison:
    """What the comparison came to: `difference` from the baseline, or the obstacles in the way of one.

    `baseline`: the digest of the model compared with, `baseline_metrics`: its own on the same rows. `detectable`: a
    candidate that is really worse by so much is, by normal theory, refused in 9 of 10 draws of as many rows.
    """

    rows: int = 0
    difference: Difference | None = None
    baseline: str = ""
    detectable: float = float("nan")
    baseline_metrics: tuple[Metric, ...] = ()
    obstacles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trained:
    """What a model says of its own training.

    `dealing`: what decided which rows it learnt from. `test_from`: when its test rows began, if they were the latest.
    """

    label: str
    classes: tuple[str, ...]
    features: frozenset[str]
    dealing: tuple[Any, ...]
    test_from: float | None

    @staticmethod
    def of(model: Path) -> Trained:
        """Read it from a SavedModel's folder. Raises OSError, ValueError or KeyError where it does not tell."""
        facts = json.loads((model / TRAINING).read_text(encoding="utf-8"))
        settings = Settings.model_validate(facts["settings"])
        split, features = settings.split, frozenset(facts["features"])
        # rows are dealt by their group, by their time, or by all they hold
        how = split.group_by or split.time or (features, settings.split_seed)
        dealing = (split.train, split.eval, split.test, split.by, how)
        return Trained(settings.data.label, settings.data.classes, features, dealing, facts.get("test_from"))


def obstacle(candidate: Trained, baseline: Trained) -> str:
    """Say why two models cannot be compared fairly, nothing if they can."""
    if baseline.label != candidate.label:
        return f"it predicts {baseline.label!r}"
    if set(baseline.classes) != set(candidate.classes):
        return f"its classes are {', '.join(baseline.classes)}"
    if missing := sorted(baseline.features - candidate.features):
        return f"it reads {', '.join(missing)}, which the rows no longer have"
    if baseline.dealing != candidate.dealing:
        return "rows were dealt otherwise then, so that it may have learnt from today's test rows"
    begins, began = candidate.test_from, baseline.test_from
    if begins is not None and began is not None and begins < began:
        return "it learnt from rows that are later than the first of today's test rows"
    return ""


def score(model: Path, tables: SplitTables, settings: Settings) -> Rows:
    """Return what an exported model, loaded as the model server loads it, says of the test rows.

    Its classes may stand in another order than the settings'. Raises StatusError where it cannot read the rows.
    """
    known = Trained.of(model).classes
    order = [known.index(name) for name in settings.data.classes]
    true, decided, probabilities, groups = [], [], [], []
    servable = Servable.load(model)
    try:
        [examples_input] = servable.signatures[EXAMPLES_SIGNATURE].inputs
        for batch, classes in tables.batches("test"):
            outputs = servable.run(EXAMPLES_SIGNATURE, {examples_input: batch})
            true.append(classes)
            decided.append(tables.classes(outputs["label"]))
            probabilities.append(outputs["probabilities"][:, order])
            if (values := tables.groups(batch)) is not None:
                groups.append(values)
    finally:
        servable.close()
    positive = settings.data.positive_index if settings.data.is_binary else None
    if not true:
        return Rows(np.zeros(0, int), np.zeros(0, int), np.zeros((0, len(order)), np.float32), positive)
    numbered = np.unique(np.concatenate(groups), return_inverse=True)[1] if groups else None
    return Rows(np.concatenate(true), np.concatenate(decided), np.concatenate(probabilities), positive, numbered)


def compare(
    candidate: Path, rows: Rows, blessed: Sequence[Path], tables: SplitTables, settings: Settings
) -> Comparison:
    """Compare the candidate with the best of the blessed models that can be compared.

    `rows`: what the candidate says of the test rows. `blessed`: the newest first.
    """
    if not blessed:
        return Comparison()
    own, wanted = Trained.of(candidate), settings.evaluation
    obstacles: list[str] = []
    best: tuple[float, Path, Rows] | None = None
    for model in blessed:
        try:
            reason = obstacle(own, Trained.of(model))
            others = None if reason else score(model, tables, settings)
        except (OSError, ValueError, KeyError) as error:
            reason, others = f"it does not say how it was trained ({error})", None
        except StatusError as error:
            reason, others = f"it cannot read today's rows ({error})", None
        if others is None:
            obstacles.append(reason)
            continue
        [metric] = evaluate(others, [wanted.change_metric], confidence=wanted.confidence, samples=2, seed=0).values()
        if np.isnan(metric.value):
            obstacles.append(f"{metric.name} is undefined on these {len(rows)} test rows")
        elif best is None or metric.goodness > best[0]:
            best = (metric.goodness, model, others)
    if best is None:
        return Comparison(len(rows), obstacles=tuple(dict.fromkeys(obstacles)))
    _, model, others = best
    found = set_against(rows, others, settings, digest(checksums(model)))
    return replace(found, baseline_metrics=bounded(others, settings))


def set_against(rows: Rows, others: Rows, settings: Settings, baseline: str = "") -> Comparison:
    """Compare what a candidate and a baseline say of the same test rows."""
    wanted = settings.evaluation
    found = difference(
        rows,
        others,
        wanted.change_metric,
        confidence=wanted.confidence,
        samples=wanted.bootstrap_samples,
        seed=settings.seed,
    )
    detectable = wanted.change_margin + float(norm.ppf(wanted.confidence) + norm.ppf(POWER)) * found.error
    return Comparison(len(rows), found, baseline, detectable)
