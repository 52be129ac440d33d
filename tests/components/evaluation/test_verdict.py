"""The evaluation gate, by TFX's own Evaluator on tiny models: who is refused, and who is let through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Conversion of an array")]  # TFMA's
ROWS = 600
GOOD, EQUAL, BETTER, WORSE, BAD = 2.0, 2.0001, 3.0, 1.0, 0.0  # how much of the truth each model's score holds


@dataclass(frozen=True)
class Evaluated:
    """What one run of the Evaluator came to."""

    uri: str
    blessed: bool
    verdict: Any

    @property
    def kinds(self) -> dict[str, str]:
        return {finding.kind: finding.severity for finding in self.verdict.findings}

    @property
    def overall(self) -> Any:
        from components.evaluation.verdict import read_metrics

        return read_metrics(self.uri)[0]


def settings(**evaluation: Any) -> Settings:
    data = {"source": "x.csv", "label": "label", "classes": ("no", "yes")}
    chosen = {"thresholds": {"auc": 0.75}, "bootstrap_samples": 200, **evaluation}
    return Settings.model_validate({"name": "tiny", "data": data, "evaluation": chosen})


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    true = rng.random(ROWS) < 0.4
    return {
        "true": true,
        "signal": true + rng.normal(0, 0.5, ROWS),
        "noise": rng.normal(0, 0.5, ROWS),
        "colour": rng.choice(["red", "blue", "green"], ROWS, p=[0.6, 0.3, 0.1]),
    }


def write_examples(folder: Path, table: dict[str, Any], rows: int = ROWS) -> Any:
    """Write rows as the test split of an Examples artifact."""
    import tensorflow as tf
    from tfx.types import standard_artifacts

    def floats(value: float) -> Any:
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    def text(value: str) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))

    path = folder / "Split-test" / "data_tfrecord-00000-of-00001.gz"
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for i in range(rows):
            feature = {
                "signal": floats(table["signal"][i]),
                "noise": floats(table["noise"][i]),
                "colour": text(table["colour"][i]),
                "label": text("yes" if table["true"][i] else "no"),
                "number": floats(float(table["true"][i])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(folder), '["test"]'
    examples.set_string_custom_property("file_format", "tfrecords_gzip")
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    return examples


def save_model(folder: Path, truth: float) -> Any:
    """Save a model whose score is so much truth and the rest noise, under `serving_examples`."""
    import tensorflow as tf
    from tfx.types import standard_artifacts

    spec = {name: tf.io.FixedLenFeature([], tf.float32) for name in ("signal", "noise")}

    class Tiny(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def score(self, examples: Any) -> Any:
            row = tf.io.parse_example(examples, spec)
            yes = tf.sigmoid(truth * (row["signal"] - 0.5) + 2.0 * row["noise"])
            label = tf.where(yes >= 0.5, tf.constant("yes"), tf.constant("no"))
            return {"probabilities": tf.stack([1 - yes, yes], axis=1), "probability": yes, "label": label}

    module = Tiny()
    tf.saved_model.save(module, str(folder / "Format-Serving"), signatures={"serving_examples": module.score})
    model = standard_artifacts.Model()
    model.uri = str(folder)
    return model


@pytest.fixture(scope="module")
def examples(table: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_examples(tmp_path_factory.mktemp("examples"), table)


@pytest.fixture(scope="module")
def evaluate(examples: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Evaluated]:
    """Run TFX's Evaluator as the graph does and read what it says."""

    def go(truth: float, blessed: float | None = None, asked: Settings | None = None, data: Any = None) -> Evaluated:
        from google.protobuf import json_format
        from tfx.components.evaluator.executor import Executor
        from tfx.components.util import model_utils
        from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
        from tfx.types import standard_artifacts

        from components.evaluation.tfma_config import eval_config
        from components.evaluation.verdict import read_verdict

        asked = asked or settings()
        folder = tmp_path_factory.mktemp("evaluation")
        evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
        evaluation.uri, blessing.uri = str(folder / "evaluation"), str(folder / "blessing")
        inputs = {"examples": [data or examples], "model": [save_model(folder / "candidate", truth)]}
        if blessed is not None:
            inputs["baseline_model"] = [save_model(folder / "blessed", blessed)]
        context = BaseBeamExecutor.Context(
            beam_pipeline_args=["--direct_running_mode=in_memory"], tmp_dir=str(folder / "tmp"), unique_id="1"
        )
        Executor(context).Do(
            inputs,
            {"evaluation": [evaluation], "blessing": [blessing]},
            {
                "eval_config": json_format.MessageToJson(eval_config(asked), preserving_proto_field_name=True),
                "example_splits": '["test"]',
                "fairness_indicator_thresholds": "null",
            },
        )
        return Evaluated(evaluation.uri, model_utils.is_model_blessed(blessing), read_verdict(evaluation.uri, asked))

    return go


@pytest.fixture(scope="module")
def first(evaluate: Callable[..., Evaluated]) -> Evaluated:
    """A good model with nothing to compare it with, judged by slices too."""
    return evaluate(GOOD, asked=settings(slices=[{"feature": "colour"}]))


