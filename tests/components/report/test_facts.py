from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from components.evaluation.baselines import Baseline
from components.evaluation.bounds import Difference, Metric
from components.verdict import Finding, Verdict


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
