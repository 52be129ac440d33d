"""StatisticsGen, ExampleValidator and the gate as TFX runs them, on data with planted faults."""

import csv
from pathlib import Path
from typing import Any

import pytest

from common.errors import GateRefused
from components.verdict import Verdict
from config.load import load_settings
from config.schema import read_schema
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
CONFIG = ROOT / "config" / "breast_cancer"
REASON = "known fault, ticket 12"


def run_gate(folder: Path, source: Path, override: str = "") -> None:
    """Run the pipeline up to the gate; a second run in the same folder finds the first one's results."""
    from tfx.components import ExampleValidator, StatisticsGen
    from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.pipeline import Pipeline

    from components.data_gate.component import DataGate
    from components.data_gate.scan import Columns
    from components.examples.component import make_example_gen
    from pipeline.pipeline import LOCAL_BEAM_ARGS

    settings = load_settings(CONFIG)
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"source": source})})
    examples = make_example_gen(settings, read_schema(settings.schema_file))
    statistics = StatisticsGen(examples=examples.outputs["examples"])
    schema = ImportSchemaGen(schema_file=str(settings.schema_file))
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    gate = DataGate(
        examples=examples.outputs["examples"],
        statistics=statistics.outputs["statistics"],
        schema=schema.outputs["schema"],
        anomalies=validator.outputs["anomalies"],
        data_gate=settings.data_gate,
        columns=Columns.of(settings),
        seed=settings.seed,
        override=override,
        reports_uri=folder / "reports",
    )
    LocalDagRunner().run(
        Pipeline(
            pipeline_name="gate",
            pipeline_root=str(folder / "pipeline"),
            components=[examples, statistics, schema, validator, gate],
            metadata_connection_config=metadata.sqlite_metadata_connection_config(str(folder / "metadata.sqlite")),
            enable_cache=True,
            beam_pipeline_args=LOCAL_BEAM_ARGS,
        )
    )


def gate_executions(folder: Path) -> list[Any]:
    from tfx.orchestration import metadata

    config = metadata.sqlite_metadata_connection_config(str(folder / "metadata.sqlite"))
    with metadata.Metadata(config) as opened:
        executions = opened.store.get_executions()
    return sorted((e for e in executions if "override" in e.custom_properties), key=lambda e: e.id)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Path:
    """Return a folder with data that hold: a negative radius, an unknown column, two rows with missing texture."""
    folder = tmp_path_factory.mktemp("faulty")
    with Path(load_settings(CONFIG).data.source).open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    rows[3]["radius_mean"] = "-5"
    rows[5]["texture_mean"] = rows[8]["texture_mean"] = ""
    for row in rows:
        row["perimeter_mean"] = "1" if row["diagnosis"] == "M" else "0"
        row["note"] = "=cmd()"
    with (folder / "data.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def refusal(faulty) -> GateRefused:
    with pytest.raises(GateRefused) as caught:
        run_gate(faulty, faulty / "data.csv")
    return caught.value


def test_clean_data_pass_without_a_finding(pipeline_run):
    verdict = pipeline_run.verdicts["data"]
    assert verdict.passed
    assert verdict.findings == ()
    assert "569 rows" in verdict.sentence
    assert not list(pipeline_run.var.glob("reports/*/*/data_gate"))


def test_a_refusal_stops_the_run_and_leaves_verdict_and_rows(faulty, refusal):
    assert "The data were refused" in str(refusal)
    [execution] = gate_executions(faulty)
    assert execution.last_known_state == execution.FAILED
    (verdict_file,) = faulty.glob("reports/*/data_gate/verdict.json")
    verdict = Verdict.read(verdict_file.parent)
    assert not verdict.passed
    kinds = {(finding.kind, finding.feature) for finding in verdict.findings if finding.severity == "error"}
    assert kinds == {
        ("FLOAT_TYPE_SMALL_FLOAT", "radius_mean"),
        ("FEATURE_TYPE_LOW_FRACTION_PRESENT", "texture_mean"),
        ("INVALID_FEATURE_SHAPE", "texture_mean"),
        ("SCHEMA_NEW_COLUMN", "note"),
        ("LABEL_LEAK", "perimeter_mean"),
    }
    with (verdict_file.parent / "rows-FLOAT_TYPE_SMALL_FLOAT-radius_mean.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["radius_mean"], row["note"]) == ("-5", "'=cmd()")


def test_an_override_lets_the_run_go_on_and_stands_in_the_lineage(faulty, refusal):
    run_gate(faulty, faulty / "data.csv", override=REASON)
    execution = gate_executions(faulty)[-1]
    assert execution.last_known_state == execution.COMPLETE
    assert execution.custom_properties["override"].string_value == REASON
    (verdict_file,) = faulty.glob("pipeline/DataGate/verdict/*/verdict.json")
    verdict = Verdict.read(verdict_file.parent)
    assert (verdict.passed, verdict.override) == (True, REASON)
    assert any(finding.severity == "error" for finding in verdict.findings)
    assert (verdict_file.parent / "rows-FLOAT_TYPE_SMALL_FLOAT-radius_mean.csv").is_file()