def test_a_good_first_model_is_blessed(first: Evaluated) -> None:
    assert first.blessed
    assert first.verdict.passed
    assert first.kinds == {"THRESHOLD_MET": "info", "NO_BLESSED_MODEL": "info"}, "a small slice does not decide"
    assert "Blessed on 600 test rows: auc is" in first.verdict.sentence


def test_a_bad_model_is_refused_in_words(evaluate: Callable[..., Evaluated]) -> None:
    found = evaluate(BAD)
    assert not found.blessed
    assert not found.verdict.passed
    assert found.kinds["THRESHOLD_MISSED"] == "error"
    assert found.verdict.sentence.startswith("Not blessed: auc is")
    assert "0.75 is asked for" in found.verdict.sentence


def test_the_bound_must_reach_the_threshold_not_the_value(first: Evaluated, evaluate: Callable[..., Evaluated]) -> None:
    value, lower, _ = first.overall.values["auc"]
    between = (value + lower) / 2
    found = evaluate(GOOD, asked=settings(thresholds={"auc": between}))
    assert lower < between < value
    assert not found.blessed
    assert not found.verdict.passed


@pytest.mark.parametrize(
    ("candidate", "blessed", "is_accepted"),
    [(BETTER, GOOD, True), (EQUAL, GOOD, True), (WORSE, GOOD, False)],
    ids=["better", "equal", "worse beyond the margin"],
)
def test_against_the_blessed_model(
    evaluate: Callable[..., Evaluated], candidate: float, blessed: float, is_accepted: bool
) -> None:
    found = evaluate(candidate, blessed, settings(thresholds={"auc": 0.5}))
    assert found.blessed == found.verdict.passed == is_accepted
    assert found.kinds["THRESHOLD_MET"] == "info", "only the comparison decides here"
    assert ("NOT_WORSE_THAN_BLESSED" if is_accepted else "WORSE_THAN_BLESSED") in found.kinds
    [compared] = [finding for finding in found.verdict.findings if "difference" in finding.details]
    assert (compared.details["difference"] >= -0.01) == is_accepted


def test_worse_within_the_margin_is_accepted(evaluate: Callable[..., Evaluated]) -> None:
    found = evaluate(WORSE, GOOD, settings(thresholds={"auc": 0.5}, change_margin=0.5))
    assert found.blessed
    assert found.verdict.passed
    assert found.overall.differences["auc"] < -0.01


def test_no_test_rows_no_blessing(evaluate: Callable[..., Evaluated], table: dict[str, Any], tmp_path: Path) -> None:
    found = evaluate(GOOD, data=write_examples(tmp_path, table, rows=0))
    assert not found.blessed
    assert set(found.kinds) == {"NO_TEST_ROWS"}


def test_our_metrics_are_those_of_tfma(first: Evaluated, table: dict[str, Any], examples: Any, tmp_path: Path) -> None:
    import tensorflow_model_analysis as tfma

    save_model(tmp_path, GOOD)
    asked = tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(signature_name="serving_examples", label_key="number", prediction_key="probability")
        ],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(class_name="AUC", config='{"num_thresholds": 10000}'),
                    tfma.MetricConfig(class_name="BinaryAccuracy"),
                    tfma.MetricConfig(class_name="Precision"),
                    tfma.MetricConfig(class_name="Recall"),
                    tfma.MetricConfig(class_name="ExampleCount"),
                ]
            )
        ],
    )
    result = tfma.run_model_analysis(
        tfma.default_eval_shared_model(str(tmp_path / "Format-Serving"), eval_config=asked),
        asked,
        data_location=f"{examples.uri}/Split-test/*",
        output_path=str(tmp_path / "out"),
    )
    [(_, outputs)] = result.slicing_metrics
    theirs = {name: value["doubleValue"] for name, value in outputs[""][""].items()}
    ours = {name: value for name, (value, _, _) in first.overall.values.items()}
    assert theirs.pop("example_count") == first.overall.rows == ROWS
    assert theirs == pytest.approx({name: ours[name] for name in theirs}, abs=1e-3)
    assert set(theirs) == {"auc", "binary_accuracy", "precision", "recall"}


def test_slices_part_the_rows(first: Evaluated, table: dict[str, Any]) -> None:
    from components.evaluation.verdict import OVERALL, read_metrics

    overall, *slices = read_metrics(first.uri)
    assert overall.name == OVERALL
    counts = {colour: int((table["colour"] == colour).sum()) for colour in ("red", "blue", "green")}
    assert {part.name: part.rows for part in slices} == {f"colour = {name}": n for name, n in counts.items()}
    assert sum(part.rows for part in slices) == overall.rows
    right = sum(part.values["binary_accuracy"][0] * part.rows for part in slices)
    assert right == pytest.approx(overall.values["binary_accuracy"][0] * overall.rows)


def test_fewer_rows_have_wider_bounds(first: Evaluated) -> None:
    from components.evaluation.verdict import read_metrics

    overall, *slices = read_metrics(first.uri)
    for part in slices:
        for value, lower, upper in part.values.values():
            assert lower <= value <= upper
    smallest = min(slices, key=lambda part: part.rows).values["auc"]
    assert smallest[0] - smallest[1] > overall.values["auc"][0] - overall.values["auc"][1]
