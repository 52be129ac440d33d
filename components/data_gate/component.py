"""The data gate as a TFX component."""

from __future__ import annotations

from pathlib import Path

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.artifacts import VerdictArtifact
from components.data_gate.executor import Executor
from components.data_gate.scan import Columns
from config.settings import Settings


class DataGateSpec(component_spec.ComponentSpec):
    """Examples, statistics, schema and anomalies in; verdict out.

    `data_gate`: DataGateSettings as JSON; `columns`: Columns as JSON; `override`: the operator's reason for going on
    in spite of errors, or nothing; `reports_uri`: the folder of the model's runs, for verdicts that stop one.
    """

    PARAMETERS = {
        "data_gate": component_spec.ExecutionParameter(type=str),
        "columns": component_spec.ExecutionParameter(type=str),
        "seed": component_spec.ExecutionParameter(type=int),
        "override": component_spec.ExecutionParameter(type=str),
        "reports_uri": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS = {"verdict": component_spec.ChannelParameter(type=VerdictArtifact)}


class DataGate(base_component.BaseComponent):
    """Stop the run on anomalies, lost rows and leaks, or let it pass with a verdict."""

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        anomalies: types.BaseChannel,
        settings: Settings,
        reports: Path,
        override: str = "",
    ) -> None:
        columns = Columns(label=settings.data.label, ignore=settings.data.ignore, group_by=settings.split.group_by)
        super().__init__(
            DataGateSpec(
                examples=examples,
                statistics=statistics,
                schema=schema,
                anomalies=anomalies,
                data_gate=settings.data_gate.model_dump_json(),
                columns=columns.model_dump_json(),
                seed=settings.seed,
                override=override,
                reports_uri=str(reports),
                verdict=types.Channel(type=VerdictArtifact),
            )
        )
