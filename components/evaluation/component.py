"""The evaluation gate as a TFX component: TFX's Evaluator on the candidate, the comparison, the verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as tfx_evaluator
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec
from tfx.utils import path_utils

from common.files import write_text
from components.artifacts import OwnComponent, channels, parameters
from components.evaluation.baselines import judge_baselines, write_baselines
from components.evaluation.comparison import compare, score
from components.evaluation.foreign import none_of_these
from components.evaluation.looks import count, earlier_evaluations, record, sketch
from components.evaluation.tfma_config import eval_config
from components.evaluation.verdict import judge, read_metrics
from components.examples.dealing import Origin
from components.names import SCORES
from components.splits import SplitTables, written_rows
from components.tasks.rows import Answered, Rows
from components.training.plain import PlainModels
from config.settings import Settings
from serving.repository.drift_reference import Numbers, Scores
from serving.repository.layout import TRAINING

CANDIDATE, MODEL, BLESSING = "candidate", "model", "model_blessing"
BASELINES = "baseline_models"


class BlessedBeforeStrategy(ResolverStrategy):
    """Resolve the models blessed before the candidate was trained, the newest first.

    TFX's own strategy takes the latest of all: a repeated run would compare a cached candidate with itself, and
    nothing after it could come from the cache.
    """

    def resolve_artifacts(self, store: Any, input_dict: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the candidate, and the blessed models with their blessings or nothing."""
        candidates = input_dict[CANDIDATE]
        newest = max((artifact.id for artifact in candidates), default=0)
        blessings = {
            blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY): blessing
            for blessing in input_dict[BLESSING]
            if blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == constants.BLESSED_VALUE
        }
        older = [model for model in input_dict[MODEL] if model.id in blessings and model.id < newest]
        models = sorted(older, key=lambda model: model.id, reverse=True)
        return {CANDIDATE: candidates, MODEL: models, BLESSING: [blessings[model.id] for model in models]}


class EvaluatorSpec(ComponentSpec):
    """`settings`: JSON; `metadata`: ML Metadata's file.

    The outputs are those of TFX's Evaluator; `evaluation` holds the verdict, too.
    """

    PARAMETERS = parameters(settings=str, metadata=str)
    INPUTS = channels(
        examples=standard_artifacts.Examples, schema=standard_artifacts.Schema, model=standard_artifacts.Model
    ) | {BASELINES: ChannelParameter(type=standard_artifacts.Model, optional=True)}
    OUTPUTS = channels(evaluation=standard_artifacts.ModelEvaluation, blessing=standard_artifacts.ModelBlessing)


class Executor(tfx_evaluator.Executor):
    """TFMA computes the metrics by slice; the verdict is on them, on plain models and on models blessed before."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        settings = Settings.model_validate_json(exec_properties["settings"])
        tables = SplitTables.of(
            artifact_utils.get_single_uri(input_dict["examples"]),
            artifact_utils.get_single_uri(input_dict["schema"]),
            settings,
        )
        judged, test_rows = artifact_utils.get_single_instance(input_dict["model"]), sketch(tables)
        evaluations = earlier_evaluations(Path(exec_properties["metadata"]), settings.name)
        looks = count(evaluations, test_rows, judged.id)
        confidence = looks.confidence(settings.evaluation.confidence)
        super().Do(
            {key: input_dict[key] for key in ("examples", "model")},
            output_dict,
            {
                "eval_config": json_format.MessageToJson(
                    eval_config(settings, confidence), preserving_proto_field_name=True
                ),
                "example_splits": '["test"]',
                "fairness_indicator_thresholds": "null",
            },
        )
        models = [*input_dict["model"], *input_dict.get(BASELINES, [])]
        candidate, *blessed = (Path(path_utils.serving_model_path(model.uri)) for model in models)
        evaluation = Path(artifact_utils.get_single_uri(output_dict["evaluation"]))
        rows = score(candidate, tables, settings)
        write_text(evaluation / SCORES, _scores(rows, settings).text())
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        plain = PlainModels.read(Path(judged.uri))
        baselines = judge_baselines(plain, tables, written_rows(examples), rows, settings)
        write_baselines(baselines, evaluation)
        training = json.loads((candidate / TRAINING).read_text(encoding="utf-8"))
        comparison = compare(candidate, rows, blessed, tables, settings, Origin.of(examples))
        point = training.get("operating_point")
        intervals = training.get("intervals")
        verdict = judge(read_metrics(str(evaluation)), rows, comparison, baselines, point, settings, looks, intervals)
        if settings.data.is_images and isinstance(rows, Rows):
            foreign = none_of_these(candidate, rows.strangeness, settings)
            verdict = replace(verdict, findings=(*verdict.findings, *foreign))
        verdict.write(evaluation)
        record(artifact_utils.get_single_instance(output_dict["evaluation"]), judged.id, verdict.passed, test_rows)
        _bless(artifact_utils.get_single_instance(output_dict["blessing"]), judged, verdict.passed)


def _scores(rows: Answered, settings: Settings) -> Scores:
    """Return them as the prediction log has them: of the positive class if there is one, else of the likeliest."""
    if not isinstance(rows, Rows):
        return Scores.of_numbers(rows.decided, rows.true)
    of_class = rows.probabilities
    score = of_class.max(axis=1) if rows.positive is None else of_class[:, rows.positive]
    scores = Scores.of(rows.true, rows.decided, score, settings.data.classes)
    return scores if rows.strangeness is None else replace(scores, strangeness=Numbers.of(rows.strangeness))


def _bless(blessing: Any, model: Any, passed: bool) -> None:
    """Say what the verdict came to as TFX's Evaluator does where it holds the thresholds itself."""
    name = constants.BLESSED_FILE_NAME if passed else constants.NOT_BLESSED_FILE_NAME
    write_text(Path(blessing.uri) / name, "")
    value = constants.BLESSED_VALUE if passed else constants.NOT_BLESSED_VALUE
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)


class Evaluator(OwnComponent):
    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = BeamExecutorSpec(Executor)
