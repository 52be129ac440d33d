"""What TFX Tuner runs, imported by path: KerasTuner's random search over the settings' candidates."""

from __future__ import annotations

from typing import Any

import keras_tuner
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult

from components import trainer
from components.reading import Split
from config.settings import Settings


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Return a search on train, judged on eval; its best values override the settings in Trainer."""
    settings = Settings.model_validate_json(fn_args.custom_config["settings"])
    transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    features, reader = trainer.inputs(settings, fn_args.schema_path, transform_output)
    train = reader.read(trainer.matching(fn_args.train_files), settings.model.in_memory_limit_mb)
    evaluation = reader.read(trainer.matching(fn_args.eval_files), settings.model.in_memory_limit_mb)

    def hypermodel(parameters: keras_tuner.HyperParameters) -> Any:
        values = {name: parameters.Choice(name, choices) for name, choices in candidates(settings).items()}
        tried = trainer.with_hyperparameters(settings, {"values": values})
        return trainer.build(tried, transform_output, features)

    search = keras_tuner.RandomSearch(
        hypermodel,
        objective=keras_tuner.Objective("val_loss", "min"),
        max_trials=settings.tuner.trials,
        seed=settings.seed,
        directory=fn_args.working_dir,
        project_name=settings.name,
    )
    return TunerFnResult(tuner=search, fit_kwargs=_fit_arguments(train, evaluation, settings))


def candidates(settings: Settings) -> dict[str, list[Any]]:
    """Return the candidates by hyperparameter; architectures as text, for KerasTuner's choices are scalars."""
    tuner = settings.tuner
    return {
        "learning_rate": list(tuner.learning_rate),
        "dropout": list(tuner.dropout),
        "hidden_units": ["-".join(map(str, widths)) for widths in tuner.hidden_units],
    }


def _fit_arguments(train: Split, evaluation: Split, settings: Settings) -> dict[str, Any]:
    return {
        "x": trainer.dataset(train, settings, training=True),
        "validation_data": trainer.dataset(evaluation, settings, training=False),
        "epochs": settings.tuner.epochs,
        "callbacks": [tf.keras.callbacks.EarlyStopping("val_loss", patience=3)],
        "verbose": 0,
    }
