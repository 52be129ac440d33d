"""The real pipeline on the real data: what a run leaves behind, and what a second one spares itself."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import pytest

from serving.repository.layout import versions
from serving.repository.manifest import Manifest, problems
from tests.support.pipeline.runs import CONFIG

pytestmark = pytest.mark.slow
COMPONENTS = [
    "FileBasedExampleGen",
    "StatisticsGen",
    "ImportSchemaGen",
    "ExampleValidator",
    "DataGate",
    "Transform",
    "Trainer",
    "LatestBlessedModel",
    "Evaluator",
    "ServingProbe",
    "AtomicPusher",
    "RunReport",
]
FROM_TRAINER = {"Trainer", "Evaluator", "ServingProbe", "AtomicPusher", "RunReport"}


@pytest.fixture(scope="module")
def changed_model(borrow: Any, run_pipeline: Any) -> Any:
    """A run with another model setting, beside a blessed version. `change_margin` lets chance not decide."""
    with borrow() as var:
        yield run_pipeline(var, sets=["model.epochs=30", "evaluation.change_margin=0.1"])


@pytest.fixture(scope="module")
def refused(borrow: Any, run_pipeline: Any) -> Any:
    with borrow() as var:
        yield run_pipeline(var, sets=["evaluation.thresholds={auc: 0.9999}"])


@pytest.fixture(scope="module")
def iris(onboarded: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """scikit-learn's iris, from the CSV on with nothing said but the label."""
    from sklearn.datasets import load_iris

    table = load_iris(as_frame=True)
    frame = table.data.assign(species=table.target_names[table.target])
    csv = tmp_path_factory.mktemp("iris") / "iris.csv"
    frame.to_csv(csv, index=False)
    return onboarded(csv, "--label", "species")


def test_all_components_complete(pipeline_run: Any) -> None:
    assert sorted(step.component for step in pipeline_run.run.steps) == sorted(COMPONENTS)
    assert set(pipeline_run.states.values()) == {"COMPLETE"}
    assert pipeline_run.run.state == "complete"


def test_the_screen_tells_what_happened_and_where_things_lie(pipeline_run: Any) -> None:
    for part in (
        *COMPONENTS,
        "passed  data gate",
        "passed  evaluation gate",
        "passed  serving gate",
        "pushed as version 1",
        "report.html",
        "model_card.md",
        "metadata.sqlite",
        "run.log",
    ):
        assert part in pipeline_run.output
    assert (pipeline_run.var / "reports" / "breast_cancer" / pipeline_run.run_id / "run.log").stat().st_size > 0


def test_version_1_is_pushed_whole(pipeline_run: Any) -> None:
    assert pipeline_run.run.pushed_version == 1
    assert versions(pipeline_run.serving) == [1]
    assert problems(pipeline_run.serving / "1") == []


def test_the_manifest_says_what_the_version_is(pipeline_run: Any) -> None:
    from components.evaluation.verdict import OVERALL, read_metrics

    manifest = Manifest.read(pipeline_run.serving / "1")
    examples = pipeline_run.run.step("FileBasedExampleGen").outputs["examples"][0]
    overall = next(s for s in read_metrics(str(pipeline_run.uri("Evaluator", "evaluation"))) if s.name == OVERALL)
    assert (manifest.model, manifest.version, manifest.run_id) == ("breast_cancer", 1, pipeline_run.run_id)
    assert manifest.data_digest == examples.custom_properties["source_digest"].string_value
    assert {name: tuple(values) for name, values in manifest.metrics.items()} == overall.values
    assert manifest.operating_point is not None
    assert 0 < manifest.operating_point["threshold"] < 1
    assert set(manifest.verdicts) == {"evaluation", "serving"}
    assert manifest.is_blessed


def test_what_travels_with_the_version_can_be_read(pipeline_run: Any) -> None:
    from config.schema import read_schema
    from serving.repository.contents import parse_statistics
    from serving.repository.drift_reference import DriftReference
    from serving.repository.layout import STATISTICS

    folder = pipeline_run.serving / "1"
    manifest = Manifest.read(folder)
    assert len(read_schema(folder / manifest.schema).feature) == 31
    rows = pipeline_run.run.step("FileBasedExampleGen").outputs["examples"][0].custom_properties["rows_train"].int_value
    assert parse_statistics((folder / STATISTICS).read_bytes()).rows == rows
    reference = DriftReference.read(folder)
    assert (reference.rows, len(reference.numbers), reference.categories) == (rows, 30, {})
    assert {numbers.rows for numbers in reference.numbers.values()} == {rows}
    assert {len(str(edge)) for edge in reference.numbers["radius_mean"].edges} <= {3, 4, 5}, "12.5, as people wrote it"
    assert reference.scores is not None
    assert reference.scores.score.rows == sum(sum(row.values()) for row in reference.scores.confusion.values()) > 90


