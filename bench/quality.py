"""How good the configured recipe is: repeated stratified cross-validation on breast cancer, next to plain models.

Run: `python -m bench.quality --repeats 5 --folds 5 --out quality.json`
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from bench.report import finish, parser, say, start, table
from config.load import load_settings
from config.settings import Settings

Array = NDArray[Any]
METRICS = ("auc", "accuracy", "log_loss", "accuracy_at_operating_point")
NETWORK = "network (this recipe)"
LOGISTIC = "logistic regression"
LOGISTIC_LESS = "logistic regression, on the network's training rows alone"
BARS = {"auc": 0.990, "accuracy": 0.965}  # of the network's means; accuracy at 0.5


@dataclass(frozen=True)
class Score:
    """What one model showed on one held-out fold; the operating point is the network's only."""

    model: str
    fold: int
    auc: float
    accuracy: float
    log_loss: float
    accuracy_at_operating_point: float | None = None
    epochs: int | None = None
    seconds: float = 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("quality", __doc__)
    options.add_argument("--config", type=Path, default=Path("config/breast_cancer"), help="recipe (%(default)s)")
    options.add_argument("--set", action="append", default=[], dest="overrides", help="such as model.epochs=20")
    options.add_argument("--repeats", type=int, default=5, help="(%(default)s)")
    options.add_argument("--folds", type=int, default=5, help="(%(default)s)")
    options.add_argument(
        "--seed", type=int, default=1000, help="of folds and networks (%(default)s); the recipe was chosen on 0 to 4"
    )
    given = options.parse_args(arguments)
    settings = load_settings(given.config, given.overrides)
    scores = []
    for score in cross_validate(settings, given.repeats, given.folds, given.seed):
        scores.append(score)
        if score.model == NETWORK:
            say(f"fold {score.fold}: AUC {score.auc:.4f}, accuracy {score.accuracy:.4f}")
    missed = [name for name, bar in BARS.items() if _values(scores, NETWORK, name).mean() < bar]
    numbers = {
        "model": settings.model.model_dump(mode="json"),
        "repeats": given.repeats,
        "folds": given.folds,
        "seed": given.seed,
        "bars": BARS,
        "missed": missed,
        "scores": [asdict(score) for score in scores],
    }
    finish(tables(scores), numbers, given.out, passed=not missed)


def cross_validate(settings: Settings, repeats: int, folds: int, seed: int) -> Iterator[Score]:
    """Yield each model's score on each held-out fold. All models see the same folds.

    The network carves its eval rows (early stopping, decision threshold) out of the training fold in the split's
    proportions; the rivals, which need none, get the whole training fold.
    """
    data = load_breast_cancer()
    rows, is_positive = data.data, data.target == 0  # scikit-learn calls malignant, our positive class, 0
    splitter = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
    eval_share = settings.split.eval / (settings.split.train + settings.split.eval)
    for fold, (known, held_out) in enumerate(splitter.split(rows, is_positive)):
        train, eval_ = train_test_split(known, test_size=eval_share, stratify=is_positive[known], random_state=fold)
        yield _network(settings, rows, is_positive, (train, eval_, held_out), fold, seed + fold)
        for name, rival in _rivals(seed).items():
            chosen = train if name == LOGISTIC_LESS else known
            probability = rival.fit(rows[chosen], is_positive[chosen]).predict_proba(rows[held_out])[:, 1]
            yield Score(name, fold, **_metrics(is_positive[held_out], probability))


def tables(scores: list[Score]) -> str:
    """Return a Markdown table of means ± standard deviations over the folds, and what set the network apart."""
    rows = []
    for model in dict.fromkeys(score.model for score in scores):
        by_metric = [_values(scores, model, metric) for metric in METRICS]
        rows.append([model, *(f"{v.mean():.4f} ± {v.std(ddof=1):.4f}" if len(v) else "" for v in by_metric)])
    paragraphs = [table(["model", *(name.replace("_", " ") for name in METRICS)], rows)]
    for metric in ("auc", "accuracy"):
        gap = _values(scores, NETWORK, metric) - _values(scores, LOGISTIC, metric)
        difference = f"{gap.mean():+.4f} ± {gap.std(ddof=1):.4f}"
        paragraphs.append(f"{metric}, network − logistic regression by fold: {difference}")
    network = [score for score in scores if score.model == NETWORK]
    epochs, seconds = np.mean([s.epochs or 0 for s in network]), np.median([s.seconds for s in network])
    each = f"{epochs:.0f} epochs and {seconds:.1f} s each"
    return "\n\n".join([*paragraphs, f"{len(network)} folds, {each}; accuracy is at 0.5 unless named"])


def _network(
    settings: Settings, rows: Array, is_positive: Array, parts: tuple[Array, Array, Array], fold: int, seed: int
) -> Score:
    """Train the configured recipe on one fold with the functions that Trainer uses."""
    import keras

    from components.evaluation.operating_point import choose_threshold
    from components.features.transform import NUMERIC
    from components.training.models import dense as model

    started = time.perf_counter()
    keras.utils.clear_session()
    scaler = StandardScaler().fit(rows[parts[0]])
    features = [{NUMERIC: scaler.transform(rows[part]).astype(np.float32)} for part in parts]
    labels = [is_positive[part].astype(np.int64) for part in parts]
    network = model.build_model(settings.model, rows.shape[1], (), classes=2, seed=seed)
    weights = None
    if settings.model.class_weights == "balanced":
        weights = dict(enumerate(model.balanced_weights(np.bincount(labels[0]).tolist())))
    history = model.fit(
        network,
        model.dataset_in_memory(features[0], labels[0], settings.model.batch_size, seed, training=True),
        model.dataset_in_memory(features[1], labels[1], len(labels[1]), seed, training=False),
        settings.model,
        train_rows=len(labels[0]),
        class_weight=weights,
    )
    tuned, probability = (np.asarray(network(part, training=False))[:, 0] for part in features[1:])
    point = choose_threshold(labels[1] == 1, tuned, settings.operating_point)
    return Score(
        NETWORK,
        fold,
        **_metrics(is_positive[parts[2]], probability),
        accuracy_at_operating_point=float(accuracy_score(labels[2], probability >= point.threshold)),
        epochs=len(history["loss"]),
        seconds=time.perf_counter() - started,
    )


def _rivals(seed: int) -> dict[str, Any]:
    models = {
        LOGISTIC: LogisticRegression(max_iter=5000),
        LOGISTIC_LESS: LogisticRegression(max_iter=5000),
        "SVM (RBF)": SVC(probability=True, random_state=seed),
        "gradient boosting": HistGradientBoostingClassifier(random_state=seed),
    }
    return {name: make_pipeline(StandardScaler(), model) for name, model in models.items()}


def _metrics(is_positive: Array, probability: Array) -> dict[str, Any]:
    return {
        "auc": float(roc_auc_score(is_positive, probability)),
        "accuracy": float(accuracy_score(is_positive, probability >= 0.5)),
        "log_loss": float(log_loss(is_positive, probability.astype(np.float64))),
    }


def _values(scores: list[Score], model: str, metric: str) -> Array:
    values = [getattr(score, metric) for score in scores if score.model == model]
    return np.asarray([value for value in values if value is not None], dtype=np.float64)


if __name__ == "__main__":
    start(main)
