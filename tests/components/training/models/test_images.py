from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from common.errors import ConfigError, DataError
from config.data_settings import ImageSettings
from config.model_settings import ModelSettings
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


def test_weights_that_are_not_there_or_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from components.training.models.images import build_model

    monkeypatch.setenv("VOUCH_VAR", str(tmp_path))
    wanted = ModelSettings(kind="efficientnet_lite0", weights="imagenet")
    with pytest.raises(ConfigError, match="make weights"):
        build_model(wanted, 32, of_classes(3), seed=1)
    np.savez(tmp_path / "odd.npz", other=np.zeros(3))
    with pytest.raises(ConfigError, match="do not fit efficientnet_lite0"):
        build_model(wanted.model_copy(update={"weights": str(tmp_path / "odd.npz")}), 32, of_classes(3), seed=1)


def test_weights_of_a_file_are_taken_and_frozen(tmp_path: Path):
    import keras

    from components.training.models.images import EMBEDDING, build_model

    recipe = ModelSettings(kind="mobilenet_v2")
    first = build_model(recipe, 32, of_classes(3), seed=1)
    file = tmp_path / "own.weights.h5"
    keras.Model(first.inputs, first.get_layer(EMBEDDING).output).save_weights(file)
    second = build_model(recipe.model_copy(update={"weights": str(file)}), 32, of_classes(3), seed=2)
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


def test_weights_of_pytorch_build_nothing_but_arrays(tmp_path: Path):
    from components.training.models.weights import read_torch

    class Evil:
        def __reduce__(self):
            return print, ("run",)

    file = tmp_path / "evil.pth"
    file.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match=r"builtins.print is not allowed"):
        read_torch(file)
