"""Networks for images, chosen once by `model.kind`, and how they are trained: from nothing, or from weights.

With weights the head is trained first, on embeddings that are computed once; then, if asked for, the whole network at a
tenth of the learning rate. Training pictures are moved, brightened and mirrored, no others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.export.strangeness import Strangeness
from components.features.transform import PIXELS
from components.tasks import Task, task_of
from components.training.models import cnn, dense, efficientnet_lite0, mobilenet_v2
from components.training.models.weights import load_weights
from config.data_settings import ImageSettings
from config.model_settings import ModelSettings
from config.settings import Settings

EMBEDDING = "embedding"
SLOWER = 0.1  # the learning rate of fine-tuning, of that of the head
ZOOM, SHIFT, BRIGHTEN = 0.15, 0.1, 0.2  # at most, of the picture's size and of its brightness
LEVELS = {"cnn": "level", "mobilenet_v2": "_project_BN", "efficientnet_lite0": "._bn2"}  # in the names of layers
BACKBONES: dict[str, Callable[[Any, ModelSettings], Any]] = {
    "cnn": cnn.embed,
    "mobilenet_v2": mobilenet_v2.embed,
    "efficientnet_lite0": efficientnet_lite0.embed,
}


def build_model(settings: ModelSettings, size: int, task: Task, seed: int) -> keras.Model:
    """Return the compiled network; seeds Python, NumPy and TensorFlow on the way.

    Input: `pixels [batch, size, size, 3] uint8`. Output and labels as of the dense network. Weights, if any, are
    loaded; then all but the head is frozen. Raises ConfigError where they are not there or do not fit.
    """
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((size, size, 3), dtype="uint8", name=PIXELS)
    x = BACKBONES[settings.kind](keras.ops.cast(pixels, "float32"), settings)
    x = keras.layers.Identity(name=EMBEDDING)(x)
    network = keras.Model({PIXELS: pixels}, x)
    if settings.weights != "none":
        load_weights(network, settings)
        for layer in network.layers:
            layer.trainable = False
    x = keras.layers.Dropout(settings.dropout)(x) if settings.dropout else x
    return dense.with_head({PIXELS: pixels}, x, settings, task)


def fit(
    network: keras.Model,
    shuffled: tf.data.Dataset,
    train: tf.data.Dataset,
    eval_: tf.data.Dataset,
    settings: Settings,
    *,
    train_rows: int,
    class_weight: dict[int, float] | None,
) -> dense.History:
    """Train the network and return the history by epoch. `shuffled`: batches of train; `train`, `eval_`: in order."""
    recipe, task = settings.model, task_of(settings.data)
    options: dict[str, Any] = {"train_rows": train_rows, "class_weight": class_weight}
    varied = shuffled.map(lambda x, y: ({PIXELS: augment(x[PIXELS], settings.image)}, y))
    if recipe.weights == "none":
        return dense.fit(network, varied, eval_, recipe, **options)
    history = _fit_head(network, train, eval_, settings, options)
    if not recipe.fine_tune_epochs:
        return history
    best, weights = min(history["val_loss"]), network.get_weights()
    for layer in network.layers:  # but for statistics over batches: a few pictures would spoil them
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    slower = {"learning_rate": recipe.learning_rate * SLOWER, "epochs": recipe.fine_tune_epochs}
    tuning = recipe.model_copy(update=slower)
    tuned = dense.fit(dense.compiled(network, tuning, task), varied, eval_, tuning, **options)
    if not min(tuned["val_loss"]) < best:
        network.set_weights(weights)
    return {name: history[name] + tuned[name] for name in history}


def _fit_head(
    network: keras.Model, train: tf.data.Dataset, eval_: tf.data.Dataset, settings: Settings, options: dict[str, Any]
) -> dense.History:
    """Train the head alone, on embeddings that are computed once for all epochs."""
    recipe, task = settings.model, task_of(settings.data)
    embed = keras.Model(network.inputs, network.get_layer(EMBEDDING).output)
    (x, labels), (x_eval, labels_eval) = _embedded(embed, train), _embedded(embed, eval_)
    inputs = keras.Input((x.shape[1],), name=EMBEDDING)
    dropped = keras.layers.Dropout(recipe.dropout)(inputs) if recipe.dropout else inputs
    head = dense.with_head({EMBEDDING: inputs}, dropped, recipe, task)
    batches = dense.dataset_in_memory({EMBEDDING: x}, labels, recipe.batch_size, settings.model_seed, training=True)
    held = dense.dataset_in_memory({EMBEDDING: x_eval}, labels_eval, 4096, settings.model_seed, training=False)
    history = dense.fit(head, batches, held, recipe, **options)
    network.layers[-2].set_weights(head.layers[-2].get_weights())
    return history


def with_looks(network: keras.Model, settings: ModelSettings) -> keras.Model:
    """Return the network with a second output, `[batch, dimensions]`: the mean of each channel at several depths."""
    levels = [layer.output for layer in network.layers if LEVELS[settings.kind] in layer.name]
    looks = keras.ops.concatenate([keras.ops.mean(level, axis=(1, 2)) for level in levels], axis=1)
    return keras.Model(network.inputs, [network.output, looks])


def fit_strangeness(network: keras.Model, train: tf.data.Dataset, eval_: tf.data.Dataset, share: float) -> Strangeness:
    """Return what tells pictures that are none of the classes, for a network `with_looks`."""
    looks = keras.Model(network.inputs, network.outputs[1])
    return Strangeness(_embedded(looks, train)[0], _embedded(looks, eval_)[0], share)


def _embedded(embed: keras.Model, batches: tf.data.Dataset) -> tuple[Any, Any]:
    parts = [(embed.predict_on_batch(x), y.numpy()) for x, y in batches]
    embeddings, labels = zip(*parts, strict=True)
    return np.concatenate(embeddings), np.concatenate(labels)


def augment(pixels: tf.Tensor, settings: ImageSettings) -> tf.Tensor:
    """Return `[batch, size, size, 3] uint8` moved, zoomed and brightened a little, each picture otherwise."""
    if settings.augmentation == "none":
        return pixels
    images = tf.cast(pixels, tf.float32)
    rows = tf.shape(images)[0]
    if settings.augmentation == "flip":
        images = tf.image.random_flip_left_right(images)
    zoom = tf.random.uniform([rows, 1], 1 - ZOOM, 1 + ZOOM)
    centre = 0.5 + tf.random.uniform([rows, 2], -SHIFT, SHIFT)
    boxes = tf.concat([centre - zoom / 2, centre + zoom / 2], axis=1)
    # what lies outside is the mirrored picture: black borders are nothing that anybody photographs
    margin = settings.size // 4
    padded = tf.pad(images, [[0, 0], [margin, margin], [margin, margin], [0, 0]], mode="REFLECT")
    boxes = (boxes * settings.size + margin) / (settings.size + 2 * margin)
    images = tf.image.crop_and_resize(padded, boxes, tf.range(rows), [settings.size, settings.size])
    images *= tf.random.uniform([rows, 1, 1, 1], 1 - BRIGHTEN, 1 + BRIGHTEN)
    return tf.cast(tf.clip_by_value(images, 0.0, 255.0), tf.uint8)
