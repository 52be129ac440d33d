"""Trainer's callback, after the taxi template: one Keras input for each feature, two signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from absl import logging
from tfx_bsl.public import tfxio

from bench.network import callbacks, compile_network, dense_layers
from bench.template.preprocessing import transformed_name

EVAL_BATCH_SIZE = 32


def _serving_signature(model: keras.Model, tf_transform_output: Any, label: str) -> Any:
    """Return a signature that takes serialized `tf.Example`."""
    model.tft_layer_inference = tf_transform_output.transform_features_layer()

    @tf.function(input_signature=[tf.TensorSpec(shape=[None], dtype=tf.string, name="examples")])
    def serve_tf_examples_fn(serialized_tf_example: Any) -> dict[str, Any]:
        raw_feature_spec = tf_transform_output.raw_feature_spec()
        raw_feature_spec.pop(label)
        raw_features = tf.io.parse_example(serialized_tf_example, raw_feature_spec)
        transformed_features = model.tft_layer_inference(raw_features)
        return {"outputs": model(transformed_features)}

    return serve_tf_examples_fn


def _transform_features_signature(model: keras.Model, tf_transform_output: Any) -> Any:
    """Return a signature that transforms features and label, for the Evaluator."""
    model.tft_layer_eval = tf_transform_output.transform_features_layer()

    @tf.function(input_signature=[tf.TensorSpec(shape=[None], dtype=tf.string, name="examples")])
    def transform_features_fn(serialized_tf_example: Any) -> Any:
        raw_features = tf.io.parse_example(serialized_tf_example, tf_transform_output.raw_feature_spec())
        return model.tft_layer_eval(raw_features)

    return transform_features_fn


def _input_fn(
    file_pattern: Sequence[str], data_accessor: Any, tf_transform_output: Any, label: str, batch_size: int
) -> tf.data.Dataset:
    """Return endless batches of features and label from transformed examples."""
    return data_accessor.tf_dataset_factory(
        file_pattern,
        tfxio.TensorFlowDatasetOptions(batch_size=batch_size, label_key=transformed_name(label)),
        tf_transform_output.transformed_metadata.schema,
    ).repeat()


def _build_keras_model(features: Sequence[str], settings: dict[str, Any]) -> keras.Model:
    names = [transformed_name(feature) for feature in features]
    inputs = {name: keras.layers.Input(name=name, shape=(1,), dtype=tf.float32) for name in names}
    outputs = dense_layers(keras.layers.concatenate(list(inputs.values())), settings)
    model = keras.Model(inputs, outputs)
    compile_network(model, settings)
    model.summary(print_fn=logging.info)
    return model


def run_fn(fn_args: Any) -> None:
    """Train and save the model. `custom_config` holds `features`, `label` and the settings' `model`."""
    features, label = fn_args.custom_config["features"], fn_args.custom_config["label"]
    settings = fn_args.custom_config["model"]
    tf_transform_output = tft.TFTransformOutput(fn_args.transform_output)
    train_dataset = _input_fn(
        fn_args.train_files, fn_args.data_accessor, tf_transform_output, label, settings["batch_size"]
    )
    eval_dataset = _input_fn(fn_args.eval_files, fn_args.data_accessor, tf_transform_output, label, EVAL_BATCH_SIZE)

    mirrored_strategy = tf.distribute.MirroredStrategy()
    with mirrored_strategy.scope():
        model = _build_keras_model(features, settings)
    tensorboard_callback = keras.callbacks.TensorBoard(log_dir=fn_args.model_run_dir, update_freq="epoch")
    model.fit(
        train_dataset,
        epochs=settings["epochs"],
        steps_per_epoch=fn_args.train_steps,
        validation_data=eval_dataset,
        validation_steps=fn_args.eval_steps,
        callbacks=[tensorboard_callback, *callbacks(settings)],
    )
    signatures = {
        "serving_default": _serving_signature(model, tf_transform_output, label),
        "transform_features": _transform_features_signature(model, tf_transform_output),
    }
    tf.saved_model.save(model, fn_args.serving_model_dir, signatures=signatures)
