from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from config.model_settings import ModelSettings
from tests.support.tasks import BINARY, THREE_CLASSES, of_classes

pytestmark = pytest.mark.slow

ROWS, WIDTH = 96, 5
QUICK = ModelSettings(hidden_units=(16, 8), epochs=3, batch_size=32, learning_rate=1e-3)


@pytest.fixture(scope="module")
def model():
    from components.training.models import dense as model

    return model


def table(classes: int = 2, noise: float = 0.5):
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(ROWS, WIDTH)).astype(np.float32)
    score = numbers[:, 0] + noise * rng.normal(size=ROWS)
    return {"numeric": numbers}, np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))


def train(model, settings: ModelSettings, classes: int = 2, train_rows: int = ROWS, **options):
    features, labels = table(classes)
    network = model.build_model(settings, WIDTH, (), of_classes(classes), seed=7)
    history = model.fit(
        network,
        model.dataset_in_memory(features, labels, settings.batch_size, 7, training=True),
        model.dataset_in_memory(features, labels, settings.batch_size, 7, training=False),
        settings,
        train_rows=train_rows,
        **options,
    )
    return network, history


def changed(**values: object) -> ModelSettings:
    return ModelSettings.model_validate({**QUICK.model_dump(), **values})


def loss_untrained(model, settings: ModelSettings, classes: int = 2) -> float:
    features, labels = table(classes)
    network = model.build_model(settings, WIDTH, (), of_classes(classes), seed=7)
    return float(network.evaluate(features, labels, verbose=0)[0])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [1, 1, 1, 1]), ("cosine", [1, 0.9045, 0.5, 0.02447]), ("one_cycle", [1, 7.75, 8.1174, 0.49516])],
)
def test_learning_rate_follows_the_schedule(model, schedule, expected):
    settings = changed(learning_rate=1e-4, learning_rate_schedule=schedule, epochs=10)
    rates = [model.learning_rate(settings, epoch) for epoch in (0, 2, 5, 9)]
    assert rates == pytest.approx([1e-4 * value for value in expected], rel=1e-3)


def test_training_follows_the_learning_rate(model):
    settings = changed(learning_rate_schedule="one_cycle")
    _, history = train(model, settings)
    assert history["learning_rate"] == pytest.approx([model.learning_rate(settings, e) for e in range(3)], rel=1e-5)


@pytest.mark.parametrize(("classes", "width"), [(2, 1), (3, 3)], ids=["binary", "multi-class"])
def test_output_is_a_probability_for_each_row(model, classes, width):
    network, history = train(model, QUICK, classes)
    probabilities = np.asarray(network(table(classes)[0], training=False))
    assert probabilities.shape == (ROWS, width)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    if width > 1:
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert {name: len(values) for name, values in history.items()} == dict.fromkeys(
        ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"), 3
    )


