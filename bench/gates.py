"""How often the evaluation gate is wrong, both ways: normal models refused, equal ones refused, worse ones let through.

`python -m bench.gates` trains by the functions that Trainer uses, without TFX around them, many seeds on tables whose
truth is known or can be measured on plenty of other rows, and asks the gate's own functions. What models said is kept
in `--scratch`, so that a stopped bench goes on where it was.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bench.problems import Array, Problem, problems
from bench.report import finish, parser, positive, say, start, table
from components.evaluation.bounds import evaluate
from components.table import Table
from components.tasks.operating_point import decide
from components.tasks.rows import Answered, NumberRows, Rows

SHARES = (0.64, 0.16, 0.20)
PLENTY = 40_000  # rows on which the true loss is measured
CONFIDENCE = 0.95
RESAMPLES = 500  # instead of 2,000: the bounds' last digit is not what is measured


@dataclass(frozen=True)
class Step:
    """One way of making a model worse."""

    name: str
    epochs: int = 0  # 0: as the recipe has it
    flipped: float = 0.0  # share of train labels; numbers are exchanged
    dropped: int = 0  # columns it is not shown


NORMAL = Step("normal")
WORSE = (
    Step("5 % of labels flipped", flipped=0.05),
    Step("15 % of labels flipped", flipped=0.15),
    Step("30 % of labels flipped", flipped=0.30),
    Step("a column less", dropped=1),
    Step("25 % of labels flipped", flipped=0.25),
    Step("one epoch", epochs=1),
)


@dataclass(frozen=True)
class Model:
    """What a trained model says of test rows, and of plenty of others.

    `[rows, classes]` each, or `[rows, 3]`: a number and the bounds of its interval.
    """

    test: Array
    others: Array
    threshold: float | None


@dataclass(frozen=True)
class Data:
    """One dealing of a table: `splits` are train, eval and test."""

    splits: tuple[tuple[Array, Array], ...]
    others: tuple[Array, Array]


def deal(problem: Problem, seed: int) -> Data:
    """Draw a table and deal its rows; of a fixed one, deal alone."""
    rng = np.random.default_rng(seed)
    x, y = problem.draw(problem.rows, rng)
    part = rng.choice(3, len(y), p=SHARES)
    # the rows that the truth is measured on stay the same from seed to seed
    others = (x[:0], y[:0]) if problem.fixed else problem.draw(PLENTY, np.random.default_rng(2**32))
    return Data(tuple((x[part == i], y[part == i]) for i in range(3)), others)


def train(problem: Problem, data: Data, step: Step, seed: int) -> Model:
    """Train as Trainer does: z-scores, the recipe, the temperature, the operating point."""
    import keras

    from components.features.transform import NUMERIC
    from components.tasks import ClassHead, task_of
    from components.training.models import dense

    keras.utils.clear_session()
    (x_train, y_train), (x_eval, y_eval), (x_test, _) = data.splits
    rng = np.random.default_rng(seed)
    model = problem.settings.model.model_copy(update={"epochs": step.epochs} if step.epochs else {})
    mean, deviation = x_train.mean(axis=0), x_train.std(axis=0)
    deviation[deviation == 0] = 1.0  # as Transform does: of a rare code no train row may be
    shown = np.arange(x_train.shape[1]) >= step.dropped  # the first columns are those that tell

    def features(x: Array) -> dict[str, Array]:
        return {NUMERIC: ((x - mean) / deviation * shown).astype(np.float32)}

    labels = y_train.copy()
    flip = rng.random(len(labels)) < step.flipped
    if problem.classes:
        labels[flip] = (labels[flip] + rng.integers(1, problem.classes, flip.sum())) % problem.classes
    else:
        labels[flip] = rng.permutation(labels[flip])
    task = task_of(problem.settings.data)
    known: Any = task.describe(labels)
    given, tuned = (np.asarray(task.for_network(y, known)) for y in (labels, y_eval))
    network = dense.build_model(model, x_train.shape[1], (), task, seed)
    dense.fit(
        network,
        dense.dataset_in_memory(features(x_train), given, model.batch_size, seed, training=True),
        dense.dataset_in_memory(features(x_eval), tuned, len(y_eval), seed, training=False),
        model,
        train_rows=len(labels),
    )
    network = dense.before_activation(network)
    on_eval, *outputs = (np.asarray(network(features(x), training=False)) for x in (x_eval, x_test, data.others[0]))
    head = task.fit_head(on_eval, tuned, known, problem.settings)
    threshold = head.threshold if isinstance(head, ClassHead) and problem.classes == 2 else None
    on_test, on_others = (_joined(head.in_process(each)) for each in outputs)
    return Model(on_test, on_others, threshold)


def _joined(answers: dict[str, Array]) -> Array:
    return answers["probabilities"] if "probabilities" in answers else np.stack([*answers.values()], axis=1)


class Kept:
    """Models by problem, dealing, step and seed: trained once, what they said kept on disk."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        scratch.mkdir(parents=True, exist_ok=True)

    def model(self, problem: Problem, data: Data, dealing: int, step: Step, seed: int) -> Model:
        recipe = problem.settings.model_dump_json(include={"model", "operating_point"})
        key = hashlib.sha256(f"{problem.name} {dealing} {step} {seed} {recipe}".encode()).hexdigest()[:24]
        path = self._scratch / f"{key}.npz"
        if not path.is_file():
            made = train(problem, data, step, seed)
            partial = path.with_suffix(".part.npz")
            np.savez(
                partial,
                test=made.test,
                others=made.others,
                threshold=np.nan if made.threshold is None else made.threshold,
            )
            partial.rename(path)
        with np.load(path) as saved:
            threshold = None if np.isnan(saved["threshold"]) else float(saved["threshold"])
            return Model(saved["test"], saved["others"], threshold)


