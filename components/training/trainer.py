"""What TFX Trainer runs, imported by path: read, fit, calibrate, choose the operating point, export."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras  # not tf.keras: once Transform is imported, that is Keras 2
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray

from common.errors import ConfigError, DataError
from common.files import write_text
from components.evaluation.calibration import AS_TRAINED, Calibration, fit_calibration
from components.evaluation.operating_point import OperatingPoint, choose_threshold, decide
from components.export.real_rows import inputs_of, write_warmup
from components.export.signatures import Scorer
from components.features.transform import NUMERIC, vocabulary_sizes
from components.splits import BATCH_PICTURES, some_rows, test_begins
from components.training.dataset import READ_BATCH, Split, SplitReader
from components.training.models import dense as model
from components.training.models import images
from config.schema import Feature, model_features, read_schema
from config.settings import ModelSettings, Settings
from serving.repository.contents import Golden
from serving.repository.layout import EXAMPLES_SIGNATURE, EXTRA

TRAINING_FILE = "training.json"
Floats = NDArray[np.floating[Any]]
EVAL_BATCH = 4096
SAME_WITHIN = 1e-4  # of a probability


def run_fn(fn_args: Any) -> None:
    """Train the network as the settings say and write the SavedModel, the history and the facts of the training.

    `custom_config["settings"]` is the JSON text of the settings; tuned values, if any, override its `model`.
    `custom_config["weights_of"]`, if given, is the folder of a model whose weights are taken instead of fitting any.
    """
    started = time.monotonic()
    settings = Settings.model_validate_json(fn_args.custom_config["settings"])
    earlier = Earlier.read(fn_args.custom_config.get("weights_of"))
    settings = earlier.settings(settings) if earlier else with_hyperparameters(settings, fn_args.hyperparameters)
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    features, reader = inputs(settings, fn_args.schema_path, transform_output)
    train = reader.read(matching(fn_args.train_files), settings.model.in_memory_limit_mb)
    evaluation = reader.read(matching(fn_args.eval_files), settings.model.in_memory_limit_mb)

    network = build(settings, transform_output, features)
    if earlier:
        history = earlier.give_weights(network, reader)
    else:
        with tf.summary.create_file_writer(fn_args.model_run_dir).as_default():
            callback = keras.callbacks.LambdaCallback(on_epoch_end=_log_epoch)
            history = fit(network, train, evaluation, settings, [callback])
        _refuse_diverged(history, settings)
    network = model.before_activation(network)
    logits, targets = _scored(network, evaluation, settings)
    calibration = fit_calibration(logits, targets, shift=_weight_shift(train, settings))
    point = _operating_point(calibration.probabilities(logits), targets, settings)

    folder = Path(fn_args.serving_model_dir)
    scorer = Scorer(
        network,
        transform_output,
        features,
        settings.data.classes,
        settings.data.positive_index if settings.data.is_binary else None,
        point.threshold if point else 0.5,
        calibration,
    )
    scorer.save(folder)
    rows = some_rows(matching(fn_args.eval_files), settings.probe.golden_rows)
    scores = calibration.probabilities(network(reader.transform(rows), training=False).numpy())
    _write_golden(folder, scorer, scores, rows, features, settings, point)
    facts = {
        "settings": json.loads(settings.model_dump_json(by_alias=True)),
        "architecture": [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)],
        "parameters": int(network.count_params()),
        "rows": {"train": train.rows, "eval": evaluation.rows},
        "class_counts": {"train": train.class_counts, "eval": evaluation.class_counts},
        "streamed": train.features is None,
        "operating_point": asdict(point) if point else None,
        "weights_digest": _digest(network.variables),
        "calibration": {**asdict(calibration), "rows": evaluation.rows},
        "features": [feature.name for feature in features],
        "test_from": test_begins(matching(fn_args.eval_files)),
        "history": history,
        "seconds": time.monotonic() - started,
    }
    for place in (folder / EXTRA, Path(fn_args.model_run_dir)):
        write_text(place / TRAINING_FILE, json.dumps(facts, indent=2) + "\n")


def _digest(weights: Sequence[Any]) -> str:
    hashed = hashlib.sha256()
    for variable in weights:
        hashed.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return hashed.hexdigest()


def _refuse_diverged(history: dict[str, Any], settings: Settings) -> None:
    """Raise ConfigError if no epoch's eval loss was a number: no gate can judge a model that answers NaN."""
    if np.isfinite(history["val_loss"]).any():
        return
    recipe = settings.model
    raise ConfigError(
        "training diverged: in no epoch was the loss on eval a number",
        got=f"learning_rate {recipe.learning_rate:g}, optimizer {recipe.optimizer}, "
        f"batch_normalization {str(recipe.batch_normalization).lower()}",
        fix="a smaller model.learning_rate; model.batch_normalization: true or model.optimizer: adam are steadier",
    )


