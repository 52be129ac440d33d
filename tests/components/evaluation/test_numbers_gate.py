"""The evaluation gate on models that predict numbers: who is refused, and who is let through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from components.evaluation.baselines import Baseline, bounded, compare
from components.evaluation.comparison import Comparison, set_against
from components.evaluation.looks import Looks
from components.evaluation.verdict import OVERALL, SliceMetrics, judge
from components.table import Table
from components.tasks.rows import NumberRows
from components.verdict import Verdict
from config.settings import Settings

HALF = 1.645  # of an interval that holds 90 % of errors with deviation 1


def settings(**evaluation: Any) -> Settings:
    data = {"source": "x.csv", "label": "y", "task": "regression"}
    return Settings.model_validate({"name": "m", "data": data, "evaluation": {"bootstrap_samples": 300, **evaluation}})


def model(skill: float, rows: int = 400, seed: int = 0, half: float = HALF) -> NumberRows:
    """A model whose errors have a deviation of 1, plus what it lacks in skill."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 2, rows)
    own = skill * truth
    return NumberRows(truth + rng.normal(0, 1, rows), own, own - half, own + half)


def judged(
    rows: NumberRows,
    blessed: NumberRows | None = None,
    asked: Settings | None = None,
    baselines: Sequence[Baseline] = (),
    eval_rows: int = 400,
) -> Verdict:
    asked = asked or settings()
    values = {m.name: (m.value, m.lower, m.upper) for m in bounded(rows, asked)}
    comparison = Comparison() if blessed is None else set_against(rows, blessed, asked)
    intervals = {"coverage": 0.9, "edges": [], "widths": [HALF], "rows": [eval_rows]}
    whole = SliceMetrics(OVERALL, len(rows), None, values)
    return judge([whole], rows, comparison, baselines, None, asked, Looks(), intervals)


def kinds(verdict: Verdict) -> Mapping[str, str]:
    return {finding.kind: finding.severity for finding in verdict.findings}


def test_a_good_model_is_blessed_and_its_intervals_hold() -> None:
    verdict = judged(model(1.0))
    assert verdict.passed
    assert kinds(verdict) == {"NO_BLESSED_MODEL": "info", "BETTER_THAN_CHANCE": "info", "INTERVALS_HOLD": "info"}


def test_a_model_that_says_no_more_than_the_mean_is_refused() -> None:
    verdict = judged(model(0.0))
    assert not verdict.passed
    assert kinds(verdict)["NO_BETTER_THAN_CHANCE"] == "error"
    assert "always saying the mean has 0" in verdict.sentence


def test_labels_that_are_all_alike_tell_nothing() -> None:
    rows = NumberRows(np.ones(50), np.ones(50), np.zeros(50), np.full(50, 2.0))
    assert "all labels are the same" in judged(rows).sentence


def test_a_worse_model_than_the_blessed_is_refused_and_an_equal_one_is_not() -> None:
    assert "WORSE_THAN_BLESSED" in kinds(judged(model(0.6), blessed=model(1.0)))
    assert judged(model(1.0), blessed=model(1.0)).passed
    assert judged(model(1.0), blessed=model(0.6)).passed


def test_a_threshold_on_an_error_is_the_most_that_it_may_be() -> None:
    asked = settings(thresholds={"rmse": 1.2, "r2": 0.5})
    assert judged(model(1.0), asked=asked).passed
    refused = judged(model(0.5), asked=asked)
    assert not refused.passed
    assert "rmse is" in refused.sentence
    assert "at most" in refused.sentence


@pytest.mark.parametrize("half", [0.8, 3.0], ids=["too narrow", "too wide"])
def test_intervals_that_do_not_keep_their_promise_are_told(half: float) -> None:
    verdict = judged(model(1.0, half=half))
    assert kinds(verdict)["INTERVALS_OFF"] == "warn"
    assert "eval and test rows differ" in next(f.sentence for f in verdict.findings if f.kind == "INTERVALS_OFF")


def test_intervals_that_hold_are_rarely_called_off() -> None:
    off = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        residuals = np.sort(np.abs(rng.normal(0, 1, 60)))
        half = residuals[int(np.ceil(61 * 0.9)) - 1]
        off += "INTERVALS_OFF" in kinds(judged(model(1.0, rows=80, seed=1000 + seed, half=half), eval_rows=60))
    assert off <= 8  # 1 of 100 is meant, and more than 8 of 200 would come once in 1,000 times


def test_plain_models_of_numbers_are_fitted_and_the_best_of_them_refuses() -> None:
    rng = np.random.default_rng(0)

    def table(rows: int) -> Table:
        x = rng.normal(size=(rows, 3))
        return Table(x, np.zeros((rows, 0), object), x[:, 0] - 2 * x[:, 1] + rng.normal(0, 0.3, rows))

    train, tuned, test = table(600), table(200), table(300)
    asked = settings(when_plain_is_better="refuse")
    weak = NumberRows(test.targets, 0.3 * test.targets, test.targets - 2, test.targets + 2)
    baselines = compare(train, tuned, test, asked, weak)
    assert [b.name for b in baselines][:2] == ["Always the mean", "Linear regression"]
    assert [b.is_constant for b in baselines] == [True, False, False, False, False]
    linear = baselines[1].metric("r2")
    assert linear is not None
    assert linear.value > 0.95
    assert baselines[1].on_eval is not None
    assert "PLAIN_MODEL_BETTER" in kinds(judged(weak, asked=asked, baselines=baselines))
