"""The evaluation gate, by TFX's own Evaluator on tiny models: who is refused, and who is let through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from tests.support.pipeline.tiny import save_model, tiny_settings, tiny_table, write_examples, write_schema

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Conversion of an array")]  # TFMA's
ROWS = 600
GOOD, EQUAL, WORSE, BAD = 2.0, 2.0001, 1.0, 0.0  # how much of the truth each model's score holds


@dataclass(frozen=True)
class Evaluated:
    """What one run of the Evaluator came to."""

    output: Any
    blessed: bool
    verdict: Any

    @property
    def kinds(self) -> dict[str, str]:
        return {finding.kind: finding.severity for finding in self.verdict.findings}

    @property
    def overall(self) -> Any:
        from components.evaluation.verdict import read_metrics

        return read_metrics(self.output.uri)[0]


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    return tiny_table(ROWS)


@pytest.fixture(scope="module")
def examples(table: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_examples(tmp_path_factory.mktemp("examples"), table, ROWS)


@pytest.fixture(scope="module")
def evaluate(examples: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Evaluated]:
    """Run the component's executor as the graph does and read what it says."""

    def go(
        truth: float,
        blessed: float | None = None,
        asked: Settings | None = None,
        data: Any = None,
        metadata: Path = Path("absent"),
        candidate: int = 1,
    ) -> Evaluated:
        from tfx.components.util import model_utils
        from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
        from tfx.types import standard_artifacts

        from components.evaluation.component import Executor
        from components.verdict import Verdict
        from pipeline.pipeline import LOCAL_BEAM_ARGS

        asked = asked or tiny_settings()
        folder = tmp_path_factory.mktemp("evaluation")
        evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
        evaluation.uri, blessing.uri = str(folder / "evaluation"), str(folder / "blessing")
        inputs = {
            "examples": [data or examples],
            "schema": [write_schema(folder / "schema")],
            "model": [save_model(folder / "candidate", truth, asked)],
            "baseline_models": [] if blessed is None else [save_model(folder / "blessed", blessed, asked)],
        }
        inputs["model"][0].id = candidate
        context = BaseBeamExecutor.Context(
            beam_pipeline_args=LOCAL_BEAM_ARGS, tmp_dir=str(folder / "tmp"), unique_id="1"
        )
        outputs = {"evaluation": [evaluation], "blessing": [blessing]}
        properties = {"settings": asked.model_dump_json(by_alias=True), "metadata": str(metadata)}
        Executor(context).Do(inputs, outputs, properties)
        verdict = Verdict.read(Path(evaluation.uri))
        return Evaluated(evaluation, model_utils.is_model_blessed(blessing), verdict)

    return go


@pytest.fixture(scope="module")
def first(evaluate: Callable[..., Evaluated]) -> Evaluated:
    """A good model with nothing to compare it with, judged by slices too."""
    return evaluate(GOOD, asked=tiny_settings(slices=[{"feature": "colour"}]))


def test_a_good_first_model_is_blessed(first: Evaluated) -> None:
    assert first.blessed
    assert first.verdict.passed
    assert set(first.kinds.values()) == {"info"}, "a small slice does not decide"
    assert {"THRESHOLD_MET", "NO_BLESSED_MODEL", "BETTER_THAN_CHANCE", "OPERATING_POINT"} < set(first.kinds)
    assert {"CALIBRATED", "NOT_SHOWN_CALIBRATED"} & set(first.kinds)
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
    found = evaluate(GOOD, asked=tiny_settings(thresholds={"auc": between}))
    assert lower < between < value
    assert not found.blessed
    assert not found.verdict.passed


def test_losses_are_bounded_from_above_and_groups_are_counted(evaluate: Callable[..., Evaluated]) -> None:
    asked = tiny_settings(
        split={"group_by": "patient"}, metrics=["auc", "log_loss"], thresholds={"log_loss": 0.9, "auc": 0.5}
    )
    run = evaluate(GOOD, asked=asked)
    assert run.blessed
    assert run.verdict.sentence.startswith("Blessed on 600 test rows of 150 groups: log_loss is")
    assert "at most" in run.verdict.findings[0].sentence
    value, lower, upper = run.overall.values["log_loss"]
    assert 0 < lower < value < upper <= 0.9


def test_a_loss_that_may_be_too_high_is_refused(evaluate: Callable[..., Evaluated]) -> None:
    run = evaluate(BAD, asked=tiny_settings(metrics=["auc", "log_loss"], thresholds={"log_loss": 0.5}))
    assert not run.blessed
    assert run.kinds["THRESHOLD_MISSED"] == "error"
    assert not run.verdict.passed


