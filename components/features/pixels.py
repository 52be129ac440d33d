"""Turn the bytes of pictures into what an image network reads. Imported by TFX Transform by path; nothing is fitted."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from components.features.transform import PIXELS
from config.data_settings import IMAGE_BYTES


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Return `pixels [batch, size, size, 3] float32`, whole numbers from 0 to 255. `custom_config`: `size`."""
    images = inputs[IMAGE_BYTES]
    shape = [images.dense_shape[0], 1]
    dense = tf.sparse.to_dense(tf.SparseTensor(images.indices, images.values, shape), "")
    return {PIXELS: pixels(tf.reshape(dense, [-1]), custom_config["size"])}


def pixels(images: tf.Tensor, size: int) -> tf.Tensor:
    """Decode `[batch] string` of JPEG, PNG, GIF or BMP and resize each picture to a square.

    Rounded, so that they may be kept as bytes.
    """

    def decoded(image: tf.Tensor) -> tf.Tensor:
        picture = tf.io.decode_image(image, channels=3, expand_animations=False)
        picture.set_shape([None, None, 3])
        return tf.image.resize(picture, [size, size], antialias=True)

    resized = tf.map_fn(decoded, images, fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32))
    return tf.round(tf.clip_by_value(resized, 0.0, 255.0))
