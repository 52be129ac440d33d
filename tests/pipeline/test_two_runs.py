"""A second model on the same data: what `diff` says, what `run --check` foresees, how often the rows have judged."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from serving.repository.manifest import Manifest
from tests.support.pipeline.runs import CONFIG

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
SETS = ["model.epochs=30", "evaluation.change_margin=0.1"]


@pytest.fixture(scope="module")
def second(borrow: Any, run_pipeline: Any) -> Any:
    """Another network beside the blessed version 1, while its files are there."""
    with borrow() as var:
        done = run_pipeline(var, sets=SETS)
        assert done.returncode == 0, done.output
        yield done


def test_two_versions_are_compared_on_the_same_rows(second: Any, vouch: Any) -> None:
    said = vouch(second.var, "diff", "breast_cancer/1", second.run_id[:20], "--json")
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    assert told["settings"] == {"model.epochs": [60, 30], "evaluation.change_margin": [0.005, 0.1]}
    assert told["data"] == {}
    assert told["obstacle"] == ""
    values = [side["auc"]["value"] for side in told["metrics"]]
    assert told["paired"]["auc"]["value"] == pytest.approx(values[1] - values[0], abs=1e-4)
    assert told["paired"]["auc"]["lower"] <= told["paired"]["auc"]["value"] <= told["paired"]["auc"]["upper"]


def test_the_report_names_the_model_compared_with(second: Any) -> None:
    facts = json.loads((second.uri("RunReport", "report") / "report.json").read_text())
    first = Manifest.read(second.serving / "1")
    assert (facts["blessed"]["version"], facts["blessed"]["run_id"]) == (1, first.run_id)
    values = {metric["name"]: metric["value"] for metric in facts["blessed"]["metrics"]}
    assert values["auc"] == pytest.approx(first.metrics["auc"][0], abs=1e-3)


def test_differences_are_told_to_people(second: Any, vouch: Any) -> None:
    said = vouch(second.var, "diff", "breast_cancer/1", "breast_cancer/2").stdout
    assert "model.epochs: 60 → 30" in said
    assert "data: the same" in said
    assert "breast_cancer/2: breast_cancer, run " in said


@pytest.mark.parametrize(
    ("name", "words"),
    [("breast_cancer/x", "MODEL/NUMBER"), ("breast_cancer/9", "9"), ("1999", "no such run")],
    ids=["no number", "no version", "no run"],
)
def test_what_is_not_there_cannot_be_compared(second: Any, vouch: Any, name: str, words: str) -> None:
    said = vouch(second.var, "diff", name, "breast_cancer/1")
    assert said.returncode == 3
    assert words in said.stderr
    assert "Traceback" not in said.stderr


def test_a_check_foresees_what_would_run_and_changes_nothing(second: Any, vouch: Any) -> None:
    def look() -> tuple[str, set[str]]:
        files = {str(path) for path in (second.var / "pipeline").rglob("*")}
        return hashlib.sha256(second.metadata.read_bytes()).hexdigest(), files

    before = look()
    options = [part for text in [*SETS[:1], "evaluation.change_margin=0.2"] for part in ("--set", text)]
    said = vouch(second.var, "run", CONFIG, *options, "--check").stdout
    assert "rows     374 train, 93 eval, 102 test" in said
    assert "classes  357 B, 212 M" in said
    told = {line.split()[0]: " ".join(line.split()[1:]) for line in said.splitlines()[3:]}
    assert told["Trainer"] == "cached"
    assert {name for name, state in told.items() if state == "would run"} == {
        "Evaluator",
        "ServingProbe",
        "AtomicPusher",
        "RunReport",
    }
    assert look() == before


def test_a_check_tells_of_faulty_data(vouch: Any, tmp_path: Any) -> None:
    table = tmp_path / "faulty.csv"
    table.write_text("id,diagnosis,radius_mean\n1,B,1.5\n2,Q,2.5\n")
    said = vouch(tmp_path / "var", "run", CONFIG, "--check", "--set", f"data.source={table}", "--set", "schema=")
    assert said.returncode == 3
    assert "faulty.csv" in said.stderr
    assert not (tmp_path / "var" / "metadata.sqlite").exists()


def test_the_second_candidate_on_these_rows_is_told_as_the_second(second: Any, vouch: Any) -> None:
    [finding] = [f for f in second.verdicts["evaluation"].findings if f.kind == "TEST_ROWS_JUDGED"]
    assert finding.details == {"judged": 2, "refused_before": 0, "confidence": pytest.approx(0.95)}
    assert "TEST_ROWS_JUDGED: these test rows have judged 2 candidates" in vouch(second.var, "explain").stdout