def judged(truth: float, only: int | None = None, **evaluation: Any) -> Any:
    """The verdict on what a tiny model says of rows, beside plain models, without TFMA between.

    `only`: the one class that the test rows are of.
    """
    import numpy as np

    from components.evaluation.baselines import compare
    from components.evaluation.bounds import evaluate as bounded
    from components.evaluation.comparison import Comparison
    from components.evaluation.looks import Looks
    from components.evaluation.verdict import OVERALL, SliceMetrics, judge
    from components.table import Table
    from components.tasks.rows import Rows

    settings = tiny_settings(**evaluation)
    dealt = [tiny_table(rows, seed) for rows, seed in ((300, 4), (100, 5), (ROWS, 3))]
    tables = [
        Table(np.stack([t["signal"], t["noise"]], axis=1), np.zeros((len(t["true"]), 0), object), t["true"].astype(int))
        for t in dealt
    ]
    test = dealt[2]
    yes = 1 / (1 + np.exp(-truth * (test["signal"] - 0.5) - 2.0 * test["noise"]))
    true = test["true"].astype(int) if only is None else np.full(ROWS, only)
    rows = Rows(true, (yes >= 0.5).astype(int), np.stack([1 - yes, yes], axis=1), 1)

    def part(name: str, some: Rows) -> SliceMetrics:
        values = bounded(some, ["auc", "recall"], confidence=0.95, samples=200, seed=0).values()
        return SliceMetrics(name, len(some), None, {m.name: (m.value, m.lower, m.upper) for m in values})

    parts = [part(OVERALL, rows), part("colour = red", rows.of(test["colour"] == "red"))]
    train, tuned, held_out = tables
    baselines = compare(train, tuned, held_out, settings, rows)
    return judge(parts, rows, Comparison(), baselines, {"threshold": 0.5}, settings, Looks())


def severities(verdict: Any) -> dict[str, str]:
    return {finding.kind: finding.severity for finding in verdict.findings}


def test_a_model_that_knows_nothing_is_refused_whatever_is_asked() -> None:
    verdict = judged(BAD, thresholds={})
    assert not verdict.passed
    assert severities(verdict)["NO_BETTER_THAN_CHANCE"] == "error"


@pytest.mark.parametrize(("only", "absent"), [(0, "yes"), (1, "no")])
def test_a_class_without_test_rows_is_named(only: int, absent: str) -> None:
    verdict = judged(GOOD, only, thresholds={"auc": 0.7})
    told = {finding.kind: finding for finding in verdict.findings}
    assert not verdict.passed
    assert f"auc is undefined on these {ROWS} rows, because no row is of class {absent}" in verdict.sentence
    assert f"no row is of class {absent}" in told["NO_BETTER_THAN_CHANCE"].sentence
    assert (told["CLASS_NOT_TESTED"].severity, told["CLASS_NOT_TESTED"].details) == ("warn", {"classes": [absent]})


@pytest.mark.parametrize(("when", "severity"), [("warn", "warn"), ("refuse", "error")])
def test_a_plain_model_that_is_clearly_better_is_told_and_may_refuse(when: str, severity: str) -> None:
    verdict = judged(WORSE, thresholds={}, when_plain_is_better=when)
    assert severities(verdict)["PLAIN_MODEL_BETTER"] == severity
    assert verdict.passed == (when == "warn")
    [told] = [finding for finding in verdict.findings if finding.kind == "PLAIN_MODEL_BETTER"]
    assert told.details["upper"] < -0.01


def test_a_slice_decides_where_it_has_a_threshold() -> None:
    verdict = judged(GOOD, slices=[{"feature": "colour", "values": ["red", "mauve"], "thresholds": {"auc": 0.7}}])
    assert severities(verdict)["SLICE_THRESHOLD_MET"] == "info"
    assert severities(verdict)["SLICE_THRESHOLD_MISSED"] == "error", "no row is mauve, and nothing vouches for those"
    assert not verdict.passed
    assert "where colour = mauve" in verdict.sentence


def test_a_refusal_says_what_is_possible_and_what_to_do() -> None:
    beyond = judged(GOOD, thresholds={"auc": 0.9999}).sentence
    assert "These rows can vouch for 0.99" in beyond
    assert "bring more test rows" in beyond
    assert "the data allow it, so train longer or otherwise" in judged(WORSE, thresholds={"auc": 0.85}).sentence


