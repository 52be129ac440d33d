from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from common.errors import ConfigError
from components.tasks import task_of
from components.tasks.classification import Classes
from config.settings import Settings
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
RUN = """
import json, sys
from types import SimpleNamespace
from components.training.trainer import run_fn
run_fn(SimpleNamespace(**json.loads(sys.argv[1])))
"""


def quick(settings: Settings, **model: Any) -> Settings:
    values = settings.model.model_dump() | {"epochs": 3, "hidden_units": (16, 8), "learning_rate": 1e-3} | model
    return settings.model_copy(update={"model": type(settings.model).model_validate(values)})


@pytest.fixture
def arguments(pipeline_run: Any, breast_cancer: Settings, tmp_path: Path) -> Any:
    """Return what TFX hands to `run_fn`, on the shared run's artifacts, writing to a folder of the test."""

    def make(settings: Settings | None = None, folder: Path = tmp_path) -> dict[str, Any]:
        examples = pipeline_run.uri("FileBasedExampleGen", "examples")
        return {
            "custom_config": {"settings": (settings or quick(breast_cancer)).model_dump_json(by_alias=True)},
            "hyperparameters": None,
            "transform_output": str(pipeline_run.uri("Transform", "transform_graph")),
            "schema_path": str(pipeline_run.uri("ImportSchemaGen", "schema") / "schema.pbtxt"),
            "train_files": [str(examples / "Split-train" / "*")],
            "eval_files": [str(examples / "Split-eval" / "*")],
            "serving_model_dir": str(folder / "Format-Serving"),
            "model_run_dir": str(folder / "model_run"),
        }

    return make


def facts(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "Format-Serving" / "assets.extra" / "training.json").read_text()))


