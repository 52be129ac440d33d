"""The serving probe as a TFX component."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from components.artifacts import VerdictArtifact
from components.evaluation.verdict import OVERALL, read_metrics
from components.probe.judge import judge, row_losses
from components.probe.process import run_child
from config.settings import ProbeSettings
from serving.repository.layout import TRAINING

BLESSED = "blessed"  # what TFX reads of an InfraBlessing: model_utils.is_infra_validated


class ServingProbeSpec(component_spec.ComponentSpec):
    """Model, examples and evaluation in; verdict and InfraBlessing out. `probe`: ProbeSettings as JSON."""

    PARAMETERS = {"probe": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
    }
    OUTPUTS = {
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        "verdict": component_spec.ChannelParameter(type=VerdictArtifact),
    }


class Executor(base_executor.BaseExecutor):
    """Run the child process, judge its report, compare the numbers of rows, bless or not."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        """See ServingProbeSpec."""
        settings = ProbeSettings.model_validate_json(exec_properties["probe"])
        folder = Path(path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"])))
        evaluation_uri = artifact_utils.get_single_uri(input_dict["evaluation"])
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        rows = row_losses(_row_counts(examples, folder, evaluation_uri))
        verdict = judge(run_child(folder, settings.timeout_s), settings, rows)
        verdict.write(Path(artifact_utils.get_single_uri(output_dict["verdict"])))
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        blessing.set_int_custom_property(BLESSED, int(verdict.passed))


class ServingProbe(base_component.BaseComponent):
    """Bless a model that loads and answers in a fresh process as the model server will run it."""

    SPEC_CLASS = ServingProbeSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        evaluation: types.BaseChannel,
        settings: ProbeSettings,
    ) -> None:
        super().__init__(
            ServingProbeSpec(
                model=model,
                examples=examples,
                evaluation=evaluation,
                probe=settings.model_dump_json(),
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
                verdict=types.Channel(type=VerdictArtifact),
            )
        )


def _row_counts(examples: Any, folder: Path, evaluation_uri: str) -> dict[str, tuple[int, int]]:
    """Return `step: (rows that ExampleGen wrote, rows that the step saw)`."""
    trained = json.loads((folder / TRAINING).read_text(encoding="utf-8"))["rows"]
    tested = next((s.rows for s in read_metrics(evaluation_uri) if s.name == OVERALL), 0)
    written = {split: examples.get_int_custom_property(f"rows_{split}") for split in ("train", "eval", "test")}
    return {
        "Trainer (train)": (written["train"], trained["train"]),
        "Trainer (eval)": (written["eval"], trained["eval"]),
        "Evaluator (test)": (written["test"], tested),
    }