def test_three_gates_said_yes(pipeline_run: Any) -> None:
    said = pipeline_run.verdicts
    assert list(said) == ["data", "evaluation", "serving"]
    assert all(verdict.passed and verdict.sentence for verdict in said.values())
    kinds = {finding.kind for finding in said["evaluation"].findings}
    assert {"THRESHOLD_MET", "NO_BLESSED_MODEL", "BETTER_THAN_CHANCE", "AS_GOOD_AS_PLAIN_MODELS"} < kinds


@pytest.mark.parametrize("name", ["report.html", "report.json", "report.xlsx", "report.png", "model_card.md"])
def test_the_report_is_there(pipeline_run: Any, name: str) -> None:
    path = pipeline_run.uri("RunReport", "report") / name
    assert 500 < path.stat().st_size < 2_000_000
    if name == "report.html":
        assert re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(?!data:)', path.read_text()) == []
    if name == "report.json":
        assert json.loads(path.read_text())["pushed_version"] == 1


def test_no_row_is_lost_on_the_way(pipeline_run: Any) -> None:
    import tensorflow as tf

    from components.evaluation.verdict import OVERALL, read_metrics

    found = pipeline_run.run.step("FileBasedExampleGen").outputs["examples"][0].custom_properties
    rows = {split: found[f"rows_{split}"].int_value for split in ("train", "eval", "test")}
    assert sum(rows.values()) == found["rows_in"].int_value == 569
    for split, count in rows.items():
        records = tf.data.TFRecordDataset(pipeline_run.split(split), compression_type="GZIP")
        assert sum(1 for _ in records) == count
    training = json.loads((pipeline_run.model_folder / "assets.extra" / "training.json").read_text())
    assert training["rows"] == {"train": rows["train"], "eval": rows["eval"]}
    overall = next(s for s in read_metrics(str(pipeline_run.uri("Evaluator", "evaluation"))) if s.name == OVERALL)
    assert overall.rows == rows["test"]


def test_unchanged_nothing_runs_again(pipeline_run: Any, borrow: Any, run_pipeline: Any) -> None:
    with borrow() as var:
        again = run_pipeline(var)
        assert again.returncode == 0, again.output
        assert again.run_id != pipeline_run.run_id
        assert again.executed == set()
        assert again.run.pushed_version == 1
        assert versions(again.serving) == [1]
        assert again.model_folder == pipeline_run.model_folder


def test_another_title_only_writes_the_report_anew(borrow: Any, run_pipeline: Any) -> None:
    with borrow() as var:
        renamed = run_pipeline(var, sets=["title=Another title"])
        assert renamed.executed == {"RunReport"}
        assert "Another title" in (renamed.uri("RunReport", "report") / "report.html").read_text()
        assert renamed.run.pushed_version == 1


def test_a_version_taken_away_is_pushed_again(borrow: Any, run_pipeline: Any) -> None:
    with borrow() as var:
        shutil.rmtree(var / "serving" / "breast_cancer" / "1")
        again = run_pipeline(var)
        assert again.executed == {"AtomicPusher", "RunReport"}
        assert versions(again.serving) == [2], "a number once given is not given again"


@pytest.mark.exhaustive
def test_a_threshold_and_a_limit_of_the_probe_retrain_nothing_and_push_nothing_again(
    borrow: Any, run_pipeline: Any
) -> None:
    with borrow() as var:
        again = run_pipeline(var, sets=["evaluation.thresholds={auc: 0.5}", "probe.max_latency_ms=49"])
        assert again.executed == {"Evaluator", "ServingProbe", "AtomicPusher", "RunReport"}
        assert versions(again.serving) == [1]
        assert "already there as version 1" in again.output


@pytest.fixture
def other_point(borrow: Any, vouch: Any) -> Any:
    """What is pushed and said once another operating point is set, beside the version whose weights it takes."""
    with borrow() as var:
        done = vouch(var, "set-operating-point", CONFIG, "recall_at_least", "--at-least", "0.7")
        assert done.returncode == 0, done.stdout + done.stderr
        folders = [var / "serving" / "breast_cancer" / number for number in ("1", "2")]
        facts = [json.loads((folder / "assets.extra" / "training.json").read_text()) for folder in folders]
        yield done.stdout, [Manifest.read(folder) for folder in folders], facts


