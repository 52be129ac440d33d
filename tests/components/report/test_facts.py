from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from components.evaluation.baselines import Baseline
from components.evaluation.bounds import Difference, Metric
from components.report.facts import MAX_POINTS, class_curves, point_on_test
from components.tasks.rows import Rows
from components.verdict import Finding, Verdict

TRUE = np.array([0, 0, 1, 1])
PROBABILITY = np.array([0.1, 0.6, 0.4, 0.9], np.float32)


def test_pushed_run_says_its_version_and_gates(make_facts: Any) -> None:
    facts = make_facts()
    assert facts.headline == "Pushed as version 3"
    assert facts.reasons == ("The data, evaluation and serving gates vouch for it.",)


def test_refused_run_says_why(make_facts: Any) -> None:
    refusal = Verdict("evaluation", False, "Not blessed: auc is too low.")
    facts = make_facts(pushed_version=None, verdicts=(Verdict("data", True, "Fine."), refusal))
    assert facts.headline == "Not pushed"
    assert facts.reasons == (refusal.sentence,)


def test_override_is_told(make_facts: Any) -> None:
    facts = make_facts(verdicts=(Verdict("data", True, "Fine.", override="checked by hand"),))
    assert facts.overrides == ("The data gate was overridden: checked by hand",)


def test_json_twin_has_every_number_and_null_for_undefined(make_facts: Any) -> None:
    facts = make_facts(metrics=(Metric("auc", math.nan, math.nan, math.nan, asked=0.9),))
    values = json.loads(facts.as_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert values["metrics"] == [{"name": "auc", "value": None, "lower": None, "upper": None, "asked": 0.9}]
    assert values["confusion"] == [list(row) for row in facts.confusion]
    assert values["network"]["is_as_configured"] is True
    assert values["history"]["values"]["val_loss"] == facts.history.values["val_loss"]


@pytest.mark.parametrize(
    ("lower", "is_met"), [(0.97, True), (0.9699, False), (math.nan, False)], ids=["just", "below", "undefined"]
)
def test_threshold_applies_to_the_lower_bound(lower: float, is_met: bool) -> None:
    assert Metric("auc", 0.99, lower, 1.0, asked=0.97).is_met is is_met


@pytest.mark.parametrize(
    ("lower", "upper", "words"),
    [(0.003, 0.035, "they are not the same"), (-0.005, 0.035, "these rows do not set them apart")],
    ids=["apart", "not told apart"],
)
def test_best_plain_model_is_set_beside_the_network_in_pairs(
    make_facts: Any, lower: float, upper: float, words: str
) -> None:
    found = Difference(0.015, lower, upper, 0.01)
    metrics = make_facts().metrics
    best = Baseline("Decision tree", 10, 102, 0.5, metrics, on_eval=0.99, behind=found)
    luckier_on_test = Baseline(
        "SVM (RBF kernel)", 10, 102, 0.5, metrics, on_eval=0.7, behind=replace(found, value=-0.1)
    )
    comparison = make_facts(baselines=(luckier_on_test, best)).comparison
    assert comparison.startswith(
        "Best plain model by AUC on eval: Decision tree. On the same 102 test rows the network"
    )
    assert f"better by 0.015 ({lower:.3f} to {upper:.3f}): {words}." in comparison


def test_of_a_loss_the_best_plain_model_is_the_one_with_the_least(make_facts: Any) -> None:
    facts = make_facts()
    evaluation = {**facts.settings["evaluation"], "change_metric": "log_loss"}
    found = Difference(0.01, -0.01, 0.02, 0.01)
    models = [
        Baseline(name, 10, 102, 0.5, (), on_eval=goodness, behind=behind)
        for name, goodness, behind in (("Worst", -0.9, found), ("Best", -0.1, found), ("Margins", None, None))
    ]
    comparison = make_facts(baselines=tuple(models), settings={**facts.settings, "evaluation": evaluation}).comparison
    assert comparison.startswith("Best plain model by Log loss on eval: Best.")


def test_nothing_is_compared_where_nothing_is_defined(make_facts: Any) -> None:
    assert make_facts(baselines=()).comparison == ""
    undefined = replace(make_facts().baselines[0], on_eval=None, behind=None)
    assert make_facts(baselines=(undefined,)).comparison == ""


def test_how_often_the_rows_have_judged_is_said_where_the_metrics_are(make_facts: Any) -> None:
    assert make_facts().test_use == "that nothing was fitted or chosen on"
    finding = Finding("TEST_ROWS_JUDGED", "info", "…", details={"judged": 12, "confidence": 0.99})
    facts = make_facts(verdicts=(Verdict("evaluation", True, "Fine.", (finding,)), Verdict("serving", True, "Fine.")))
    assert facts.judged == 12
    assert facts.test_use == "that nothing was fitted on; they have judged 12 candidates"


def test_areas_are_those_of_a_case_counted_by_hand() -> None:
    curves = class_curves("M", TRUE == 1, PROBABILITY)
    assert curves.auc == 0.75  # 3 of 4 pairs in order
    assert curves.average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert curves.roc[0] == (0.0, 0.0)
    assert curves.roc[-1] == (1.0, 1.0)


def test_calibration_bins_hold_many_rows_each_and_say_how_sure_they_are() -> None:
    rng = np.random.default_rng(0)
    probability = rng.beta(0.3, 0.3, 110)
    bins = class_curves("M", rng.random(110) < probability, probability).calibration
    assert [b.rows for b in bins] == [22] * 5
    assert [b.predicted for b in bins] == sorted(b.predicted for b in bins)
    assert all(b.lower <= b.observed <= b.upper for b in bins)
    assert bins[2].upper - bins[2].lower > 0.2, "22 rows say little"


def test_calibration_and_histogram_count_every_row() -> None:
    curves = class_curves("M", TRUE == 1, np.array([0.05, 0.15, 1.0, 0.12], np.float32))
    assert [(b.rows, b.observed) for b in curves.calibration] == [(4, 0.5)], "so few rows draw no line"
    assert sum(curves.histogram_own) == 2
    assert curves.histogram_own[-1] == 1
    assert sum(curves.histogram_others) == 2


@pytest.mark.parametrize("label", [0, 1], ids=["no positives", "only positives"])
def test_one_class_alone_has_no_curve(label: int) -> None:
    curves = class_curves("M", np.full(4, bool(label)), PROBABILITY)
    assert math.isnan(curves.auc)
    assert curves.roc == curves.precision_recall == ()
    assert sum(curves.histogram_own) == 4 * label


def test_no_rows_at_all_are_no_error() -> None:
    empty = Rows(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2), np.float32))
    assert empty.confusion == ((0, 0), (0, 0))
    assert class_curves("M", empty.true == 1, empty.probabilities[:, 1]).calibration == ()
    assert all(math.isnan(value) for value in point_on_test(empty, 1))


def test_operating_point_lies_on_the_roc_curve() -> None:
    decided = (PROBABILITY >= 0.4).astype(int)
    rate, recall, precision = point_on_test(Rows(TRUE, decided, np.stack([1 - PROBABILITY, PROBABILITY], 1)), 1)
    assert (rate, recall, precision) == (0.5, 1.0, pytest.approx(2 / 3))
    assert (rate, recall) in class_curves("M", TRUE == 1, PROBABILITY).roc


def test_long_curves_are_thinned_to_what_can_be_seen() -> None:
    rng = np.random.default_rng(0)
    curves = class_curves("M", rng.random(20_000) < 0.5, rng.random(20_000))
    assert len(curves.roc) <= MAX_POINTS
    assert curves.roc[-1] == (1.0, 1.0)


def test_confusion_is_true_by_decided() -> None:
    assert Rows(np.array([0, 0, 1]), np.array([0, 1, 1]), np.zeros((3, 2))).confusion == ((1, 1), (0, 1))
