from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from config.data_settings import ImageSettings
from config.model_settings import ModelSettings
from tests.support.pictures import picture, picture_settings
from tests.support.tasks import of_classes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("kind", "parameters"), [("cnn", 94_565), ("mobilenet_v2", 2_264_389), ("efficientnet_lite0", 3_419_429)]
)
def test_networks_have_their_size(kind, parameters):
    from components.training.models.images import build_model

    network = build_model(ModelSettings(kind=kind), 32, of_classes(5), seed=1)
    assert network.count_params() == parameters
    assert network({"pixels": np.zeros((2, 32, 32, 3), np.uint8)}).shape == (2, 5)


@pytest.mark.parametrize("kind", ["cnn", "mobilenet_v2", "efficientnet_lite0"])
def test_networks_can_be_exported(kind, tmp_path: Path):
    import tensorflow as tf

    from components.training.models.images import build_model

    module = tf.Module()  # as the Scorer holds them: TensorFlow has its own mind about the names of variables
    module.variables_ = [v.value for v in build_model(ModelSettings(kind=kind), 32, of_classes(3), seed=1).variables]
    tf.saved_model.save(module, str(tmp_path))
    assert (tmp_path / "saved_model.pb").is_file()


def test_weights_of_a_file_are_taken_and_frozen(tmp_path: Path):
    from components.training.models.images import build_model

    first = build_model(ModelSettings(kind="mobilenet_v2"), 32, of_classes(2), seed=1)
    second = build_model(own_weights(tmp_path), 32, of_classes(2), seed=2)
    stem, taken = (next(layer for layer in network.layers if layer.weights) for network in (first, second))
    assert np.array_equal(stem.get_weights()[0], taken.get_weights()[0])
    assert len(second.trainable_variables) == 2  # of the head


def test_augmentation_varies_and_keeps_what_is_there():
    import tensorflow as tf

    from components.training.models.images import augment

    tf.random.set_seed(1)
    image = np.full((8, 32, 32, 3), 100, np.uint8)
    image[:, 8:24, 8:24] = 200
    assert np.array_equal(augment(image, ImageSettings(size=32, augmentation="none")), image)
    varied = augment(tf.constant(image), ImageSettings(size=32, augmentation="flip")).numpy()
    assert varied.shape == image.shape
    assert varied.dtype == np.uint8
    assert len({picture.tobytes() for picture in varied}) == 8
    assert varied.mean() == pytest.approx(image.mean(), rel=0.3)


def own_weights(folder: Path) -> ModelSettings:
    """Write a network's weights, and return settings that start from them."""
    import keras

    from components.training.models.images import EMBEDDING, build_model

    first = build_model(ModelSettings(kind="mobilenet_v2"), 32, of_classes(2), seed=1)
    for layer in first.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # the statistics are those of the next batch: without any, nothing comes through
    first({"pixels": np.stack([np.asarray(picture("red", number, side=32)) for number in range(16)])}, training=True)
    file = folder / "own.weights.h5"
    keras.Model(first.inputs, first.get_layer(EMBEDDING).output).save_weights(file)
    recipe = {"weights": str(file), "epochs": 2, "fine_tune_epochs": 2, "batch_size": 8, "dropout": 0.0}
    return ModelSettings(kind="mobilenet_v2", **recipe)


def test_fine_tuning_moves_all_but_the_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import keras
    import tensorflow as tf

    from components.training.models import cnn, images

    monkeypatch.setitem(images.BACKBONES, "mobilenet_v2", cnn.embed)  # the smallest one, as one that takes weights
    recipe = own_weights(tmp_path).model_copy(update={"learning_rate": 1e-4})
    settings = picture_settings(tmp_path, image={"size": 32}, model=recipe.model_dump())
    network = images.build_model(settings.model, 32, of_classes(2), seed=1)
    of_statistics, others = [], []
    for layer in network.layers[:-2]:
        kept = of_statistics if isinstance(layer, keras.layers.BatchNormalization) else others
        kept += [(variable, variable.numpy()) for variable in layer.variables]
    labels = np.arange(32) % 2
    pixels = np.stack([np.asarray(picture(("blue", "red")[k], n, side=32)) for n, k in enumerate(labels)])
    batches = tf.data.Dataset.from_tensor_slices(({"pixels": pixels}, labels)).batch(8)
    images.fit(network, batches, batches, batches, settings, train_rows=len(labels), class_weight=None)
    assert of_statistics
    assert all(np.array_equal(variable.numpy(), before) for variable, before in of_statistics)
    assert len(others) == len(cnn.WIDTHS)
    assert not any(np.array_equal(variable.numpy(), before) for variable, before in others)
