"""The candidate against the models blessed before it, where that is fair: on test rows from which none of them learnt.

Features, label and classes are compared first, then how the rows were dealt: where that was otherwise, the old dealing
is done again, and only rows that were test rows then, too, are scored. Classes are matched by name, and both models
score the same rows. Of all that can be compared the best is the baseline, not the last: a chain of models each a little
worse would lead downwards otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from common.errors import ConfigError, DataError, VouchError
from common.tables.columns import Dtype
from components.evaluation.baselines import bounded
from components.evaluation.bounds import Difference, Metric, difference, evaluate
from components.examples.dealing import Origin, in_test_then
from components.splits import SplitTables
from components.tasks.rows import Answered
from config.data_settings import IMAGE_NEAR, STRANGENESS
from config.settings import Settings
from serving.repository.layout import EXAMPLES_SIGNATURE, TRAINING
from serving.repository.manifest import checksums, digest
from serving.server.core.servable import Servable
from serving.server.status import StatusError

FEWEST_ROWS = 50  # that both models must be new to
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
    """What a model says of its own training. `test_from`: when its test rows began, if they were the latest.

    `columns`: what its rows held, and of which type, if it says so.
    """

    settings: Settings
    features: frozenset[str]
    test_from: float | None
    columns: Mapping[str, Dtype | None] = field(default_factory=dict)

    @staticmethod
    def of(model: Path) -> Trained:
        """Read it from a SavedModel's folder. Raises OSError, ValueError or KeyError where it does not tell."""
        facts = json.loads((model / TRAINING).read_text(encoding="utf-8"))
        features = frozenset(facts["features"])
        settings = Settings.model_validate(facts["settings"])
        unknown = dict.fromkeys({*features, settings.data.label})  # an older release says no more
        return Trained(settings, features, facts.get("test_from"), facts.get("columns", unknown))

    @property
    def dealing(self) -> tuple[Any, ...]:
        """What decided which rows it learnt from: their group, time, or all they hold, and how that was read."""
        split, data = self.settings.split, self.settings.data
        group = (split.group_by, self.settings.image.group) if split.group_by else None
        how = group or split.time or (self.features, dict(self.columns), self.settings.split_seed)
        labels = (data.label_map, data.merge_rare_classes) if split.by == "row" else None
        read = replace(data.cleaning, null_values=tuple(sorted(data.null_values)))
        return split.train, split.eval, split.test, split.by, how, read, labels

    @property
    def dealt_by(self) -> dict[str, Dtype | None]:
        """The columns that decided it, the label among them."""
        is_images, label = self.settings.data.is_images, self.settings.data.label
        group = IMAGE_NEAR if is_images else self.settings.split.group_by
        return {name: self.columns.get(name) for name in ({label, group} if group else {label, *self.columns})}


def obstacle(candidate: Trained, baseline: Trained) -> str:
    """Say why two models cannot be compared whatever the rows, nothing if they can."""
    own, other = candidate.settings.data, baseline.settings.data
    if other.label != own.label:
        return f"it predicts {other.label!r}"
    if other.task != own.task:
        return f"it is a {other.task}"
    if set(other.classes) != set(own.classes):
        return f"its classes are {', '.join(other.classes)}"
    for text in {**own.label_map, **other.label_map}:
        now, then = own.class_of(text), other.class_of(text)
        if now != then and {now, then} <= set(own.classes):
            return f"it calls {text!r} {then!r}, which is {now!r} now"
    if missing := sorted(baseline.features - candidate.features):
        return f"it reads {', '.join(missing)}, which the rows no longer have"
    return ""


def dealt_otherwise(candidate: Trained, baseline: Trained) -> str:
    """Say how the baseline may have learnt from today's test rows, nothing if it has not."""
    if baseline.dealing != candidate.dealing:
        return "rows were dealt otherwise then, so that it may have learnt from today's test rows"
    begins, began = candidate.test_from, baseline.test_from
    if begins is not None and began is not None and begins < began:
        return "it learnt from rows that are later than the first of today's test rows"
    return ""


