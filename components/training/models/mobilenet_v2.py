"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) as Keras has it, without its head."""

from __future__ import annotations

from typing import Any

import keras

from config.model_settings import ModelSettings


def embed(x: Any, _settings: ModelSettings) -> Any:
    """Return `[batch, 1280]` of `[batch, size, size, 3]`, from 0 to 255."""
    scaled = x / 127.5 - 1.0
    shape = tuple(scaled.shape[1:])
    network = keras.applications.MobileNetV2(input_tensor=scaled, input_shape=shape, include_top=False, weights=None)
    return keras.layers.GlobalAveragePooling2D()(network.output)