def rows_of(problem: Problem, true: Array, said: Array, threshold: float | None) -> Answered:
    if not problem.classes:
        return NumberRows(true, *said.astype(np.float64).T)
    positive_class = 1 if problem.classes == 2 else None
    return Rows(true, decide(said, threshold, positive_class), said, positive_class)


@dataclass(frozen=True)
class Outcome:
    """What the gate said of one model. `kinds`: of its errors, and NOT_COMPARABLE.

    `loss`: by how much it is worse than the model it was compared with, on plenty of rows (`is_true`) or, where a table
    has no more, on the test rows; NaN without such a model.
    """

    problem: str
    step: str
    kinds: tuple[str, ...]
    passed: bool
    loss: float
    is_true: bool
    detectable: float


def outcomes(problem: Problem, kept: Kept, seed: int, steps: Sequence[Step]) -> Iterator[Outcome]:
    """Judge a first model, an equal one after it, a better one after a worse, and worse ones after it."""
    data = deal(problem, seed)
    normal = kept.model(problem, data, seed, NORMAL, seed)
    gate = Gate(problem, data)
    yield gate.judge("first", normal, None, seed, beside_plain_models=True)
    equal = kept.model(problem, data, seed, NORMAL, seed + 1000)
    yield gate.judge("equal, retrained", equal, normal, seed, beside_plain_models=True)
    for name, reason in strangers(problem):
        assert reason, f"the gate finds nothing in the way where {name}"
        yield gate.judge(f"not comparable: {name}", normal, None, seed, reason=reason)
    for number, step in enumerate(steps):
        worse = kept.model(problem, data, seed, step, seed + 2000 + number)
        yield gate.judge(step.name, worse, normal, seed)
        yield gate.judge(f"better, after {step.name}", normal, worse, seed)


def strangers(problem: Problem) -> Iterator[tuple[str, str]]:
    """Yield blessed models that nothing fair can be said beside, with what the gate finds in the way, if anything."""
    from common.errors import DataError
    from components.evaluation.comparison import Trained, fair_rows, obstacle

    settings = problem.settings
    data, own = settings.data, Trained(settings, frozenset(["a", "b"]), None)

    def of(**changes: Any) -> Trained:
        return replace(own, settings=settings.model_copy(update={"data": data.model_copy(update=changes)}))

    yield "it predicted another column", obstacle(own, of(label="another"))
    yield "it read a column that is gone", obstacle(own, replace(own, features=own.features | {"gone"}))
    if problem.classes:
        yield "it had a class more", obstacle(own, of(classes=(*data.classes, "another")))
    dealt = settings.split.model_copy(update={"seed": settings.split_seed + 1})
    try:
        fair_rows(own, replace(own, settings=settings.model_copy(update={"split": dealt})), settings, None)
        yield "rows were dealt otherwise", ""
    except DataError as error:
        yield "rows were dealt otherwise", error.what


