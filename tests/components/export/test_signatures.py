"""One model, three doors: the same rows get the same answers, through each signature and without any."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow
SIGNATURES = ("serving_default", "serving_examples", "serving_packed")
CLASSES = {"binary": ("0", "1"), "multi-class": ("high", "low", "middle")}
COLUMNS = ("age", "weight", "colour", "town", "ward", "outcome")
UNUSUAL = [
    {"age": 44, "weight": None, "colour": "red", "town": None, "ward": None},
    {"age": 10_000, "weight": -3.5, "colour": "violet", "town": "Atlantis", "ward": 99},
    {"age": 44, "weight": 61.5, "colour": "", "town": "", "ward": 2},
]


def write_mixed(path: Path, classes: tuple[str, ...]) -> Path:
    """Write a table with every kind of column, a third of some missing, and a label that can be learned."""
    rng = random.Random(5)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for _ in range(320):
            age, weight, ward = rng.randint(18, 90), rng.gauss(70, 12), rng.choice((1, 2, 5))
            colour, town = rng.choice(("red", "blue", "green")), rng.choice(("Bern", "Köln", "Oslo", "Rome"))
            score = age / 30 + (weight - 70) / 12 + (colour == "red") - (ward == 5) + rng.gauss(0, 0.5)
            level = sum(score > limit for limit in ((2,) if len(classes) == 2 else (1.2, 2.6)))
            label = {"low": 0, "middle": 1, "high": 2}
            outcome = classes[level] if len(classes) == 2 else min(label, key=lambda text: abs(label[text] - level))
            table.writerow(
                [
                    age,
                    "" if rng.random() < 0.3 else f"{weight:.2f}",
                    colour,
                    "NA" if rng.random() < 0.3 else town,
                    "" if rng.random() < 0.2 else ward,
                    outcome,
                ]
            )
    return path


@pytest.fixture(scope="module", params=["multi-class", pytest.param("binary", marks=pytest.mark.exhaustive)])
def mixed(request: pytest.FixtureRequest, onboarded: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A whole run on a mixed table: text labels for three classes, or integers for two."""
    path = write_mixed(tmp_path_factory.mktemp("mixed") / "mixed.csv", CLASSES[request.param])
    sets = ["categorical=[ward]", "model.epochs=3", "probe.golden_rows=40", "evaluation.when_plain_is_better=warn"]
    done = onboarded(path, "--label", "outcome", sets=sets)
    assert done.returncode == 0, done.output
    return done


@pytest.fixture(scope="module")
def settings(mixed: Any) -> Any:
    from config.settings import Settings

    return Settings.model_validate(training(mixed)["settings"])


@pytest.fixture(scope="module")
def rows(mixed: Any) -> list[bytes]:
    """The eval rows, and some with values that nobody has seen or has."""
    from components.splits import some_rows

    return some_rows(mixed.split("eval"), 1000) + [as_example({**row, "outcome": "?"}) for row in UNUSUAL]


@pytest.fixture(scope="module")
def answers(mixed: Any, rows: list[bytes], settings: Any) -> dict[str, Any]:
    """What each signature says of the rows, loaded as the model server does."""
    from components.export.real_rows import inputs_of
    from config.schema import model_features, read_schema
    from serving.repository.contents import plain
    from serving.repository.layout import SCHEMA
    from serving.server.core.servable import Servable, as_array

    folder = mixed.serving / "1"
    servable = Servable.load(folder)
    inputs = inputs_of(rows, model_features(read_schema(folder / SCHEMA), settings), has_packed=True)
    found = {}
    for name, columns in inputs.items():
        found[name] = servable.run(name, {k: as_array(plain(v), servable.dtype(name, k)) for k, v in columns.items()})
    servable.close()
    return found


@pytest.fixture(scope="module")
def in_process(mixed: Any, rows: list[bytes], settings: Any) -> Any:
    """What Transform and Keras say in this process, with the weights that were saved: `[rows, classes]`."""
    import tensorflow as tf
    import tensorflow_transform as tft

    from components.tasks.calibration import Calibration
    from components.training import trainer
    from components.training.models import dense

    transform_output = tft.TFTransformOutput(str(mixed.uri("Transform", "transform_graph")))
    schema = str(mixed.uri("ImportSchemaGen", "schema") / "schema.pbtxt")
    features, reader = trainer.inputs(settings, schema, transform_output)
    network = trainer.build(settings, transform_output, features)
    for variable, saved in zip(
        network.variables, tf.saved_model.load(str(mixed.model_folder)).network_variables, strict=True
    ):
        variable.assign(saved)
    said = training(mixed)["calibration"]
    logits = dense.before_activation(network)(reader.transform(rows), training=False).numpy()
    scores = Calibration(said["temperature"], said["shift"]).probabilities(logits)
    if not settings.data.is_binary:
        return scores
    positive = settings.data.positive_index
    return np.stack([scores[:, 0] if i == positive else 1 - scores[:, 0] for i in (0, 1)], axis=1)


def as_example(row: dict[str, Any]) -> bytes:
    import tensorflow as tf

    def feature(value: Any) -> Any:
        if isinstance(value, str):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    present = {name: feature(value) for name, value in row.items() if value is not None}
    return bytes(tf.train.Example(features=tf.train.Features(feature=present)).SerializeToString())


def training(run: Any) -> dict[str, Any]:
    return dict(json.loads((run.model_folder / "assets.extra" / "training.json").read_text()))


