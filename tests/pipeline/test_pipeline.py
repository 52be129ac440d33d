from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.paths import Paths
from config.load import load_settings, settings_hash
from config.settings import Settings
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow  # TFX's import


def test_components_bear_the_names_that_history_looks_for(tmp_path: Path) -> None:
    from components import artifacts, names
    from pipeline.pipeline import create_pipeline

    graph = create_pipeline(load_settings(ROOT / "config" / "breast_cancer"), Paths(tmp_path, "breast_cancer"))
    components = {component.id: component for component in graph.components}
    for component, output in (
        (names.EXAMPLE_GEN, names.EXAMPLES),
        (names.DATA_GATE, names.VERDICT),
        (names.TRAINER, "model"),
        (names.BLESSED_MODEL, "model"),
        (names.PROBE, names.VERDICT),
        (names.PUSHER, names.PUSHED_MODEL),
        (names.REPORT, names.REPORT_FILES),
    ):
        assert output in components[component].outputs
    paths = Paths(tmp_path, "breast_cancer")
    assert paths.run_reports == paths.pipeline / names.REPORT / names.REPORT_FILES
    types = [artifacts.VerdictArtifact.TYPE_NAME, artifacts.ReportArtifact.TYPE_NAME]
    assert types == [names.VERDICT_TYPE, names.REPORT_TYPE]


@pytest.mark.parametrize(
    "display",
    [
        {"title": "Toy"},
        {"description": "A toy."},
        {"class_names": {"a": "first"}},
        {"features": {"x": {"unit": "mm"}}},
        {"showcase": {"train_rows": 0}},
        {"retrain": {"min_labels": 7}},
    ],
    ids=lambda display: next(iter(display)),
)
def test_what_only_people_see_does_not_make_another_model(display: dict[str, Any]) -> None:
    from pipeline.pipeline import _without_display

    plain = {"name": "toy", "data": {"source": "toy.csv", "label": "y", "classes": ["a", "b"]}}
    shown = Settings.model_validate(plain | display)
    assert shown != Settings.model_validate(plain)
    assert _without_display(shown) == _without_display(Settings.model_validate(plain))
    assert settings_hash(_without_display(shown)) == settings_hash(_without_display(Settings.model_validate(plain)))


PLAIN = {
    "name": "toy",
    "data": {"source": "toy.csv", "label": "y", "classes": ["a", "b"]},
    "split": {"seed": 1},
    "model": {"seed": 2},
}


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Toy"},
        {"seed": 7},  # of the bootstrap alone, where the others have seeds of their own
        {"evaluation": {"thresholds": {"auc": 0.5}, "change_margin": 0.5, "slices": [{"feature": "x"}]}},
        {"probe": {"max_latency_ms": 49}},
        {"tuner": {"trials": 9}},
        {"data_gate": {"leak_score": 0.9}},
        {"showcase": {"train_rows": 0}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_trainer_does_not_read_retrains_nothing(change: dict[str, Any]) -> None:
    from pipeline.pipeline import _for_training

    assert _for_training(Settings.model_validate(PLAIN | change)) == _for_training(Settings.model_validate(PLAIN))


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"seed": 3}},
        {"model": {"seed": 2, "epochs": 3}},
        {"split": {"seed": 2}},
        {"evaluation": {"target_recall": 0.5}},
        {"probe": {"golden_rows": 5}},
        {"categorical": ["x"]},
        {"data": PLAIN["data"] | {"positive": "a"}},  # type: ignore[operator]
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_it_reads_does(change: dict[str, Any]) -> None:
    from pipeline.pipeline import _for_training

    assert _for_training(Settings.model_validate(PLAIN | change)) != _for_training(Settings.model_validate(PLAIN))


def test_a_cached_trainer_must_hold_plain_models_that_this_scikit_learn_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import metadata

    from pipeline import pipeline

    def asked() -> str:
        graph = pipeline.create_pipeline(
            load_settings(ROOT / "config" / "breast_cancer"), Paths(tmp_path, "breast_cancer")
        )
        [trainer] = [component for component in graph.components if component.id == "Trainer"]
        return str(trainer.exec_properties["custom_config"])

    now = asked()
    assert asked() == now
    known = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "scikit-learn" else known(name))
    assert asked() != now


def test_three_classes_can_be_trained_on() -> None:
    from pipeline.pipeline import _for_training

    data = {"source": "toy.csv", "label": "y", "classes": ["a", "b", "c"]}
    settings = Settings.model_validate(PLAIN | {"data": data, "evaluation": {"metrics": ["auc", "accuracy"]}})
    assert _for_training(settings).data.classes == ("a", "b", "c")


def test_a_model_setting_does_not_change_how_a_given_model_is_judged() -> None:
    from pipeline.pipeline import _for_evaluation

    plain = Settings.model_validate(PLAIN)
    changed = Settings.model_validate(PLAIN | {"model": {"epochs": 3}, "probe": {"max_memory_mb": 1}})
    assert _for_evaluation(changed) == _for_evaluation(plain)
    asked = Settings.model_validate(PLAIN | {"evaluation": {"thresholds": {"auc": 0.5}}})
    assert _for_evaluation(asked) != _for_evaluation(plain)


def test_a_column_ignored_is_not_asked_for(tmp_path: Path) -> None:
    from config.schema import read_schema
    from pipeline.pipeline import create_pipeline

    settings = load_settings(ROOT / "config" / "breast_cancer", ["data.ignore=[radius_mean]"])
    graph = create_pipeline(settings, Paths(tmp_path, "breast_cancer"))
    [importer] = [component for component in graph.components if component.id == "ImportSchemaGen"]
    kept = {feature.name for feature in read_schema(Path(importer.exec_properties["schema_file"])).feature}
    assert settings.schema_file
    assert {feature.name for feature in read_schema(settings.schema_file).feature} - kept == {"radius_mean"}


def test_an_integer_that_the_schema_calls_categorical_gets_a_vocabulary() -> None:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    from pipeline.pipeline import _about_features

    text = 'feature { name: "ward" type: INT int_domain { is_categorical: true } } feature { name: "age" type: INT }'
    schema = text_format.Parse(text, schema_pb2.Schema())
    assert _about_features(Settings.model_validate(PLAIN), schema)["codes"] == ["ward"]


def test_an_argument_more_keeps_the_runner_of_this_machine() -> None:
    from pipeline.pipeline import LOCAL_BEAM_ARGS, with_runner

    assert with_runner([]) == LOCAL_BEAM_ARGS
    assert with_runner(["--direct_num_workers=2"]) == [*LOCAL_BEAM_ARGS, "--direct_num_workers=2"]


def test_a_runner_named_gets_its_arguments_alone() -> None:
    from pipeline.pipeline import with_runner

    named = ["--runner=PortableRunner", "--job_endpoint=localhost:8099"]
    assert with_runner(named) == named
