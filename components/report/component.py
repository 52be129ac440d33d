"""The run report as a TFX component."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from common.files import write_text
from components.artifacts import ReportArtifact, VerdictArtifact
from components.names import CARD, EVALUATION_VERDICT, HTML, JSON, PNG, XLSX
from components.report.card import render_card
from components.report.facts import Facts
from components.report.gather import gather, read_stages
from components.report.html import render_html
from components.report.picture import write_png
from components.report.xlsx import write_xlsx
from config.settings import Settings


class RunReportSpec(component_spec.ComponentSpec):
    """All that a run made. `settings`: JSON; `settings_hash`: as in the manifest; `metadata`: ML Metadata's file."""

    PARAMETERS = {
        "settings": component_spec.ExecutionParameter(type=str),
        "settings_hash": component_spec.ExecutionParameter(type=str),
        "metadata": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "data_verdict": component_spec.ChannelParameter(type=VerdictArtifact),
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "serving_verdict": component_spec.ChannelParameter(type=VerdictArtifact),
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }
    OUTPUTS = {"report": component_spec.ChannelParameter(type=ReportArtifact)}


class Executor(base_executor.BaseExecutor):
    """Gather the facts once and write every view of them."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        """See RunReportSpec."""
        settings = Settings.model_validate_json(exec_properties["settings"])
        folder = Path(artifact_utils.get_single_uri(output_dict["report"]))
        root = folder.parents[2]  # <root>/<component>/<output>/<execution id>
        run_id = self._context.pipeline_run_id
        facts = gather(
            {key: artifact_utils.get_single_instance(artifacts) for key, artifacts in sorted(input_dict.items())},
            settings,
            exec_properties["settings_hash"],
            run_id,
            root,
            read_stages(Path(exec_properties["metadata"]), settings.name, run_id),
        )
        write_report(facts, folder)


def write_report(facts: Facts, folder: Path) -> None:
    """Write all files of a report, and the evaluation gate's verdict, which `explain` reads without TensorFlow."""
    folder.mkdir(parents=True, exist_ok=True)
    for verdict in facts.verdicts:
        if verdict.gate == "evaluation":
            verdict.write(folder / EVALUATION_VERDICT)
    write_text(folder / CARD, render_card(facts))
    write_text(folder / JSON, facts.as_json())
    write_text(folder / HTML, render_html(facts))
    write_xlsx(facts, folder / XLSX)
    write_png(facts, folder / PNG)


class RunReport(base_component.BaseComponent):
    SPEC_CLASS = RunReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self, *, settings: Settings, settings_hash: str, metadata: Path | None, **inputs: types.BaseChannel
    ) -> None:
        super().__init__(
            RunReportSpec(
                **inputs,
                settings=settings.model_dump_json(by_alias=True),
                settings_hash=settings_hash,
                metadata=str(metadata or ""),
                report=types.Channel(type=ReportArtifact),
            )
        )
