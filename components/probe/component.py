"""The serving probe as a TFX component."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import artifact_utils
from tfx.types.component_spec import ComponentSpec
from tfx.types.standard_artifacts import Examples, InfraBlessing, Model, ModelEvaluation
from tfx.utils import path_utils

from components.artifacts import OwnComponent, VerdictArtifact, channels, parameters
from components.evaluation.verdict import OVERALL, read_metrics
from components.probe.process import judge, row_losses, run_child
from components.splits import written_rows
from config.gate_settings import ProbeSettings
from serving.repository.layout import TRAINING

BLESSED = "blessed"  # what TFX reads of an InfraBlessing: model_utils.is_infra_validated


class ServingProbeSpec(ComponentSpec):
    """`probe`: ProbeSettings as JSON."""

    PARAMETERS = parameters(probe=str)
    INPUTS = channels(model=Model, examples=Examples, evaluation=ModelEvaluation)
    OUTPUTS = channels(blessing=InfraBlessing, verdict=VerdictArtifact)


class Executor(BaseExecutor):
    """Run the child process, judge its report, compare the numbers of rows, bless or not."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        settings = ProbeSettings.model_validate_json(exec_properties["probe"])
        folder = Path(path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"])))
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        counts = _row_counts(examples, folder, artifact_utils.get_single_uri(input_dict["evaluation"]))
        verdict = judge(run_child(folder, settings.timeout_s), settings, row_losses(counts))
        verdict.write(Path(artifact_utils.get_single_uri(output_dict["verdict"])))
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        blessing.set_int_custom_property(BLESSED, int(verdict.passed))


class ServingProbe(OwnComponent):
    SPEC_CLASS = ServingProbeSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)


def _row_counts(examples: Any, folder: Path, evaluation_uri: str) -> dict[str, tuple[int, int]]:
    """Return `step: (rows that ExampleGen wrote, rows that the step saw)`."""
    trained = json.loads((folder / TRAINING).read_text(encoding="utf-8"))["rows"]
    tested = next((s.rows for s in read_metrics(evaluation_uri) if s.name == OVERALL), 0)
    written = written_rows(examples)
    return {
        "Trainer (train)": (written["train"], trained["train"]),
        "Trainer (eval)": (written["eval"], trained["eval"]),
        "Evaluator (test)": (written["test"], tested),
    }
