"""What TFX Trainer runs, imported by path: read, fit, calibrate, choose the operating point, export."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras  # not tf.keras: once Transform is imported, that is Keras 2
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray

from common.errors import ConfigError, DataError
from common.files import write_text
from components.examples.blocks import read_request
from components.export.real_rows import inputs_of, write_warmup
from components.export.signatures import Scorer
from components.export.strangeness import Strangeness
from components.features.transform import NUMERIC, vocabulary_sizes
from components.splits import BATCH_PICTURES, SplitTables, examples_of, some_rows, test_begins
from components.table import Table
from components.tasks import Head, task_of
from components.tasks.plain import MAX_ROWS
from components.training.dataset import READ_BATCH, Split, SplitReader
from components.training.models import dense as model
from components.training.models import images
from components.training.plain import PlainExport, PlainModels
from config.model_settings import ModelSettings
from config.schema import Feature, model_features, read_schema
from config.settings import Settings
from serving.repository.contents import Golden
from serving.repository.layout import EXAMPLES_SIGNATURE, EXTRA

TRAINING_FILE = "training.json"
Floats = NDArray[np.floating[Any]]
EVAL_BATCH = 4096
SAME_WITHIN = 1e-4  # of the largest answer


def run_fn(fn_args: Any) -> None:
    """Train the network as the settings say and write the SavedModel, the history and the facts of the training.

    `custom_config["settings"]` is the JSON text of the settings; tuned values, if any, override its `model`.
    `custom_config["weights_of"]`, if given, is the folder of a model whose weights are taken instead of fitting any.
    """
    started = time.monotonic()
    settings = Settings.model_validate_json(fn_args.custom_config["settings"])
    earlier = Earlier.read(fn_args.custom_config.get("weights_of"))
    settings = earlier.settings(settings) if earlier else with_hyperparameters(settings, fn_args.hyperparameters)
    read = ReadExamples.of(fn_args, settings)

    network = build(settings, read.transform_output, read.features)
    if earlier:
        history = earlier.give_weights(network, read.reader)
    else:
        history = _fit_and_log(network, read, settings, fn_args.model_run_dir)
    answering = Answering.fit(network, read, settings)
    plain = PlainModels.fit(*read.tables_of_both(), settings)
    beside = plain.export(read.features, settings)

    folder = Path(fn_args.serving_model_dir)
    plain.write(folder.parent)
    scorer = answering.scorer(read, beside)
    scorer.save(folder)
    _write_golden(folder, scorer, answering, beside, read, settings)
    facts = _facts(answering, beside, read, settings) | {"history": history, "seconds": time.monotonic() - started}
    for place in (folder / EXTRA, Path(fn_args.model_run_dir)):
        write_text(place / TRAINING_FILE, json.dumps(facts, indent=2) + "\n")


@dataclass(frozen=True)
class ReadExamples:
    """What a training reads: train and eval as the network takes them, and tables of their raw values."""

    transform_output: Any
    features: tuple[Feature, ...]
    reader: SplitReader
    train: Split
    evaluation: Split
    tables: SplitTables
    columns: dict[str, str]  # what the rows hold, and as which type it is read: rows were dealt by it
    eval_files: list[str]

    @staticmethod
    def of(fn_args: Any, settings: Settings) -> ReadExamples:
        transform_output = tft.TFTransformOutput(fn_args.transform_output)
        features, reader = inputs(settings, fn_args.schema_path, transform_output)
        files = matching(fn_args.train_files), matching(fn_args.eval_files)
        train, evaluation = (reader.read(of_split, settings.model.in_memory_limit_mb) for of_split in files)
        tables = SplitTables.of(examples_of(files[0]), Path(fn_args.schema_path).parent, settings)
        columns = _columns(settings, fn_args.schema_path)
        return ReadExamples(transform_output, features, reader, train, evaluation, tables, columns, files[1])

    def tables_of_both(self) -> tuple[Table, Table]:
        """Return the raw values of train and eval, or of some of their rows."""
        train, evaluation = self.train.rows, self.evaluation.rows
        return self.tables.read("train", train, MAX_ROWS), self.tables.read("eval", evaluation, MAX_ROWS)


@dataclass(frozen=True)
class Answering:
    """A trained network up to its logits, with looks where there is `strangeness`, and what makes answers of them."""

    network: Any
    head: Head
    strangeness: Strangeness | None

    @staticmethod
    def fit(network: Any, read: ReadExamples, settings: Settings) -> Answering:
        network = model.before_activation(network)
        scored = _scored(network, read.evaluation, read.train, settings)
        head = task_of(settings.data).fit_head(*scored, read.train.described, settings)
        if not (settings.data.is_images and settings.image.none_of_these):
            return Answering(network, head, None)
        network = images.with_looks(network, settings.model)
        train, held = (dataset(split, read.train, settings, training=False) for split in (read.train, read.evaluation))
        return Answering(network, head, images.fit_strangeness(network, train, held, settings.image.none_of_these))

    def scorer(self, read: ReadExamples, beside: PlainExport | None) -> Scorer:
        return Scorer(self.network, read.transform_output, read.features, self.head, beside, self.strangeness)

    def in_process(self, transformed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return what the graph must answer, computed without it."""
        said = self.network(transformed, training=False)
        if self.strangeness is None:
            return self.head.in_process(said.numpy())
        logits, looks = said
        return self.head.in_process(logits.numpy()) | self.strangeness.in_process(looks.numpy())


