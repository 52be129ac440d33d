from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from components.evaluation.baselines import Baseline
from components.evaluation.bounds import Metric
from components.verdict import Verdict


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
    ("lower", "words"),
    [(0.9995, "Their bounds do not overlap."), (0.95, "these rows do not set them apart")],
    ids=["apart", "overlap"],
)
def test_best_plain_model_is_named(make_facts: Any, lower: float, words: str) -> None:
    best = Baseline("SVM (RBF kernel)", 10, 10, 0.5, (Metric("auc", 0.9999, lower, 1.0),))
    worse = Baseline("Decision tree", 10, 10, 0.5, (Metric("auc", 0.7, 0.6, 0.8),))
    comparison = make_facts(baselines=(worse, best)).comparison
    assert "by AUC: SVM (RBF kernel), 1.000; the network: 0.996." in comparison
    assert words in comparison


def test_nothing_is_compared_where_nothing_is_defined(make_facts: Any) -> None:
    assert make_facts(baselines=()).comparison == ""
    undefined = replace(make_facts().baselines[0], metrics=(Metric("auc", math.nan, math.nan, math.nan),))
    assert make_facts(baselines=(undefined,)).comparison == ""