def test_settings_shape_the_architecture(model):
    import keras

    network = model.build_model(ModelSettings(), 30, (), BINARY, seed=0)
    dense = [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    assert dense == [256, 128, 64, 32, 1]
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds.count("BatchNormalization") == kinds.count("Dropout") == 4
    plain = model.build_model(changed(batch_normalization=False, dropout=0.0), 30, (), BINARY, seed=0)
    assert [type(layer).__name__ for layer in plain.layers] == ["InputLayer", "Dense", "Dense", "Dense", "Activation"]


@pytest.mark.parametrize("width", [0, 2], ids=["categorical alone", "beside numeric"])
def test_categorical_ids_are_one_hot_with_a_place_for_the_unknown(model, width):
    linear = changed(hidden_units=(4,), batch_normalization=False, dropout=0.0)
    network = model.build_model(linear, width, (2, 3), BINARY, seed=0)
    kernel = network.layers[-3].get_weights()[0]
    assert kernel.shape == (width + 3 + 4, 4)
    ids = np.array([[0, 0], [2, 0], [2, 3]])  # [2, 3]: both out of vocabulary
    inputs = {"categorical": ids} | ({"numeric": np.zeros((3, width), np.float32)} if width else {})
    hidden = np.maximum(kernel[[width, width + 2, width + 2]] + kernel[[width + 3, width + 3, width + 6]], 0)
    last, bias = network.layers[-2].get_weights()
    np.testing.assert_allclose(np.asarray(network(inputs)), 1 / (1 + np.exp(-(hidden @ last + bias))), rtol=1e-5)


def digest(model):
    network, _ = train(model, QUICK)
    return hashlib.sha256(np.asarray(network(table()[0], training=False)).tobytes()).hexdigest()


@pytest.mark.exhaustive
def test_two_processes_predict_the_same_bits(model):
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_dense
from components.training.models import dense as model
print(test_dense.digest(model))
"""
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.split()[-1] == digest(model)


def test_another_seed_is_another_network(model):
    first, again, other = (model.build_model(QUICK, WIDTH, (), BINARY, seed).get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_each_epoch_has_an_order_of_its_own_and_all_rows(model):
    features = {"numeric": np.arange(10, dtype=np.float32)[:, None]}

    def epochs(seed: int) -> list[list[int]]:
        batches = model.dataset_in_memory(features, np.arange(10), 4, seed, training=True)
        return [[int(y) for _, labels in batches for y in labels] for _ in range(3)]

    first = epochs(seed=3)
    assert all(sorted(order) == list(range(10)) for order in first)
    assert len({tuple(order) for order in first}) == 3
    assert first == epochs(seed=3)
    assert first != epochs(seed=4)


def test_features_stay_beside_their_labels(model):
    features = {"numeric": np.arange(10, dtype=np.float32)[:, None], "categorical": np.arange(10)[:, None]}
    for inputs, labels in model.dataset_in_memory(features, np.arange(10), 4, 0, training=True):
        np.testing.assert_array_equal(inputs["numeric"][:, 0], labels)
        np.testing.assert_array_equal(inputs["categorical"][:, 0], labels)


def test_evaluation_rows_come_in_order(model):
    features, labels = table()
    batches = list(model.dataset_in_memory(features, labels, 40, 0, training=False))
    assert [len(batch) for _, batch in batches] == [40, 40, 16]
    np.testing.assert_array_equal(np.concatenate([batch for _, batch in batches]), labels)
    np.testing.assert_array_equal(np.concatenate([inputs["numeric"] for inputs, _ in batches]), features["numeric"])


def test_early_stopping_leaves_the_best_weights(model):
    settings = changed(epochs=60, learning_rate=0.3, early_stopping_patience=3, dropout=0.0)
    network, history = train(model, settings)
    features, labels = table()
    assert len(history["loss"]) < 60
    assert len(history["loss"]) == int(np.argmin(history["val_loss"])) + 1 + 3
    restored = network.evaluate(features, labels, batch_size=ROWS, verbose=0)[0]
    assert restored == pytest.approx(min(history["val_loss"]), rel=1e-5)


def test_patience_zero_trains_to_the_end(model):
    _, history = train(model, changed(epochs=12, learning_rate=0.3, early_stopping_patience=0))
    assert len(history["loss"]) == 12


def test_class_weights_move_the_probabilities(model):
    settings = changed(epochs=20, learning_rate=0.01)
    plain, _ = train(model, settings)
    weighted, _ = train(model, settings, class_weight={0: 1.0, 1: 20.0})
    features = table()[0]
    assert np.mean(weighted(features, training=False)) > np.mean(plain(features, training=False)) + 0.05


@pytest.mark.parametrize(
    ("values", "classes"),
    [({"l2": 0.1}, 2), ({"l2": 0.1}, 3), ({"label_smoothing": 0.3}, 2), ({"label_smoothing": 0.3}, 3)],
    ids=["l2-binary", "l2-multi", "smoothing-binary", "smoothing-multi"],
)
def test_regularization_reaches_the_loss(model, values, classes):
    assert loss_untrained(model, changed(**values), classes) != pytest.approx(
        loss_untrained(model, QUICK, classes), rel=1e-4
    )


def test_multi_class_loss_is_the_sparse_cross_entropy(model):
    features, labels = table(3)
    probabilities = np.asarray(model.build_model(QUICK, WIDTH, (), THREE_CLASSES, seed=7)(features, training=False))
    expected = -np.log(probabilities[np.arange(ROWS), labels]).mean()
    assert loss_untrained(model, QUICK, 3) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("rows", [ROWS - 40, ROWS + 40], ids=["too few told", "too many told"])
def test_a_count_of_rows_that_does_not_fit_the_data_is_refused(model, rows):
    import tensorflow as tf

    with pytest.raises(tf.errors.FailedPreconditionError, match="expected to contain"):
        train(model, QUICK, train_rows=rows)


def test_variables_can_move_into_a_module_and_back_from_disk(model, tmp_path):
    import tensorflow as tf

    network, _ = train(model, QUICK)
    features = table()[0]

    class Holder(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = [variable.value for variable in network.variables]
            self.score = tf.function(
                lambda x: network({"numeric": x}, training=False), [tf.TensorSpec([None, WIDTH], tf.float32)]
            )

    tf.saved_model.save(Holder(), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.score(features["numeric"]), network(features, training=False), atol=1e-6)