def with_hyperparameters(settings: Settings, hyperparameters: dict[str, Any] | None) -> Settings:
    """Return the settings with a KerasTuner configuration's best values put into `model`."""
    if not hyperparameters:
        return settings
    values = hyperparameters["values"]
    tuned: dict[str, Any] = {key: value for key, value in values.items() if key in ModelSettings.model_fields}
    if "hidden_units" in tuned:  # KerasTuner's choices are scalars
        tuned["hidden_units"] = [int(width) for width in tuned["hidden_units"].split("-")]
    merged = {**settings.model.model_dump(), **tuned}
    return settings.model_copy(update={"model": ModelSettings.model_validate(merged)})


def build(settings: Settings, transform_output: Any, features: Sequence[Feature]) -> Any:
    """Return the compiled network that fits the transform graph's outputs."""
    if settings.data.is_images:
        return images.build_model(settings.model, settings.image.size, len(settings.data.classes), settings.model_seed)
    categorical = sum(feature.kind == "categorical" and feature.name not in settings.dates for feature in features)
    spec = transform_output.transformed_feature_spec()
    return model.build_model(
        settings.model,
        numeric_width=int(spec[NUMERIC].shape[0]) if NUMERIC in spec else 0,
        vocabulary_sizes=vocabulary_sizes(transform_output, categorical),
        classes=len(settings.data.classes),
        seed=settings.model_seed,
    )


def fit(network: Any, train: Split, evaluation: Split, settings: Settings, callbacks: Sequence[Any]) -> dict[str, Any]:
    """Train from memory when the split fits, else from the stream, and return the history by epoch."""
    weights = None
    if settings.model.class_weights == "balanced":
        weights = {_target(i, settings): w for i, w in enumerate(model.balanced_weights(train.class_counts))}
    if settings.data.is_images:
        return images.fit(
            network,
            dataset(train, settings, training=True),
            dataset(train, settings, training=False),
            dataset(evaluation, settings, training=False),
            settings,
            train_rows=train.rows,
            class_weight=weights,
        )
    return model.fit(
        network,
        dataset(train, settings, training=True),
        dataset(evaluation, settings, training=False),
        settings.model,
        train_rows=train.rows,
        class_weight=weights,
        callbacks=list(callbacks),
    )


def _log_epoch(epoch: int, values: dict[str, float]) -> None:
    """Write an epoch's values for TensorBoard; Keras' own callback costs more than the epochs of a small table."""
    for name, value in values.items():
        tf.summary.scalar(f"epoch/{name}", value, step=epoch)


def dataset(split: Split, settings: Settings, *, training: bool) -> Any:
    """Return batches of a split, shuffled in training, from memory or the stream."""
    batch_size = settings.model.batch_size if training else BATCH_PICTURES if settings.data.is_images else EVAL_BATCH
    positive = settings.data.positive_index if settings.data.is_binary else None
    if split.features is not None and split.labels is not None:
        labels = split.labels if positive is None else (split.labels == positive).astype(np.int64)
        return model.dataset_in_memory(split.features, labels, batch_size, settings.model_seed, training=training)
    stream = split.stream.unbatch()
    if training:
        stream = stream.shuffle(
            2_000 if settings.data.is_images else 50_000, seed=settings.model_seed, reshuffle_each_iteration=True
        )
    if positive is not None:
        stream = stream.map(lambda x, y: (x, tf.cast(y == positive, tf.int64)))
    return stream.batch(batch_size).prefetch(4)


def _target(index: int, settings: Settings) -> int:
    """Return what the network calls a class: for two classes, 1 is the positive one."""
    return int(index == settings.data.positive_index) if settings.data.is_binary else index