@pytest.mark.parametrize(
    ("candidate", "is_accepted"),
    [pytest.param(EQUAL, True, id="equal", marks=pytest.mark.exhaustive), pytest.param(WORSE, False, id="worse")],
)
def test_against_the_blessed_model(evaluate: Callable[..., Evaluated], candidate: float, is_accepted: bool) -> None:
    run = evaluate(candidate, GOOD, tiny_settings(thresholds={"auc": 0.5}))
    assert run.blessed == run.verdict.passed == is_accepted
    assert run.kinds["THRESHOLD_MET"] == "info", "only the comparison decides here"
    assert ("NOT_WORSE_THAN_BLESSED" if is_accepted else "WORSE_THAN_BLESSED") in run.kinds
    [compared] = [finding for finding in run.verdict.findings if "difference" in finding.details]
    assert len(compared.details["baseline"]) == 64, "what it was compared with goes into the manifest"


def test_no_test_rows_no_blessing(evaluate: Callable[..., Evaluated], table: dict[str, Any], tmp_path: Path) -> None:
    found = evaluate(GOOD, data=write_examples(tmp_path, table, rows=0))
    assert not found.blessed
    assert set(found.kinds) == {"NO_TEST_ROWS"}


def test_our_metrics_are_those_of_tfma(first: Evaluated, table: dict[str, Any], examples: Any, tmp_path: Path) -> None:
    import tensorflow_model_analysis as tfma
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipeline.pipeline import LOCAL_BEAM_ARGS

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
        pipeline_options=PipelineOptions(LOCAL_BEAM_ARGS),
    )
    [(_, outputs)] = result.slicing_metrics
    theirs = {name: value["doubleValue"] for name, value in outputs[""][""].items()}
    ours = {name: value for name, (value, _, _) in first.overall.values.items()}
    assert theirs.pop("example_count") == first.overall.rows == ROWS
    assert theirs == pytest.approx({name: ours[name] for name in theirs}, abs=1e-3)
    assert set(theirs) == {"auc", "binary_accuracy", "precision", "recall"}


def test_slices_part_the_rows(first: Evaluated, table: dict[str, Any]) -> None:
    from components.evaluation.verdict import OVERALL, read_metrics

    overall, *slices = read_metrics(first.output.uri)
    assert overall.name == OVERALL
    counts = {colour: int((table["colour"] == colour).sum()) for colour in ("red", "blue", "green")}
    assert {part.name: part.rows for part in slices} == {f"colour = {name}": n for name, n in counts.items()}
    assert sum(part.rows for part in slices) == overall.rows
    right = sum(part.values["binary_accuracy"][0] * part.rows for part in slices)
    assert right == pytest.approx(overall.values["binary_accuracy"][0] * overall.rows)


def test_fewer_rows_have_wider_bounds(first: Evaluated) -> None:
    from components.evaluation.verdict import read_metrics

    overall, *slices = read_metrics(first.output.uri)
    for part in slices:
        for value, lower, upper in part.values.values():
            assert lower <= value <= upper
    smallest = min(slices, key=lambda part: part.rows).values["auc"]
    assert smallest[0] - smallest[1] > overall.values["auc"][0] - overall.values["auc"][1]


@pytest.mark.exhaustive
def test_trying_until_one_passes_costs_confidence(
    first: Evaluated, evaluate: Callable[..., Evaluated], tmp_path: Path
) -> None:
    value, lower, _ = first.overall.values["auc"]
    asked = tiny_settings(thresholds={"auc": lower - 0.05 * (value - lower)})
    metadata = tmp_path / "metadata.sqlite"
    remember(metadata, *[evaluate(BAD, asked=asked, candidate=number).output for number in (1, 2)])
    passes, third = (
        evaluate(GOOD, asked=asked, candidate=3),
        evaluate(GOOD, asked=asked, metadata=metadata, candidate=3),
    )
    assert passes.blessed
    assert not third.blessed
    assert "with 99.444% confidence only at least" in third.verdict.sentence
    assert third.kinds["TEST_ROWS_JUDGED"] == "info"


def remember(metadata: Path, *outputs: Any) -> None:
    """Keep evaluations in ML Metadata as TFX does: by their type, in the pipeline's context."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    from pipeline.history import open_store

    store = open_store(metadata)
    kind = store.put_artifact_type(outputs[0].artifact_type)
    context_kind = store.put_context_type(mlmd.ContextType(name="pipeline"))
    [context] = store.put_contexts([mlmd.Context(type_id=context_kind, name="tiny")])
    for output in outputs:
        output.type_id = kind
    ids = store.put_artifacts([output.mlmd_artifact for output in outputs])
    store.put_attributions_and_associations([mlmd.Attribution(artifact_id=id_, context_id=context) for id_ in ids], [])
