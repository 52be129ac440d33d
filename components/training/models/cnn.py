"""A small convolutional network that trains in a minute or two on a laptop."""

from __future__ import annotations

from typing import Any

import keras

from config.model_settings import ModelSettings

WIDTHS = (32, 64, 128)
MOMENTUM = 0.9  # of the statistics for prediction: small sets have few steps
SMALL = 64  # pixels; a larger picture is halved first


def embed(x: Any, _settings: ModelSettings) -> Any:
    """Return `[batch, 128]` of `[batch, size, size, 3]`, from 0 to 255."""
    x = x / 127.5 - 1.0
    for number, width in enumerate(WIDTHS):
        halved = number == 0 and x.shape[1] > SMALL
        x = keras.layers.Conv2D(width, 3, strides=2 if halved else 1, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=MOMENTUM)(x)
        x = keras.layers.Activation("relu", name=f"level_{number}")(x)
        x = keras.layers.MaxPooling2D()(x)
    return keras.layers.GlobalAveragePooling2D()(x)