class Gate:
    """The gate on one dealing."""

    def __init__(self, problem: Problem, data: Data) -> None:
        self._problem, self._data = problem, data
        self._evaluation = problem.settings.evaluation.model_copy(update={"bootstrap_samples": RESAMPLES})
        self._tables = [Table(x, np.zeros((len(x), 0), object), y) for x, y in data.splits]

    def judge(
        self,
        step: str,
        candidate: Model,
        baseline: Model | None,
        seed: int,
        *,
        beside_plain_models: bool = False,
        reason: str = "",
    ) -> Outcome:
        """`reason`: why a blessed model cannot be compared."""
        from components.evaluation.baselines import bounded, compare
        from components.evaluation.comparison import Comparison, set_against
        from components.evaluation.looks import Looks
        from components.evaluation.verdict import OVERALL, SliceMetrics, judge

        problem = self._problem
        settings = problem.settings.model_copy(update={"seed": seed, "evaluation": self._evaluation})
        true = self._data.splits[2][1]
        rows = rows_of(problem, true, candidate.test, candidate.threshold)
        comparison = Comparison(len(rows), obstacles=(reason,)) if reason else Comparison()
        if baseline is not None:
            comparison = set_against(rows, rows_of(problem, true, baseline.test, baseline.threshold), settings)
        values = bounded(rows, settings)
        whole = SliceMetrics(OVERALL, len(rows), None, {m.name: (m.value, m.lower, m.upper) for m in values})
        point = None if candidate.threshold is None else {"threshold": candidate.threshold}
        train, tuned, test = self._tables
        baselines = compare(train, tuned, test, settings, rows) if beside_plain_models else ()
        verdict = judge([whole], rows, comparison, baselines, point, settings, Looks())
        kinds = tuple(f.kind for f in verdict.findings if f.severity == "error" or f.kind == "NOT_COMPARABLE")
        loss = float("nan") if baseline is None else self._truth(baseline) - self._truth(candidate)
        return Outcome(problem.name, step, kinds, verdict.passed, loss, not problem.fixed, comparison.detectable)

    def _truth(self, model: Model) -> float:
        (_, true), said = (
            (self._data.splits[2], model.test) if self._problem.fixed else (self._data.others, model.others)
        )
        rows = rows_of(self._problem, true, said, model.threshold)
        [metric] = evaluate(
            rows, [self._problem.settings.evaluation.change_metric], confidence=0.5, samples=2, seed=0
        ).values()
        return metric.value


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Return a two-sided 95 % interval of a rate."""
    found = stats.binomtest(hits, of).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


def tables(seen: Sequence[Outcome]) -> str:
    """Return what became of each kind of model, and how the refusals follow the true loss."""
    lines = []
    for problem in dict.fromkeys(o.problem for o in seen):
        for step in dict.fromkeys(o.step for o in seen if o.problem == problem):
            group = [o for o in seen if (o.problem, o.step) == (problem, step)]
            passed = sum(o.passed for o in group)
            low, high = wilson(passed, len(group))
            why = {
                kind: sum(kind in o.kinds for o in group) for kind in dict.fromkeys(k for o in group for k in o.kinds)
            }
            by_baseline = sum("WORSE_THAN_BLESSED" in o.kinds for o in group)
            loss, detectable = np.mean([o.loss for o in group]), np.nanmean([o.detectable for o in group] or [np.nan])
            lines.append(
                (
                    problem,
                    step,
                    len(group),
                    f"{passed / len(group):.3f} ({low:.2f}–{high:.2f})",
                    f"{by_baseline / len(group):.3f}",
                    "" if np.isnan(loss) else f"{loss:+.4f}",
                    "" if np.isnan(detectable) else f"{detectable:.4f}",
                    ", ".join(f"{kind} {count}" for kind, count in why.items()) or "none",
                )
            )
    titles = (
        "table",
        "model",
        "seeds",
        "blessed",
        "refused by comparison",
        "mean loss",
        "detectable",
        "errors, and what could not be compared",
    )
    return "\n\n".join([table(titles, lines), power(seen)])


def power(seen: Sequence[Outcome]) -> str:
    """Return how often the comparison refuses, by the true loss over what the verdict calls detectable."""
    known = [o for o in seen if o.is_true and np.isfinite(o.loss) and np.isfinite(o.detectable)]
    lines = []
    for low, high in ((-9, 0), (0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0), (1.0, 1.5), (1.5, 99)):
        group = [o for o in known if low <= o.loss / o.detectable < high]
        if group:
            refused = sum("WORSE_THAN_BLESSED" in o.kinds for o in group)
            bounds = wilson(refused, len(group))
            lines.append(
                (f"{low:g} to {high:g}", len(group), f"{refused / len(group):.3f} ({bounds[0]:.2f}–{bounds[1]:.2f})")
            )
    return table(("true loss / detectable", "models", "refused by comparison"), lines)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("gates", __doc__)
    options.add_argument("--seeds", type=positive, default=40, help="(%(default)s)")
    options.add_argument("--worse-seeds", type=positive, default=40, help="of these, how many with worse models, too")
    options.add_argument("--scratch", type=Path, default=Path("var/bench/gates"), help="what models said (%(default)s)")
    options.add_argument("--only", default="", help="the problems whose name begins so, such as noisy")
    given = options.parse_args(arguments)
    kept, seen = Kept(given.scratch), list[Outcome]()
    for problem in (each for each in problems() if each.name.startswith(given.only)):
        for seed in range(given.seeds):
            started = time.monotonic()
            steps = WORSE if seed < given.worse_seeds else ()
            seen += outcomes(problem, kept, seed, steps)
            say(f"seed {seed}, {problem.name}: {time.monotonic() - started:.0f} s")
    firsts = [o for o in seen if o.step in ("first", "equal, retrained")]
    rates = [
        np.mean([o.passed for o in firsts if (o.problem, o.step) == key])
        for key in {(o.problem, o.step) for o in firsts}
    ]
    finish(tables(seen), {"outcomes": [asdict(o) for o in seen]}, given.out, passed=bool(min(rates) >= CONFIDENCE))


if __name__ == "__main__":
    start(main)