@dataclass(frozen=True)
class Earlier:
    """A model that was trained before, whose weights are taken instead of fitting any."""

    folder: Path
    facts: dict[str, Any]

    @staticmethod
    def read(folder: str | None) -> Earlier | None:
        if not folder:
            return None
        return Earlier(Path(folder), json.loads((Path(folder) / EXTRA / TRAINING_FILE).read_text(encoding="utf-8")))

    def settings(self, wanted: Settings) -> Settings:
        """Return the settings with the network as it was trained, tuned perhaps."""
        return wanted.model_copy(update={"model": ModelSettings.model_validate(self.facts["settings"]["model"])})

    def give_weights(self, network: Any, reader: SplitReader) -> dict[str, Any]:
        """Give the network the weights, and return how they were trained, by epoch.

        Raises DataError where they do not give the model's own golden answers: other data, or other columns.
        """
        golden = Golden.read(self.folder)
        [rows] = golden.columns(EXAMPLES_SIGNATURE).values()
        saved = tf.train.load_checkpoint(str(self.folder / "variables" / "variables"))
        problem = DataError(
            f"{self.folder} was trained on other data or columns than these",
            wanted="the weights to give the model's own golden answers again",
            fix="run the pipeline instead, which trains anew",
        )
        try:
            for i, variable in enumerate(network.variables):
                variable.assign(saved.get_tensor(f"network_variables/{i}/.ATTRIBUTES/VARIABLE_VALUE"))
        except (ValueError, tf.errors.NotFoundError):  # other shapes, or more of them
            raise problem from None
        said = self.facts.get("calibration") or asdict(AS_TRAINED)
        logits = model.before_activation(network)(reader.transform(rows), training=False).numpy()
        scores = Calibration(said["temperature"], said["shift"]).probabilities(logits)
        positive = self.facts["settings"]["data"]["positive"] or self.facts["settings"]["data"]["classes"][-1]
        column = self.facts["settings"]["data"]["classes"].index(positive)
        answers = np.asarray(golden.probabilities)
        if np.abs(scores - (answers if scores.shape[1] > 1 else answers[:, [column]])).max() > SAME_WITHIN:
            raise problem
        return dict(self.facts["history"])


def _scored(network: Any, evaluation: Split, settings: Settings) -> tuple[Floats, NDArray[np.int64]]:
    """Return the eval rows' logits, `[rows, 1 or classes]`, and what the network calls their classes."""
    logits, targets = [], []
    for features, label in dataset(evaluation, settings, training=False):
        logits.append(network(features, training=False).numpy().astype(np.float64))
        targets.append(label.numpy().reshape(-1))
    return np.concatenate(logits), np.concatenate(targets)


def _weight_shift(train: Split, settings: Settings) -> float:
    """Return by how much balanced class weights raise the logit of the positive class above its true one."""
    if settings.model.class_weights != "balanced" or not settings.data.is_binary:
        return 0.0
    weights = model.balanced_weights(train.class_counts)
    positive = settings.data.positive_index
    return float(np.log(weights[positive] / weights[1 - positive]))


def _operating_point(scores: Floats, targets: NDArray[np.int64], settings: Settings) -> OperatingPoint | None:
    """Return the decision threshold of a binary model as the eval rows have it."""
    if not settings.data.is_binary:
        return None
    return choose_threshold(targets == 1, scores[:, 0].astype(np.float32), settings.operating_point)


def _write_golden(
    folder: Path,
    scorer: Scorer,
    scores: Floats,
    rows: list[bytes],
    features: Sequence[Feature],
    settings: Settings,
    point: OperatingPoint | None,
) -> None:
    """Write golden rows with the answers of Transform and Keras in process, `scores`, not those of the export."""
    positive = settings.data.positive_index if point else None
    if point:
        scores = np.stack([scores[:, 0] if i == positive else 1 - scores[:, 0] for i in (0, 1)], axis=1)
    scores = scores.astype(np.float32)
    chosen = decide(scores, point.threshold if point else None, positive)
    classes = np.asarray(settings.data.classes)
    inputs = inputs_of(rows, features, scorer.has_packed, scorer.examples_input)
    Golden(inputs, scores.tolist(), classes[chosen].tolist()).write(folder)
    write_warmup(folder, settings.name, inputs, scorer.input_types())


def inputs(settings: Settings, schema_path: str, transform_output: Any) -> tuple[tuple[Feature, ...], SplitReader]:
    """Return the features that the transform graph reads, and a reader of splits."""
    known = transform_output.raw_feature_spec()
    features = tuple(f for f in model_features(read_schema(Path(schema_path)), settings) if f.name in known)
    batch = BATCH_PICTURES if settings.data.is_images else READ_BATCH
    return features, SplitReader(transform_output, settings.data.label, settings.data.classes, batch)


def matching(patterns: Sequence[str]) -> list[str]:
    return sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern))