@pytest.mark.exhaustive
def test_the_same_data_settings_and_seed_give_the_same_bits(arguments: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    folders = [tmp_path / "one", tmp_path / "two"]
    commands = [[sys.executable, "-c", RUN, json.dumps(arguments(folder=folder))] for folder in folders]
    for process in [subprocess.Popen(command, cwd=ROOT) for command in commands]:
        assert process.wait(600) == 0
    one, two = (tf.saved_model.load(str(folder / "Format-Serving")) for folder in folders)
    for first, second in zip(one.network_variables, two.network_variables, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    rows = tf.constant(np.random.default_rng(1).normal(10, 5, (20, 30)), tf.float32)
    answers = [model.signatures["serving_packed"](features=rows)["probabilities"].numpy() for model in (one, two)]
    np.testing.assert_array_equal(*answers)
    assert facts(folders[0])["history"] == facts(folders[1])["history"]


def test_another_seed_gives_another_model(arguments: Any, breast_cancer: Settings, tmp_path: Path) -> None:
    from components.training.trainer import run_fn

    histories = []
    for seed in (1, 2):
        other = quick(breast_cancer, epochs=1).model_copy(update={"seed": seed})
        run_fn(SimpleNamespace(**arguments(other, tmp_path / str(seed))))
        histories.append(facts(tmp_path / str(seed))["history"]["loss"])
    assert histories[0] != histories[1]


def test_the_shared_run_trained_what_its_settings_say(pipeline_run: Any, breast_cancer: Settings) -> None:
    import tensorflow as tf

    folder = pipeline_run.model_folder
    said = json.loads((folder / "assets.extra" / "training.json").read_text())
    assert said["settings"]["model"] == json.loads(breast_cancer.model.model_dump_json())
    assert said["architecture"] == [256, 128, 64, 32, 1]
    shapes = [variable.shape.as_list() for variable in tf.saved_model.load(str(folder)).network_variables]
    kernels = [shape for shape in shapes if len(shape) == 2]
    assert kernels == [[30, 256], [256, 128], [128, 64], [64, 32], [32, 1]]
    assert not said["streamed"]
    assert set(said["features"]) | {"diagnosis"} == set(said["columns"])
    assert said["columns"]["radius_mean"] == "float"
    assert (
        said["operating_point"]["recall"]
        >= said["operating_point"]["vouched"]
        >= said["operating_point"]["at_least"]
        == 0.9
    )
    assert 0.3 < said["calibration"]["temperature"] < 3


def test_the_history_has_each_epoch(pipeline_run: Any) -> None:
    history = json.loads((pipeline_run.model_folder / "assets.extra" / "training.json").read_text())["history"]
    assert set(history) >= {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"}
    [epochs] = {len(values) for values in history.values()}
    assert 20 < epochs <= 100
    assert history["val_loss"][-1] < history["val_loss"][0]


def test_tensorboard_can_read_the_curves(pipeline_run: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = json.loads((pipeline_run.model_folder / "assets.extra" / "training.json").read_text())["history"]
    events = EventAccumulator(str(pipeline_run.uri("Trainer", "model_run")), {"tensors": 0})
    events.Reload()
    for name, values in history.items():
        assert len(events.Tensors(f"epoch/{name}")) == len(values)
    assert (pipeline_run.uri("Trainer", "model_run") / "training.json").is_file()


def test_what_does_not_fit_in_memory_is_streamed_and_trained(
    arguments: Any, breast_cancer: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.training.dataset import SplitReader
    from components.training.trainer import run_fn

    read = SplitReader.read
    monkeypatch.setattr(SplitReader, "read", lambda reader, files, limit_mb: read(reader, files, 0))
    run_fn(SimpleNamespace(**arguments(quick(breast_cancer, epochs=5))))
    streamed = facts(tmp_path)
    assert streamed["streamed"]
    assert len(streamed["history"]["loss"]) == 5
    assert streamed["history"]["loss"][-1] < streamed["history"]["loss"][0]
    assert sum(streamed["labels"]["train"]) == streamed["rows"]["train"] == 374


def test_tuned_values_override_the_settings(breast_cancer: Settings) -> None:
    from components.training.trainer import with_hyperparameters

    best = {"values": {"learning_rate": 0.01, "hidden_units": "8-4", "tuner/epochs": 3}}
    found = with_hyperparameters(breast_cancer, best)
    assert (found.model.learning_rate, found.model.hidden_units) == (0.01, (8, 4))
    assert found.model.dropout == breast_cancer.model.dropout
    assert with_hyperparameters(breast_cancer, None) is breast_cancer


@pytest.mark.parametrize(
    "classes",
    [
        pytest.param(("rare", "often"), id="positive first", marks=pytest.mark.exhaustive),
        pytest.param(("often", "rare"), id="positive last"),
    ],
)
def test_balanced_weights_lift_the_rare_class(breast_cancer: Settings, classes: tuple[str, str]) -> None:
    """Nothing can be learned from noise but the base rate: 0.1 without weights, 0.5 with."""
    steady = {"learning_rate": 0.01, "learning_rate_schedule": "constant", "batch_normalization": False}
    learned = {}
    for weights in ("none", "balanced"):
        values = breast_cancer.model_dump(mode="json", by_alias=True)
        values |= {"class_names": {}, "data": values["data"] | {"classes": classes, "positive": "rare"}}
        settings = quick(Settings.model_validate(values), class_weights=weights, epochs=10, dropout=0.0, **steady)
        learned[weights] = mean_score_on_noise(settings)
    assert learned["none"] == pytest.approx(0.1, abs=0.07)
    assert learned["balanced"] == pytest.approx(0.5, abs=0.12)


def mean_score_on_noise(settings: Settings) -> float:
    import keras

    from components.training import trainer
    from components.training.dataset import Split
    from components.training.models import dense as model

    rng = np.random.default_rng(0)
    rows, rare = 1000, settings.data.positive_index
    labels = np.where(np.arange(rows) % 10 == 0, rare, 1 - rare).astype(np.int64)
    numbers = {"numeric": rng.normal(size=(rows, 3)).astype(np.float32)}
    split = Split(Classes(tuple(np.bincount(labels).tolist())), numbers, labels, None)
    network = model.build_model(settings.model, 3, (), task_of(settings.data), settings.seed)
    trainer.fit(network, split, split, settings, [keras.callbacks.TerminateOnNaN()])
    return float(network(numbers, training=False).numpy().mean())


def test_a_training_that_diverges_stops_in_its_own_words(
    arguments: Any, breast_cancer: Settings, tmp_path: Path
) -> None:
    from components.training.trainer import run_fn

    wild = quick(breast_cancer, optimizer="sgd", learning_rate=1e30, batch_normalization=False)
    with pytest.raises(ConfigError, match="training diverged") as stopped:
        run_fn(SimpleNamespace(**arguments(wild)))
    assert "learning_rate 1e+30, optimizer sgd" in str(stopped.value)
    assert not (tmp_path / "Format-Serving").exists()
