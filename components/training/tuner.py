"""What TFX Tuner runs, imported by path: KerasTuner's random search over the settings' candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras_tuner
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult

from components.training import trainer
from components.training.dataset import Split
from config.schema import Feature
from config.settings import Settings

OBJECTIVE = "val_loss"


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Return a search on train, judged on eval; its best values override the settings in Trainer."""
    settings = Settings.model_validate_json(fn_args.custom_config["settings"])
    transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    features, reader = trainer.inputs(settings, fn_args.schema_path, transform_output)
    train = reader.read(trainer.matching(fn_args.train_files), settings.model.in_memory_limit_mb)
    evaluation = reader.read(trainer.matching(fn_args.eval_files), settings.model.in_memory_limit_mb)

    search = keras_tuner.RandomSearch(
        _Recipe(settings, transform_output, features, train, evaluation),
        objective=keras_tuner.Objective(OBJECTIVE, "min"),
        max_trials=settings.tuner.trials,
        seed=settings.model_seed,
        directory=fn_args.working_dir,
        project_name=settings.name,
    )
    return TunerFnResult(tuner=search, fit_kwargs={})


def candidates(settings: Settings) -> dict[str, list[Any]]:
    """Return the candidates by hyperparameter; architectures as text, for KerasTuner's choices are scalars."""
    tuner = settings.tuner
    return {
        "learning_rate": list(tuner.learning_rate),
        "dropout": list(tuner.dropout),
        "hidden_units": ["-".join(map(str, widths)) for widths in tuner.hidden_units],
    }


class _Recipe(keras_tuner.HyperModel):
    """Build and train a candidate just as Trainer would, but for the tuner's number of epochs."""

    def __init__(
        self, settings: Settings, transform_output: Any, features: Sequence[Feature], train: Split, evaluation: Split
    ) -> None:
        super().__init__()
        self._settings, self._transform_output, self._features = settings, transform_output, features
        self._train, self._evaluation = train, evaluation

    def build(self, parameters: keras_tuner.HyperParameters) -> Any:
        return trainer.build(self._tried(parameters), self._transform_output, self._features)

    def fit(self, parameters: keras_tuner.HyperParameters, network: Any, **arguments: Any) -> dict[str, float]:
        tried = self._tried(parameters)
        history = trainer.fit(network, self._train, self._evaluation, tried, arguments.get("callbacks", ()))
        return {OBJECTIVE: min(history[OBJECTIVE])}

    def _tried(self, parameters: keras_tuner.HyperParameters) -> Settings:
        values = {name: parameters.Choice(name, choices) for name, choices in candidates(self._settings).items()}
        return trainer.with_hyperparameters(
            self._settings, {"values": {**values, "epochs": self._settings.tuner.epochs}}
        )
