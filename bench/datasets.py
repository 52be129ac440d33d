"""How good the recipe is on a table, next to plain models on the same folds, in pairs.

Run: `python -m bench.datasets config/heart_disease config/iris --repeats 5 --folds 5`. With `--zoo` the zoo's tables,
real ones that Python packages ship, are measured, too, with what `init` writes for each.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench import zoo
from bench.report import finish, parser, positive, say, start, table
from components.evaluation.bounds import evaluate
from components.evaluation.calibration import calibration_on_test
from components.table import Table
from components.tasks.operating_point import decide
from components.tasks.rows import Answered, NumberRows, Rows
from components.training.plain import Encoder
from config.load import load_settings
from config.schema import model_features, read_schema
from config.settings import Settings

Array = NDArray[Any]
OF_CLASSES, OF_NUMBERS = ("auc", "accuracy", "log_loss"), ("r2", "rmse", "mae")  # the first is compared in pairs
NETWORK, LINEAR, BOOSTING, FOREST = "network", "linear model", "gradient boosting", "random forest"
BEHIND_LINEAR = 0.005  # AUC, or R², that the network may be below logistic, or linear, regression
BARS = {"breast_cancer": {"auc": 0.990, "accuracy": 0.965}}  # of the network's means; accuracy at 0.5
SHIPPED = ("config/breast_cancer", "config/heart_disease", "config/iris", "config/diabetes")


@dataclass(frozen=True)
class AtPoint:
    """What a threshold reached on the eval rows that it was chosen on, and then on the held-out fold."""

    asked: str
    vouched: float | None  # of what was asked, by the eval rows
    recall_on_eval: float
    recall: float
    precision: float
    accuracy: float


@dataclass(frozen=True)
class Score:
    """What one model showed on one held-out fold. `calibration_error` is None of numbers, and of too few rows."""

    table: str
    model: str
    fold: int
    metrics: dict[str, float]  # the one that is compared in pairs first
    calibration_error: float | None = None
    seconds: float = 0.0
    at_point: AtPoint | None = None  # of the network, with two classes


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("datasets", __doc__)
    options.add_argument("configs", nargs="*", type=Path, default=[Path(each) for each in SHIPPED])
    options.add_argument("--zoo", action="store_true", help="the zoo's tables, too")
    options.add_argument("--set", action="append", default=[], dest="overrides", help="such as model.epochs=20")
    options.add_argument("--repeats", type=positive, default=5, help="(%(default)s)")
    options.add_argument("--folds", type=positive, default=2, help="(%(default)s)")
    options.add_argument(
        "--most-rows", type=positive, default=20_000, help="of a table, the rest left out (%(default)s)"
    )
    options.add_argument("--seed", type=int, default=1000, help="of folds and networks (%(default)s)")
    given = options.parse_args(arguments)
    if given.folds < 2:
        options.error("--folds: at least 2, or nothing is held out")
    scores: list[Score] = []
    with tempfile.TemporaryDirectory() as folder:
        configs = [*given.configs, *(zoo.configured(Path(folder)) if given.zoo else ())]
        for config in configs:
            settings = load_settings(config, given.overrides)
            began, rows = time.monotonic(), read_table(settings)
            chosen = np.random.default_rng(given.seed).permutation(len(rows.targets))[: given.most_rows]
            scores += cross_validate(settings, some(rows, chosen), given.repeats, given.folds, given.seed)
            say(f"{settings.name}: {len(chosen)} rows, {time.monotonic() - began:.0f} s")
    missed = [g.table for g in gaps(scores, LINEAR, given.folds) if g.upper < -BEHIND_LINEAR]
    for name, bars in BARS.items():
        own = [s for s in scores if (s.table, s.model) == (name, NETWORK)]
        missed += [name for m, bar in bars.items() if own and np.mean([s.metrics[m] for s in own]) < bar]
    numbers = {
        "repeats": given.repeats,
        "folds": given.folds,
        "seed": given.seed,
        "scores": [asdict(s) for s in scores],
    }
    finish(tables(scores, given.folds), numbers, given.out, passed=not missed)


def read_table(settings: Settings) -> Table:
    """Return all rows as a run would read them: numbers, then derived features, and texts."""
    import tensorflow as tf

    from components.examples.blocks import labelled_blocks
    from components.examples.component import open_examples
    from components.features.derived import derive

    assert settings.schema_file is not None
    batches = [block.batch for block in labelled_blocks(*open_examples(settings))]
    features = model_features(read_schema(settings.schema_file), settings)
    columns = {
        f.name: np.concatenate([np.array(batch.column(f.name).to_pylist(), object) for batch in batches])
        for f in features
    }

    def numbers(name: str) -> Array:
        return np.array([np.nan if v is None else float(v) for v in columns[name]])

    def texts(name: str) -> Array:
        return np.array(["" if v is None else str(v) for v in columns[name]], object)

    derived = derive(settings.derived, lambda n: tf.constant(numbers(n)), lambda n: tf.constant(texts(n).tolist()))
    numeric = [numbers(f.name) for f in features if f.kind == "numeric"]
    categorical = [texts(f.name) for f in features if f.kind == "categorical"]
    labels = np.concatenate([np.array(batch.column(settings.data.label).to_pylist(), object) for batch in batches])
    index = {name: i for i, name in enumerate(settings.data.classes)}
    targets = labels.astype(np.float64) if settings.data.is_regression else [index[label] for label in labels]
    numeric += [values.numpy() for values in derived.values()]
    return Table(
        np.stack(numeric, axis=1) if numeric else np.zeros((len(labels), 0)),
        np.stack(categorical, axis=1) if categorical else np.zeros((len(labels), 0), object),
        np.asarray(targets),
    )


def some(rows: Table, chosen: Array) -> Table:
    return Table(rows.numbers[chosen], rows.texts[chosen], rows.targets[chosen])


def cross_validate(settings: Settings, rows: Table, repeats: int, folds: int, seed: int) -> Iterator[Score]:
    """Yield each model's score on each held-out fold. All models see the same folds.

    The network carves its eval rows (early stopping, temperature) out of the training fold in the split's proportions;
    the rivals, which need none, get the whole training fold.
    """
    from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold, train_test_split

    is_number = settings.data.is_regression
    kind = RepeatedKFold if is_number else RepeatedStratifiedKFold
    splitter = kind(n_splits=folds, n_repeats=repeats, random_state=seed)
    eval_share = settings.split.eval / (settings.split.train + settings.split.eval)
    for fold, (known, held_out) in enumerate(splitter.split(rows.numbers, rows.targets)):
        train, tuned = train_test_split(
            known, test_size=eval_share, stratify=None if is_number else rows.targets[known], random_state=fold
        )
        parts = [some(rows, chosen) for chosen in (train, tuned, held_out)]
        began = time.perf_counter()
        said, head = _network(settings, parts, seed + fold)
        score = _score(settings, NETWORK, fold, parts[2].targets, said, time.perf_counter() - began)
        yield replace(score, at_point=_at_point(parts[2].targets, said, head))
        encode = Encoder.of(whole := some(rows, known))
        for name, rival in _rivals(seed, is_number=is_number).items():
            began = time.perf_counter()
            rival.fit(encode(whole), whole.targets)
            said = (rival.predict if is_number else rival.predict_proba)(encode(parts[2]))
            yield _score(settings, name, fold, parts[2].targets, said, time.perf_counter() - began)


def _network(settings: Settings, parts: Sequence[Table], seed: int) -> tuple[Array, Any]:
    """Train the recipe as Trainer does on `parts` (train, eval, test).

    Return `[rows, classes]` probabilities, or `[rows]` numbers, for test, and the head that made them.
    """
    import keras

    from components.features.transform import NUMERIC
    from components.tasks import task_of
    from components.training.models import dense

    keras.utils.clear_session()
    train, tuned, _ = parts
    encode, recipe, task = Encoder.of(train), settings.model, task_of(settings.data)
    features = [{NUMERIC: encode(part).astype(np.float32)} for part in parts]
    known: Any = task.describe(train.targets)
    given, held = (np.asarray(task.for_network(part.targets, known)) for part in (train, tuned))
    network = dense.build_model(recipe, features[0][NUMERIC].shape[1], (), task, seed)
    dense.fit(
        network,
        dense.dataset_in_memory(features[0], given, recipe.batch_size, seed, training=True),
        dense.dataset_in_memory(features[1], held, len(held), seed, training=False),
        recipe,
        train_rows=len(given),
    )
    network = dense.before_activation(network)
    outputs = [np.asarray(network(part, training=False)) for part in features[1:]]
    head = task.fit_head(outputs[0], held, known, settings)
    return head.in_process(outputs[1])[task.main_output], head


def _at_point(true: Array, said: Array, head: Any) -> AtPoint | None:
    from components.tasks.classification import ClassHead

    if not isinstance(head, ClassHead) or head.point is None:
        return None
    rows = Rows(true, decide(said, head.threshold, head.positive), said, head.positive)
    reached = _values(rows, ("recall", "precision", "accuracy"))
    return AtPoint(head.point.words, head.point.vouched, head.point.recall, **reached)


def _rivals(seed: int, *, is_number: bool) -> dict[str, Any]:
    from sklearn import ensemble, linear_model

    if is_number:
        return {
            LINEAR: linear_model.Ridge(),
            FOREST: ensemble.RandomForestRegressor(300, random_state=seed),
            BOOSTING: ensemble.HistGradientBoostingRegressor(random_state=seed),
        }
    return {
        LINEAR: linear_model.LogisticRegression(max_iter=2000),
        FOREST: ensemble.RandomForestClassifier(300, random_state=seed),
        BOOSTING: ensemble.HistGradientBoostingClassifier(random_state=seed),
    }


def _score(settings: Settings, model: str, fold: int, true: Array, said: Array, seconds: float) -> Score:
    if settings.data.is_regression:
        numbers = NumberRows(true, said, said, said)
        return Score(settings.name, model, fold, _values(numbers, OF_NUMBERS), None, seconds)
    positive_class = settings.data.positive_index if settings.data.is_binary else None
    rows = Rows(true, said.argmax(axis=1), said, positive_class)
    calibration = calibration_on_test(rows, confidence=0.95, seed=0)
    error = calibration.error if calibration else None
    return Score(settings.name, model, fold, _values(rows, OF_CLASSES), error, seconds)


def _values(rows: Answered, metrics: Sequence[str]) -> dict[str, float]:
    return {name: m.value for name, m in evaluate(rows, metrics, confidence=0.95, samples=2, seed=0).items()}


@dataclass(frozen=True)
class Gap:
    """By how much more AUC, or R², the network has than a rival on the same folds, with 95 % bounds."""

    table: str
    value: float
    lower: float
    upper: float


def gaps(scores: Sequence[Score], rival: str, folds: int) -> Iterator[Gap]:
    """Yield each table's gap. Folds share rows: the variance is Nadeau and Bengio's (2003) corrected one."""
    for name in dict.fromkeys(score.table for score in scores):
        ours, others = (
            np.array([next(iter(s.metrics.values())) for s in scores if (s.table, s.model) == (name, m)])
            for m in (NETWORK, rival)
        )
        each = ours - others
        error = np.sqrt((1 / len(each) + 1 / (folds - 1)) * each.var(ddof=1)) if len(each) > 1 else np.nan
        step = stats.t.ppf(0.975, max(len(each) - 1, 1)) * error
        yield Gap(name, float(each.mean()), float(each.mean() - step), float(each.mean() + step))


def tables(scores: Sequence[Score], folds: int) -> str:
    """Return Markdown: means over folds by table and model, and the paired gaps."""
    lines = []
    for name in dict.fromkeys(score.table for score in scores):
        for model in dict.fromkeys(score.model for score in scores):
            group = [s for s in scores if (s.table, s.model) == (name, model)]
            means = ", ".join(f"{m} {np.mean([s.metrics[m] for s in group]):.4f}" for m in group[0].metrics)
            errors = [s.calibration_error for s in group if s.calibration_error is not None]
            told = f"{np.mean(errors):.3f}" if errors else ""
            lines.append((name, model, means, told, f"{np.median([s.seconds for s in group]):.1f}"))
    titles = ("table", "model", "means", "calibration error", "s a fold")
    pairs = [
        (f"{g.table}, {rival}", f"{g.value:+.4f} ({g.lower:+.4f} to {g.upper:+.4f})")
        for rival in (LINEAR, FOREST, BOOSTING)
        for g in gaps(scores, rival, folds)
    ]
    parts = [table(titles, lines), table(("network's AUC, or R², less that of", "mean (95 %)"), pairs)]
    points = [
        _points_row(name, [s.at_point for s in scores if s.table == name and s.at_point])
        for name in dict.fromkeys(s.table for s in scores if s.at_point)
    ]
    at_point = ("table, asked", "recall on eval", "vouched for", "recall held out", "precision", "accuracy")
    return "\n\n".join([*parts, table(at_point, points)] if points else parts)


def _points_row(name: str, points: Sequence[AtPoint]) -> Sequence[str]:
    """Return means over folds, of recall also how many folds had less than 0.9 and the least."""

    def recalls(of: Sequence[float]) -> str:
        return f"{np.mean(of):.3f} (below 0.9: {sum(r < 0.9 for r in of)} of {len(of)}; least {min(of):.3f})"

    vouched = [p.vouched for p in points if p.vouched is not None]
    return (
        f"{name}, {points[0].asked}",
        recalls([p.recall_on_eval for p in points]),
        f"{np.mean(vouched):.3f}" if vouched else "",
        recalls([p.recall for p in points]),
        f"{np.mean([p.precision for p in points]):.3f}",
        f"{np.mean([p.accuracy for p in points]):.3f}",
    )


if __name__ == "__main__":
    start(main)