@pytest.mark.exhaustive
def test_another_operating_point_is_set_without_training(other_point: Any) -> None:
    said, (first, second), (trained, taken) = other_point
    assert "pushed as version 2" in said
    assert taken["weights_digest"] == trained["weights_digest"]
    assert taken["history"] == trained["history"]
    assert second.operating_point["threshold"] > first.operating_point["threshold"]
    assert second.operating_point["at_least"] == 0.7
    assert second.is_blessed, "all gates judged it anew"


def test_another_model_setting_runs_from_trainer(changed_model: Any) -> None:
    assert changed_model.returncode == 0, changed_model.output
    assert changed_model.executed == FROM_TRAINER


def test_a_run_repeated_after_another_one_pushes_its_model_as_the_newest(
    changed_model: Any, borrow: Any, run_pipeline: Any
) -> None:
    with borrow() as var:
        first = run_pipeline(var)
        assert first.executed == {"AtomicPusher", "RunReport"}
        assert "pushed as version 3" in first.output
        identities = [Manifest.read(first.serving / str(version)).identity for version in (1, 2, 3)]
        assert identities[0] == identities[2] != identities[1]
        assert "already there as version 3" in run_pipeline(var).output


def test_the_candidate_is_compared_with_the_blessed_model(pipeline_run: Any, changed_model: Any) -> None:
    verdict = changed_model.verdicts["evaluation"]
    [compared] = [f for f in verdict.findings if f.kind in ("NOT_WORSE_THAN_BLESSED", "WORSE_THAN_BLESSED")]
    assert compared.details["baseline"] == Manifest.read(pipeline_run.serving / "1").digest
    assert compared.details["lower"] <= compared.details["difference"] <= compared.details["upper"]
    assert verdict.passed == (compared.kind == "NOT_WORSE_THAN_BLESSED")


@pytest.mark.exhaustive
def test_after_a_column_is_dropped_the_run_completes_and_says_what_it_could_not_compare(
    borrow: Any, run_pipeline: Any
) -> None:
    """Once a model was blessed such a run crashed in the Evaluator, or with a schema that wants it in Trainer."""
    with borrow() as var:
        dropped = run_pipeline(var, sets=["data.ignore=[radius_mean]", "model.epochs=5"])
        verdict = dropped.verdicts["evaluation"]
    [compared] = [finding for finding in verdict.findings if finding.kind == "NOT_COMPARABLE"]
    assert "radius_mean, which the rows no longer have" in compared.sentence


def test_the_next_model_is_pushed_beside_the_first(changed_model: Any) -> None:
    assert changed_model.run.pushed_version == 2
    assert versions(changed_model.serving) == [1, 2]
    assert [problems(changed_model.serving / str(v)) for v in (1, 2)] == [[], []]
    digests = {Manifest.read(changed_model.serving / str(v)).digest for v in (1, 2)}
    assert len(digests) == 2


def test_a_refused_model_ends_with_4_and_is_not_pushed(refused: Any) -> None:
    assert refused.returncode == 4, refused.output
    assert "not pushed" in refused.output
    assert refused.run.pushed_version is None
    pushed_by = {Manifest.read(refused.serving / str(v)).run_id for v in versions(refused.serving)}
    assert refused.run_id not in pushed_by


def test_the_report_of_a_refused_model_says_why(refused: Any) -> None:
    assert refused.run.state == "complete"
    report = json.loads((refused.uri("RunReport", "report") / "report.json").read_text())
    assert report["pushed_version"] is None
    assert "0.9999 is asked for" in (refused.uri("RunReport", "report") / "report.html").read_text()


def test_explain_says_why_it_was_refused(refused: Any, vouch: Any) -> None:
    said = vouch(refused.var, "explain")
    assert said.returncode == 0
    assert "not pushed" in said.stdout
    assert "refused evaluation gate: Not blessed: auc is" in said.stdout
    assert "THRESHOLD_MISSED" in said.stdout


@pytest.mark.exhaustive
def test_a_table_nobody_described_just_works(iris: Any) -> None:
    assert iris.returncode == 0, iris.output
    assert iris.run.pushed_version == 1
    assert all(verdict.passed for verdict in iris.verdicts.values())
    assert problems(iris.serving / "1") == []
    assert "the best plain model's" in iris.verdicts["evaluation"].sentence
    assert Manifest.read(iris.serving / "1").operating_point is None, "there is none for three classes"


@pytest.mark.exhaustive
def test_three_classes_are_predicted_by_name(iris: Any, start_vouch: Any) -> None:
    done = start_vouch(iris.var, "predict", iris.var.parent / "config" / "iris", "--rows", 4).wait()
    assert done.returncode == 0, done.stderr
    assert "highest probability" in done.stdout
    assert any(name in done.stdout for name in ("setosa", "versicolor", "virginica"))