def _fit_and_log(network: Any, read: ReadExamples, settings: Settings, logs: str) -> dict[str, Any]:
    """Train, tell TensorBoard, and return the history by epoch. Raises ConfigError if no epoch's loss was a number."""
    with tf.summary.create_file_writer(logs).as_default():
        callback = keras.callbacks.LambdaCallback(on_epoch_end=_log_epoch)
        history = fit(network, read.train, read.evaluation, settings, [callback])
    _refuse_diverged(history, settings)
    return history


def _facts(answering: Answering, beside: PlainExport | None, read: ReadExamples, settings: Settings) -> dict[str, Any]:
    """Return what `training.json` holds of the model and what it was made from."""
    network, train, evaluation = answering.network, read.train, read.evaluation
    return {
        "settings": json.loads(settings.model_dump_json(by_alias=True)),
        "architecture": [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)],
        "parameters": int(network.count_params()),
        "rows": {"train": train.rows, "eval": evaluation.rows},
        "labels": {"train": train.described.facts, "eval": evaluation.described.facts},
        "streamed": train.features is None,
        "weights_digest": _digest(network.variables),
        **answering.head.facts,
        "features": [feature.name for feature in read.features],
        "columns": read.columns,
        **(beside.facts(read.transform_output.raw_feature_spec()) if beside else {}),
        "test_from": test_begins(read.eval_files),
    }


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
        return images.build_model(settings.model, settings.image.size, task_of(settings.data), settings.model_seed)
    categorical = sum(feature.kind == "categorical" and feature.name not in settings.dates for feature in features)
    spec = transform_output.transformed_feature_spec()
    return model.build_model(
        settings.model,
        numeric_width=int(spec[NUMERIC].shape[0]) if NUMERIC in spec else 0,
        vocabulary_sizes=vocabulary_sizes(transform_output, categorical),
        task=task_of(settings.data),
        seed=settings.model_seed,
    )


def fit(network: Any, train: Split, evaluation: Split, settings: Settings, callbacks: Sequence[Any]) -> dict[str, Any]:
    """Train from memory when the split fits, else from the stream, and return the history by epoch."""
    class_weight = task_of(settings.data).class_weight(train.described, settings.model)
    if settings.data.is_images:
        return images.fit(
            network,
            dataset(train, train, settings, training=True),
            dataset(train, train, settings, training=False),
            dataset(evaluation, train, settings, training=False),
            settings,
            train_rows=train.rows,
            class_weight=class_weight,
        )
    return model.fit(
        network,
        dataset(train, train, settings, training=True),
        dataset(evaluation, train, settings, training=False),
        settings.model,
        train_rows=train.rows,
        class_weight=class_weight,
        callbacks=list(callbacks),
    )


