from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
import yaml

from config.settings import Settings

pytestmark = pytest.mark.slow
SETS = [
    "tuner.enabled=true",
    "tuner.trials=2",
    "tuner.epochs=2",
    "tuner.learning_rate=[0.02, 0.002]",
    "tuner.dropout=[0.15, 0.25]",
    "tuner.hidden_units=[[16, 8], [12]]",
    "model.epochs=2",
    "model.learning_rate_schedule=constant",
    "evaluation.thresholds={}",
    "evaluation.change_margin=1",
]


@pytest.fixture(scope="module")
def tuned(borrow: Any, run_pipeline: Any) -> Any:
    """Yield a run with the Tuner after one without, while its files are there."""
    with borrow() as var:
        done = run_pipeline(var, sets=SETS)
        assert done.returncode == 0, done.output
        yield done


def test_candidates_are_scalars(breast_cancer: Settings) -> None:
    from components.training.tuner import candidates

    assert candidates(breast_cancer)["hidden_units"] == ["256-128-64-32", "128-64", "64-32"]


@pytest.mark.exhaustive
def test_what_came_before_is_not_run_again(tuned: Any) -> None:
    assert {"FileBasedExampleGen", "StatisticsGen", "Transform"}.isdisjoint(tuned.executed)
    assert tuned.states["Tuner"] == "COMPLETE"


@pytest.mark.exhaustive
def test_the_best_values_are_what_trainer_trained(tuned: Any) -> None:
    import keras_tuner
    import tensorflow as tf

    [path] = tuned.uri("Tuner", "best_hyperparameters").iterdir()
    best = keras_tuner.HyperParameters.from_config(json.loads(path.read_text())).values
    facts = json.loads((tuned.model_folder / "assets.extra" / "training.json").read_text())
    trained = facts["settings"]["model"]
    assert trained["learning_rate"] == best["learning_rate"] in (0.02, 0.002)
    assert trained["dropout"] == best["dropout"] in (0.15, 0.25)
    widths = [int(width) for width in best["hidden_units"].split("-")]
    assert trained["hidden_units"] == widths
    assert facts["architecture"] == [*widths, 1]
    weights = tf.saved_model.load(str(tuned.model_folder)).network_variables
    assert {width for variable in weights if len(variable.shape) == 2 for width in variable.shape[1:]} == {*widths, 1}
    assert facts["history"]["learning_rate"] == pytest.approx([best["learning_rate"]] * 2)


@pytest.mark.exhaustive
def test_every_trial_was_run(tuned: Any) -> None:
    [path] = tuned.uri("Tuner", "tuner_results").iterdir()
    trials = json.loads(path.read_text())
    assert len(trials) == 2
    assert [trial["score"] for trial in trials] == sorted(trial["score"] for trial in trials)


@pytest.mark.exhaustive
def test_report_and_version_say_what_the_tuner_chose_and_how_to_repeat_it(tuned: Any) -> None:
    report = tuned.uri("RunReport", "report")
    facts = json.loads((report / "report.json").read_text())
    settings = yaml.safe_load((report / "settings.yaml").read_text())
    trained = json.loads((tuned.model_folder / "assets.extra" / "training.json").read_text())["settings"]["model"]
    assert facts["network"]["configured"] == [256, 128, 64, 32, 1]
    assert facts["network"]["saved"] == [*trained["hidden_units"], 1]
    assert [trial["score"] for trial in facts["network"]["trials"]] == sorted(
        t["score"] for t in facts["network"]["trials"]
    )
    assert facts["command"] == shlex.join(
        [
            "python",
            "local_runner.py",
            "run",
            "config/breast_cancer",
            *(part for text in SETS for part in ("--set", text)),
        ]
    )
    assert settings["model"] == trained
    assert settings["tuner"]["enabled"] is False, "nothing is left to search"
    pushed = yaml.safe_load(
        (tuned.serving / str(tuned.run.pushed_version) / "assets.extra" / "settings.yaml").read_text()
    )
    assert pushed["model"] == trained
