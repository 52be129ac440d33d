"""What TFX runs: scan the rows, weigh the findings, and stop the run if it must not go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from common.errors import GateRefused
from components.data_gate.blocks import read_blocks
from components.data_gate.checks.anomalies import not_finite, schema_anomalies
from components.data_gate.checks.ids_constants import constant_features, id_features, text_uniqueness
from components.data_gate.checks.label_leak import label_leaks
from components.data_gate.checks.overlap import group_overlaps, repeated_rows, row_overlaps
from components.data_gate.checks.row_counts import row_losses
from components.data_gate.export import export, name_files
from components.data_gate.finding import RawFinding, locate
from components.data_gate.judge import judge
from components.data_gate.scan import TRAIN, Columns, Scan, scan_rows
from components.names import DATA_VERDICT
from components.splits import split_files
from components.verdict import Verdict
from config.settings import DataGateSettings
from serving.repository.contents import FILE_NAME as STATISTICS_FILE
from serving.repository.contents import Statistics, parse_statistics

ANOMALIES_FILE = "SchemaDiff.pb"  # as ExampleValidator names it
LISTED = 5  # errors on the screen


@dataclass(frozen=True)
class Evidence:
    """All that the checks look at."""

    scan: Scan
    written: Mapping[str, int]  # `rows_in` and `rows_<split>` as ExampleGen counted them
    statistics: Mapping[str, Statistics]
    anomalies: Mapping[str, anomalies_pb2.Anomalies]
    schema: schema_pb2.Schema


class Executor(base_executor.BaseExecutor):
    """Write the verdict and the offending rows: into the artifact, or beside the report if the run must stop."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        """See DataGateSpec. Raises GateRefused, after which TFX removes the output artifacts."""
        settings = DataGateSettings.model_validate_json(exec_properties["data_gate"])
        columns = Columns.model_validate_json(exec_properties["columns"])
        examples, statistics, schema, anomalies = (
            artifact_utils.get_single_instance(input_dict[key])
            for key in ("examples", "statistics", "schema", "anomalies")
        )
        files = {
            split: split_files(examples.uri, split) for split in artifact_utils.decode_split_names(examples.split_names)
        }
        written = {
            key: examples.get_int_custom_property(key)
            for key in ("rows_in", *(f"rows_{split}" for split in files))
            if examples.has_custom_property(key)
        }
        evidence = _gather(files, written, (statistics, schema, anomalies), columns, exec_properties["seed"])
        findings = check(evidence, columns, settings, exec_properties["seed"])
        located = locate(read_blocks(files), findings, settings.max_exported_rows)
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
    """Return everything noticed, whatever its severity."""
    scan = evidence.scan
    features = columns.features(evidence.schema)
    train = evidence.statistics.get(TRAIN, Statistics())
    counted = {split: statistics.rows for split, statistics in evidence.statistics.items()}
    findings = row_losses(evidence.written, counted, scan.rows)
    findings += schema_anomalies(evidence.anomalies, evidence.schema, columns.ignore)
    findings += not_finite(scan.not_finite)
    findings += row_overlaps(scan.content, features, columns.group_by is not None)
    if columns.group_by:
        findings += group_overlaps(scan.groups, columns.group_by)
    findings += label_leaks(scan.sample, columns.label, settings.leak_score, seed)
    findings += id_features(
        {name: scan.sample[name] for name in scan.sample if name != columns.label},
        settings.id_uniqueness,
        text_uniqueness(train),
    )
    findings += constant_features(train, features)
    findings += repeated_rows(scan, features, columns.label)
    rows = scan.rows.get(TRAIN, 0)
    if scan.sampled_rows < rows:
        text = f"Leaks and ids were looked for in {scan.sampled_rows} of {rows} train rows, drawn at random"
        findings.append(RawFinding("SAMPLED", text, details={"rows": scan.sampled_rows, "of": rows}))
    return findings


def _gather(
    files: Mapping[str, Sequence[str]], written: Mapping[str, int], artifacts: Any, columns: Columns, seed: int
) -> Evidence:
    statistics, schema, anomalies = artifacts
    by_split = {
        split: parse_statistics(_bytes(statistics, split, STATISTICS_FILE))
        for split in artifact_utils.decode_split_names(statistics.split_names)
    }
    expected = {split: written.get(f"rows_{split}", by_split.get(split, Statistics()).rows) for split in files}
    curated = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema.uri))
    return Evidence(
        scan=scan_rows(read_blocks(files), columns, columns.features(curated), expected, seed),
        written=written,
        statistics=by_split,
        anomalies={
            split: _anomalies(anomalies, split) for split in artifact_utils.decode_split_names(anomalies.split_names)
        },
        schema=curated,
    )


def _anomalies(artifact: Any, split: str) -> anomalies_pb2.Anomalies:
    proto = anomalies_pb2.Anomalies()
    proto.ParseFromString(_bytes(artifact, split, ANOMALIES_FILE))
    return proto


def _bytes(artifact: Any, split: str, name: str) -> bytes:
    with fileio.open(f"{artifact_utils.get_split_uri([artifact], split)}/{name}", "rb") as file:
        return file.read()


def _refusal(verdict: Verdict, folder: Path) -> GateRefused:
    errors = [finding.sentence for finding in verdict.findings if finding.severity == "error"]
    listed = errors[:LISTED] + ([f"{len(errors) - LISTED} more"] if len(errors) > LISTED else [])
    return GateRefused(
        verdict.sentence,
        got="\n    ".join(listed),
        fix=f"see {folder}; to go on in spite of it: --override-data-gate 'the reason'",
    )
