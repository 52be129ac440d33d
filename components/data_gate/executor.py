"""What TFX runs: survey the rows, weigh what was noticed, and stop the run if it must not go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from common.errors import GateRefused
from components.data_gate.checks.anomalies import not_finite, schema_anomalies
from components.data_gate.checks.ids_constants import constant_features, id_features, text_uniqueness
from components.data_gate.checks.label_leak import label_leaks
from components.data_gate.checks.overlap import group_overlaps, repeated_rows, row_overlaps
from components.data_gate.checks.row_counts import row_losses
from components.data_gate.examples_reader import read_blocks, split_files
from components.data_gate.export import export, locate, name_files
from components.data_gate.finding import Suspicion
from components.data_gate.judge import judge
from components.data_gate.scan import TRAIN, Columns, Survey, survey
from components.verdict import Verdict
from config.settings import DataGateSettings

STATISTICS_FILE, ANOMALIES_FILE = "FeatureStats.pb", "SchemaDiff.pb"  # as StatisticsGen and ExampleValidator name them
LISTED = 5  # so many errors are told on the screen


@dataclass(frozen=True)
class Evidence:
    """All that the checks look at."""

    survey: Survey
    written: Mapping[str, int]  # `rows_in` and `rows_<split>` as ExampleGen counted them
    statistics: Mapping[str, statistics_pb2.DatasetFeatureStatistics]
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
        files = split_files(examples)
        written = {
            key: examples.get_int_custom_property(key)
            for key in ("rows_in", *(f"rows_{split}" for split in files))
            if examples.has_custom_property(key)
        }
        evidence = _gather(files, written, (statistics, schema, anomalies), columns, exec_properties["seed"])
        suspicions = check(evidence, columns, settings, exec_properties["seed"])
        found = locate(read_blocks(files), suspicions, settings.max_exported_rows)
        names = name_files(found)
        verdict = judge(found, names, settings, evidence.survey.rows, exec_properties["override"].strip())

        artifact = artifact_utils.get_single_instance(output_dict["verdict"])
        refused = Path(exec_properties["reports_uri"]) / str(self._context.pipeline_run_id) / "data_gate"
        folder = Path(artifact.uri) if verdict.passed else refused
        export(found, names, folder, settings.max_exported_rows)
        verdict.write(folder)
        if not verdict.passed:
            raise _refusal(verdict, refused)
        artifact.set_string_custom_property("override", verdict.override or "")


def check(evidence: Evidence, columns: Columns, settings: DataGateSettings, seed: int) -> list[Suspicion]:
    """Return everything noticed, whatever its severity."""
    seen = evidence.survey
    features = columns.features(evidence.schema)
    train = evidence.statistics.get(TRAIN, statistics_pb2.DatasetFeatureStatistics())
    counted = {split: int(statistics.num_examples) for split, statistics in evidence.statistics.items()}
    found = row_losses(evidence.written, counted, seen.rows)
    found += schema_anomalies(evidence.anomalies, evidence.schema, columns.ignore)
    found += not_finite(seen.not_finite)
    found += row_overlaps(seen.content, features, columns.group_by is not None)
    if columns.group_by:
        found += group_overlaps(seen.groups, columns.group_by)
    found += label_leaks(seen.sample, columns.label, settings.leak_score, seed)
    found += id_features(
        {name: seen.sample[name] for name in seen.sample if name != columns.label},
        settings.id_uniqueness,
        text_uniqueness(train),
    )
    found += constant_features(train, features)
    found += repeated_rows(seen, features, columns.label)
    rows = seen.rows.get(TRAIN, 0)
    if seen.sampled_rows < rows:
        text = f"Leaks and ids were looked for in {seen.sampled_rows} of {rows} train rows, drawn at random"
        found.append(Suspicion("SAMPLED", text, details={"rows": seen.sampled_rows, "of": rows}))
    return found


def _gather(
    files: Mapping[str, Sequence[str]], written: Mapping[str, int], artifacts: Any, columns: Columns, seed: int
) -> Evidence:
    statistics, schema, anomalies = artifacts
    told = {
        split: _statistics(statistics, split) for split in artifact_utils.decode_split_names(statistics.split_names)
    }
    expected = {
        split: written.get(f"rows_{split}", int(told[split].num_examples) if split in told else 0) for split in files
    }
    contract = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema.uri))
    return Evidence(
        survey=survey(read_blocks(files), columns, columns.features(contract), expected, seed),
        written=written,
        statistics=told,
        anomalies={
            split: _anomalies(anomalies, split) for split in artifact_utils.decode_split_names(anomalies.split_names)
        },
        schema=contract,
    )


def _statistics(artifact: Any, split: str) -> statistics_pb2.DatasetFeatureStatistics:
    """Read one split's statistics; TFDV puts them into a list of one."""
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    proto.ParseFromString(_bytes(artifact, split, STATISTICS_FILE))
    return proto.datasets[0] if proto.datasets else statistics_pb2.DatasetFeatureStatistics()


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