def _log_epoch(epoch: int, values: dict[str, float]) -> None:
    """Write an epoch's values for TensorBoard; Keras' own callback costs more than the epochs of a small table."""
    for name, value in values.items():
        tf.summary.scalar(f"epoch/{name}", value, step=epoch)


def dataset(split: Split, train: Split, settings: Settings, *, training: bool) -> Any:
    """Return batches of a split as the network takes them, shuffled in training, from memory or the stream.

    `train`: the training split, by which the labels of any are scaled.
    """
    batch_size = settings.model.batch_size if training else BATCH_PICTURES if settings.data.is_images else EVAL_BATCH
    task = task_of(settings.data)
    if split.features is not None and split.targets is not None:
        labels = np.asarray(task.for_network(split.targets, train.described))
        return model.dataset_in_memory(split.features, labels, batch_size, settings.model_seed, training=training)
    stream = split.stream.unbatch()
    if training:
        stream = stream.shuffle(
            2_000 if settings.data.is_images else 50_000, seed=settings.model_seed, reshuffle_each_iteration=True
        )
    stream = stream.map(lambda x, y: (x, task.for_network(y, train.described)))
    return stream.batch(batch_size).prefetch(4)


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
        task = task_of(Settings.model_validate(self.facts["settings"]).data)
        outputs = model.before_activation(network)(reader.transform(rows), training=False).numpy()
        answers = task.head_of(self.facts).in_process(outputs)[task.main_output]
        wanted = np.asarray(golden.outputs[task.main_output])
        if np.abs(answers - wanted).max() > SAME_WITHIN * np.abs(wanted).max():
            raise problem
        return dict(self.facts["history"])


def _scored(network: Any, evaluation: Split, train: Split, settings: Settings) -> tuple[Floats, NDArray[Any]]:
    """Return what the network says of the eval rows, `[rows, 1 or classes]`, and the labels as it takes them."""
    outputs, labels = [], []
    for features, label in dataset(evaluation, train, settings, training=False):
        outputs.append(network(features, training=False).numpy().astype(np.float64))
        labels.append(label.numpy().reshape(-1))
    return np.concatenate(outputs), np.concatenate(labels)


def _side_by_side(read: Mapping[str, NDArray[Any]]) -> Floats:
    """Return what the network reads as the export's `inputs`, `[rows, n]`."""
    return np.concatenate([values.astype(np.float32) for values in read.values()], axis=1)


def _write_golden(
    folder: Path,
    scorer: Scorer,
    answering: Answering,
    beside: PlainExport | None,
    read: ReadExamples,
    settings: Settings,
) -> None:
    """Write golden rows with the answers of Transform, Keras and scikit-learn in process, not those of the export."""
    rows = some_rows(read.eval_files, settings.probe.golden_rows)
    transformed = read.reader.transform(rows)
    answers = {name: values.tolist() for name, values in answering.in_process(transformed).items()}
    plain: dict[str, list[Any]] = {}
    if beside:
        plain = beside.golden(read.tables.table_of(rows)) | {"inputs": _side_by_side(transformed).tolist()}
    inputs = inputs_of(rows, read.features, scorer.has_packed, scorer.examples_input)
    golden = Golden(inputs, answers, plain)
    golden.write(folder)
    write_warmup(folder, settings.name, golden, scorer.input_types())


def inputs(settings: Settings, schema_path: str, transform_output: Any) -> tuple[tuple[Feature, ...], SplitReader]:
    """Return the features that the transform graph reads, and a reader of splits."""
    known = transform_output.raw_feature_spec()
    features = tuple(f for f in model_features(read_schema(Path(schema_path)), settings) if f.name in known)
    batch = BATCH_PICTURES if settings.data.is_images else READ_BATCH
    return features, SplitReader(transform_output, settings.data.label, task_of(settings.data), batch)


def _columns(settings: Settings, schema_path: str) -> dict[str, str]:
    """Return what the rows hold, and as which type it is read: rows were dealt by it."""
    dtypes = read_request(settings, read_schema(Path(schema_path))).columns
    return {name: dtype for name, dtype in dtypes.items() if name not in settings.data.ignore}


def matching(patterns: Sequence[str]) -> list[str]:
    return sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern))