def test_any_table_just_works(mixed: Any) -> None:
    assert mixed.run.pushed_version == 1
    assert all(verdict.passed for verdict in mixed.verdicts.values())
    assert training(mixed)["features"] == ["age", "weight", "colour", "town", "ward"]


@pytest.mark.parametrize("signature", SIGNATURES)
def test_each_signature_agrees_with_transform_and_keras(answers: Any, in_process: Any, signature: str) -> None:
    np.testing.assert_allclose(answers[signature]["probabilities"], in_process, rtol=0, atol=1e-6)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_outputs_are_named_and_batched(answers: Any, rows: list[bytes], settings: Any, signature: str) -> None:
    found = answers[signature]
    classes = len(settings.data.classes)
    assert set(found) == {"probabilities", "label"} | ({"probability"} if classes == 2 else set())
    assert (found["probabilities"].shape, found["probabilities"].dtype) == ((len(rows), classes), np.float32)
    np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1, atol=1e-6)
    assert {label.decode() for label in found["label"]} <= set(settings.data.classes)
    if classes == 2:
        np.testing.assert_array_equal(found["probability"], found["probabilities"][:, settings.data.positive_index])


@pytest.mark.parametrize("signature", SIGNATURES)
def test_labels_follow_the_operating_point(mixed: Any, answers: Any, settings: Any, signature: str) -> None:
    found = answers[signature]
    labels = [label.decode() for label in found["label"]]
    classes = settings.data.classes
    if settings.data.is_binary:
        threshold = np.float32(training(mixed)["operating_point"]["threshold"])
        positive, other = settings.data.positive_class, classes[1 - settings.data.positive_index]
        assert labels == [positive if p >= threshold else other for p in found["probability"]]
        assert len({*labels}) == 2
    else:
        assert labels == [classes[i] for i in found["probabilities"].argmax(axis=1)]


def test_missing_and_unseen_values_matter_as_they_should(answers: Any, rows: list[bytes]) -> None:
    last = {name: found["probabilities"][-len(UNUSUAL) :] for name, found in answers.items()}
    for probabilities in last.values():
        assert np.isfinite(probabilities).all()
        assert not np.array_equal(probabilities[0], probabilities[2])


def test_plain_models_agree_with_scikit_learn(mixed: Any, rows: list[bytes], settings: Any) -> None:
    from components.export.real_rows import inputs_of
    from components.splits import SplitTables
    from components.training.plain import PlainModels
    from config.schema import model_features, read_schema
    from serving.repository.contents import Case
    from serving.repository.layout import SCHEMA
    from serving.server.core.servable import Servable, as_array

    folder, models = mixed.serving / "1", PlainModels.read(mixed.model_folder.parent)
    features = model_features(read_schema(folder / SCHEMA), settings)
    asked = rows[: -len(UNUSUAL)] + [as_example({**row, "outcome": settings.data.classes[0]}) for row in UNUSUAL]
    schema = mixed.uri("ImportSchemaGen", "schema")
    table = SplitTables.of(mixed.uri("FileBasedExampleGen", "examples"), schema, settings).table_of(asked)
    exported = models.export(features, settings)
    assert exported is not None
    case = Case(
        "serving_plain", inputs_of(asked, features, has_packed=False)["serving_default"], exported.golden(table)
    )
    servable = Servable.load(folder)
    said = servable.run(
        case.signature, {k: as_array(v, servable.dtype(case.signature, k)) for k, v in case.inputs.items()}
    )
    servable.close()
    assert case.largest_difference(said) <= 1e-6
    assert case.wrong_texts(said) == 0
    assert said["inputs"].shape == (len(asked), len(training(mixed)["inputs"]))
    assert training(mixed)["inputs"] == [
        ["age", "value"],
        ["weight", "value"],
        ["weight", "missing"],
        ["colour", "category"],
        ["town", "category"],
        ["ward", "category"],
    ]


def test_the_warm_up_requests_are_prediction_logs_that_replay(mixed: Any) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    from serving.server.core.servable import Servable

    folder = mixed.serving / "1"
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    assert {request.model_spec.name for request in requests} == {"mixed"}
    servable = Servable.load(folder)
    replayed = set()
    for request in requests:
        arrays = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        count = len(next(iter(arrays.values())))
        assert len(servable.run(request.model_spec.signature_name, arrays)["label"]) == count
        replayed.add((request.model_spec.signature_name, count))
    servable.close()
    assert replayed == {(signature, count) for signature in (*SIGNATURES, "serving_plain") for count in (1, 40)}


def test_text_without_a_domain_has_no_packed_form(mixed: Any, settings: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    import tensorflow as tf
    import tensorflow_transform as tft

    from components.export.signatures import Scorer
    from components.tasks import ClassHead, task_of
    from components.training import trainer

    transform_output = tft.TFTransformOutput(str(mixed.uri("Transform", "transform_graph")))
    schema = str(mixed.uri("ImportSchemaGen", "schema") / "schema.pbtxt")
    features, _ = trainer.inputs(settings, schema, transform_output)
    free = [replace(feature, values=()) if feature.name == "town" else feature for feature in features]
    network = trainer.build(settings, transform_output, free)
    task = task_of(settings.data)
    Scorer(network, transform_output, free, ClassHead(task.classes, task.positive)).save(tmp_path)
    assert set(tf.saved_model.load(str(tmp_path)).signatures) == {"serving_default", "serving_examples"}
