"""EfficientNet-Lite0: EfficientNet (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excitation, with ReLU6."""

from __future__ import annotations

from typing import Any

import keras

from config.model_settings import ModelSettings

# repeats, kernel, stride, expansion, width
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, TOP = 32, 1280
EPSILON = 1e-3


def embed(x: Any, _settings: ModelSettings) -> Any:
    """Return `[batch, 1280]` of `[batch, size, size, 3]`, from 0 to 255.

    Layers are called as in the weights, but for a leading `_`: TensorFlow exports no variable that begins so.
    """
    x = keras.layers.Conv2D(STEM, 3, strides=2, padding="same", use_bias=False, name="conv_stem")((x - 127.0) / 128.0)
    x = _activated(x, "bn0")
    number = 0
    for repeats, kernel, stride, expansion, width in STAGES:
        for repeat in range(repeats):
            x = _block(x, f"blocks.{number}", kernel, stride if repeat == 0 else 1, expansion, width)
            number += 1
    x = keras.layers.Conv2D(TOP, 1, use_bias=False, name="conv_head")(x)
    return keras.layers.GlobalAveragePooling2D()(_activated(x, "bn1"))


def _block(x: Any, name: str, kernel: int, stride: int, expansion: int, width: int) -> Any:
    """Widen, filter each channel by itself, narrow; add what came in where the shapes agree."""
    before = x
    if expansion > 1:
        wide = before.shape[-1] * expansion
        x = keras.layers.Conv2D(wide, 1, use_bias=False, name=f"{name}._expand_conv")(x)
        x = _activated(x, f"{name}._bn0")
    x = keras.layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}._depthwise_conv")(x)
    x = _activated(x, f"{name}._bn1")
    x = keras.layers.Conv2D(width, 1, use_bias=False, name=f"{name}._project_conv")(x)
    x = keras.layers.BatchNormalization(epsilon=EPSILON, name=f"{name}._bn2")(x)
    return keras.layers.Add()([before, x]) if before.shape == x.shape else x


def _activated(x: Any, name: str) -> Any:
    return keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(epsilon=EPSILON, name=name)(x))