def score(model: Path, tables: SplitTables, settings: Settings) -> Answered:
    """Return what an exported model, loaded as the model server loads it, says of the test rows.

    Its classes may stand in another order than the settings'. Raises StatusError where it cannot read the rows.
    """
    task, known = tables.task, Trained.of(model).settings.data.classes
    order = [known.index(name) for name in settings.data.classes]
    true, groups = [], []
    servable = Servable.load(model)
    try:
        signature = servable.signatures[EXAMPLES_SIGNATURE]
        names = [*task.outputs, *({STRANGENESS} & set(signature.outputs))]
        said: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
        [examples_input] = signature.inputs
        for batch, targets in tables.batches("test"):
            outputs = servable.run(EXAMPLES_SIGNATURE, {examples_input: batch})
            true.append(targets)
            for name, values in said.items():
                values.append(outputs[name][:, order] if outputs[name].ndim > 1 else outputs[name])
            if (of_groups := tables.groups(batch)) is not None:
                groups.append(of_groups)
    finally:
        servable.close()
    if not true:
        return task.no_rows()
    numbered = np.unique(np.concatenate(groups), return_inverse=True)[1] if groups else None
    return task.rows(np.concatenate(true), {name: np.concatenate(v) for name, v in said.items()}, numbered)


def compare(
    candidate: Path,
    rows: Answered,
    blessed: Sequence[Path],
    tables: SplitTables,
    settings: Settings,
    origin: Origin | None = None,
) -> Comparison:
    """Compare the candidate with the best of the blessed models that can be compared.

    `rows`: what the candidate says of the test rows. `blessed`: the newest first. `origin`: of the rows, if known.
    """
    own, wanted = Trained.of(candidate), settings.evaluation
    obstacles: list[str] = []
    best: tuple[float, Path, Answered, Answered] | None = None
    for model in blessed:
        try:
            baseline = Trained.of(model)
            if reason := obstacle(own, baseline):
                raise ConfigError(reason)
            fair = fair_rows(own, baseline, settings, origin)
            pair = rows.of(fair), score(model, tables, settings).of(fair)
            goodness = [_goodness(side, settings) for side in pair]
        except (VouchError, StatusError, OSError, ValueError, KeyError) as error:
            obstacles.append(_in_words(error))
            continue
        if np.isnan(goodness).any():
            obstacles.append(f"{wanted.change_metric} is undefined on {len(pair[0])} test rows")
        elif best is None or goodness[1] - goodness[0] > best[0]:
            best = (goodness[1] - goodness[0], model, *pair)
    if best is None:
        return Comparison(len(rows) if blessed else 0, obstacles=tuple(dict.fromkeys(obstacles)))
    _, model, ours, others = best
    found = set_against(ours, others, settings, digest(checksums(model)))
    return replace(found, baseline_metrics=bounded(others, settings))


def fair_rows(own: Trained, baseline: Trained, settings: Settings, origin: Origin | None) -> NDArray[np.bool_] | None:
    """Return which test rows the baseline had in its own test split, None for all. Raises DataError if too few."""
    reason = dealt_otherwise(own, baseline)
    if not reason:
        return None
    if origin is None:
        raise DataError(reason)
    try:
        fair = in_test_then(origin, settings.split, baseline.settings, baseline.dealt_by, baseline.test_from)
    except DataError as error:
        raise DataError(f"{reason} ({error.what})") from error
    if fair.sum() < FEWEST_ROWS:
        raise DataError(f"{reason}: {fair.sum()} of {len(fair)} are new to it, {FEWEST_ROWS} are wanted")
    return fair


def _goodness(rows: Answered, settings: Settings) -> float:
    wanted = settings.evaluation
    [metric] = evaluate(rows, [wanted.change_metric], confidence=wanted.confidence, samples=2, seed=0).values()
    return metric.goodness


def _in_words(error: Exception) -> str:
    if isinstance(error, VouchError):
        return error.what
    how = "cannot read today's rows" if isinstance(error, StatusError) else "does not say how it was trained"
    return f"it {how} ({error})"


def set_against(rows: Answered, others: Answered, settings: Settings, baseline: str = "") -> Comparison:
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
