"""The data gate as a TFX component."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import artifact_utils
from tfx.types.component_spec import ComponentSpec
from tfx.types.standard_artifacts import ExampleAnomalies, Examples, ExampleStatistics, Schema
from tfx.utils import io_utils

from common.errors import GateRefused
from components.artifacts import OwnComponent, VerdictArtifact, channels, parameters
from components.data_gate.checks.anomalies import not_finite, schema_anomalies
from components.data_gate.checks.ids_constants import coarse_floats, constant_features, id_features, text_uniqueness
from components.data_gate.checks.images import header_leaks, picture_files
from components.data_gate.checks.label_leak import label_leaks
from components.data_gate.checks.losses_overlaps import group_overlaps, repeated_rows, row_losses, row_overlaps
from components.data_gate.checks.splits import class_shares, features_set_aside, split_sizes, splits_without_values
from components.data_gate.judge import RawFinding, export, judge, locate, name_files
from components.data_gate.scan import TRAIN, Block, Columns, Scan, read_blocks, scan_rows
from components.examples.seen import Seen, read_seen
from components.names import DATA_VERDICT, SYNTHETIC_ROWS
from components.splits import read_anomalies, read_statistics, split_files
from components.verdict import Verdict
from config.gate_settings import DataGateSettings
from serving.repository.contents import Statistics

LISTED = 5  # errors on the screen


@dataclass(frozen=True)
class Evidence:
    scan: Scan
    written: Mapping[str, int]  # `rows_in` and `rows_<split>` as ExampleGen counted them
    statistics: Mapping[str, Statistics]
    anomalies: Mapping[str, anomalies_pb2.Anomalies]
    schema: schema_pb2.Schema
    pictures: Seen | None = None
    synthetic_rows: int = 0


class Executor(BaseExecutor):
    """Write the verdict and the offending rows: into the artifact, or beside the report if the run must stop."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        """See DataGateSpec. Raises GateRefused, after which TFX removes the output artifacts."""
        settings = DataGateSettings.model_validate_json(exec_properties["data_gate"])
        columns = Columns.model_validate_json(exec_properties["columns"])
        inputs = {key: artifact_utils.get_single_instance(artifacts) for key, artifacts in input_dict.items()}
        files = {split: split_files(inputs["examples"].uri, split) for split in _splits(inputs["examples"])}
        blocks = partial(read_blocks, files, pictures=columns.pictures)
        evidence = _gather(blocks(), [*files], inputs, columns, exec_properties["seed"])
        findings = check(evidence, columns, settings, exec_properties["seed"])
        located = locate(blocks(), findings, settings.max_exported_rows)
        names = name_files(located)
        verdict = judge(located, names, settings, evidence.scan.rows, exec_properties["override"].strip())

        artifact = artifact_utils.get_single_instance(output_dict["verdict"])
        refused = Path(exec_properties["reports_uri"]) / str(self._context.pipeline_run_id) / DATA_VERDICT
        folder = Path(artifact.uri) if verdict.passed else refused
        export(located, names, folder, settings.max_exported_rows)
        verdict.write(folder)
        if not verdict.passed:
            raise _refusal(verdict, refused)
        artifact.set_string_custom_property("override", verdict.override or "")


def check(evidence: Evidence, columns: Columns, settings: DataGateSettings, seed: int) -> list[RawFinding]:
    scan = evidence.scan
    features = columns.features(evidence.schema)
    counted = {split: statistics.rows for split, statistics in evidence.statistics.items()}
    findings = row_losses(evidence.written, counted, scan.rows)
    anomalies = schema_anomalies(evidence.anomalies, evidence.schema, columns.ignore)
    # a schema inferred from train is nobody's contract: what eval and test have besides need not stop a run
    findings += anomalies if columns.has_schema else [replace(finding, usual="warn") for finding in anomalies]
    findings += split_sizes(scan, columns, evidence.synthetic_rows) + class_shares(scan, columns)
    findings += row_overlaps(scan.content, features, columns.split)
    if columns.group_by:
        findings += group_overlaps(scan.groups, columns.group_by)
    findings += repeated_rows(scan, features, columns.label, is_number=not columns.classes)
    if evidence.pictures is None:
        findings += _check_columns(evidence, columns, settings, seed)
    else:
        findings += picture_files(evidence.pictures)
        findings += header_leaks(scan.sample, columns.label, settings.leak_score, seed)
    rows = scan.rows.get(TRAIN, 0)
    if scan.sampled_rows < rows:
        text = f"Leaks and ids were looked for in {scan.sampled_rows} of {rows} train rows, drawn at random"
        findings.append(RawFinding("SAMPLED", text, details={"rows": scan.sampled_rows, "of": rows}))
    return findings


def _check_columns(evidence: Evidence, columns: Columns, settings: DataGateSettings, seed: int) -> list[RawFinding]:
    """Look at each column of a table by itself."""
    scan, features = evidence.scan, columns.features(evidence.schema)
    train = evidence.statistics.get(TRAIN, Statistics())
    findings = features_set_aside(columns.set_aside(evidence.schema), columns)
    findings += not_finite(scan.not_finite)
    findings += splits_without_values(evidence.statistics, columns)
    findings += label_leaks(scan.sample, columns.label, settings.leak_score, seed)
    # dates may well differ in every row: the model reads their parts
    may_be_ids = {n: column for n, column in scan.sample.items() if n != columns.label and n not in columns.dates}
    findings += id_features(may_be_ids, settings.id_uniqueness, text_uniqueness(train))
    return findings + constant_features(train, features) + coarse_floats(train, features)


def _gather(
    blocks: Iterable[Block], splits: Sequence[str], inputs: Mapping[str, Any], columns: Columns, seed: int
) -> Evidence:
    examples, statistics, anomalies = inputs["examples"], inputs["statistics"], inputs["anomalies"]
    keys = ("rows_in", *(f"rows_{split}" for split in splits))
    written = {key: examples.get_int_custom_property(key) for key in keys if examples.has_custom_property(key)}
    by_split = {split: read_statistics(statistics.uri, split) for split in _splits(statistics)}
    expected = {split: written.get(f"rows_{split}", by_split.get(split, Statistics()).rows) for split in splits}
    curated = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(inputs["schema"].uri))
    return Evidence(
        scan=scan_rows(blocks, columns, columns.features(curated), expected, seed, sampled=columns.sampled(curated)),
        written=written,
        statistics=by_split,
        anomalies={split: read_anomalies(anomalies.uri, split) for split in _splits(anomalies)},
        schema=curated,
        pictures=read_seen(examples.uri) if columns.pictures else None,
        synthetic_rows=examples.get_int_custom_property(SYNTHETIC_ROWS),
    )


def _splits(artifact: Any) -> list[str]:
    return artifact_utils.decode_split_names(artifact.split_names)


def _refusal(verdict: Verdict, folder: Path) -> GateRefused:
    errors = [finding.sentence for finding in verdict.findings if finding.severity == "error"]
    listed = errors[:LISTED] + ([f"{len(errors) - LISTED} more"] if len(errors) > LISTED else [])
    return GateRefused(
        verdict.sentence,
        got="\n    ".join(listed),
        fix=f"see {folder}; to go on in spite of it: --override-data-gate 'the reason'",
    )


class DataGateSpec(ComponentSpec):
    """`data_gate`, `columns`: DataGateSettings and Columns as JSON.

    `override`: the operator's reason for going on in spite of errors, or nothing; `reports_uri`: the folder of the
    model's runs, for verdicts that stop one.
    """

    PARAMETERS = parameters(data_gate=str, columns=str, seed=int, override=str, reports_uri=str)
    INPUTS = channels(examples=Examples, statistics=ExampleStatistics, schema=Schema, anomalies=ExampleAnomalies)
    OUTPUTS = channels(verdict=VerdictArtifact)


class DataGate(OwnComponent):
    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
