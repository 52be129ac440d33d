"""Tables that broke runs after minutes: columns called as our own names are, whole numbers beyond float32, few rows."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pytest

from components.verdict import Finding

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]  # whole runs of tables of their own
STAMP = 1_700_000_000
NUMBERS = ("examples", "self", "Age", "age", "_freq_", "lambda", "features", "probabilities", "Größe")
TEXTS = ("job type", "job-type", "Stadt/性别")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, onboarded: Any) -> Any:
    """What decides is `job-type`, whose vocabulary once was that of `job type`, and the seconds of one hour."""
    rng = random.Random(4)
    path = tmp_path_factory.mktemp("odd") / "odd.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*NUMBERS, *TEXTS, "stamp", "label"])
        for _ in range(400):
            job, second = rng.choice(["a\nb", "c", "d", "e"]), rng.randrange(3600)
            yes = job in ("a\nb", "d") if rng.random() < 0.5 else second > 1800
            texts = [rng.choice(["lo", "hi"]), job, rng.choice(["Köln", "Bern", "Rom"])]
            table.writerow([*(f"{rng.gauss(0, 1):.3f}" for _ in NUMBERS), *texts, STAMP + second, ["no", "yes"][yes]])
    sets = ["model.epochs=60", "evaluation.thresholds={auc: 0.5}", "data_gate.severity={POSSIBLE_ID: ignore}"]
    return onboarded(path, "--label", "label", sets=sets)


def test_such_names_go_through_a_whole_run(odd: Any) -> None:
    assert odd.returncode == 0, odd.output
    assert odd.run.pushed_version == 1
    assert all(verdict.passed for verdict in odd.verdicts.values())


def test_the_column_beside_its_twin_and_the_large_numbers_are_learnt_from(odd: Any) -> None:
    from serving.repository.manifest import Manifest

    assert Manifest.read(odd.serving / "1").metrics["auc"][0] > 0.8, "either alone gives 0.75, both 0.875"


def test_few_different_rows_are_dealt_one_by_one(tmp_path: Path, vouch: Any, run_pipeline: Any) -> None:
    """As titanic: by content the splits came out as 38 / 14 / 48 % with an AUC of 0.44; the gate stops that now."""
    rng = random.Random(1)
    path = tmp_path / "few.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["class", "age", "sex", "survived"])
        for _ in range(900):
            row = rng.choice(["1st", "2nd", "3rd", "3rd"]), rng.choice(["child", *["adult"] * 9]), rng.choice("mmf")
            yes = rng.random() < {"f": 0.75, "m": 0.2}[row[2]] + {"1st": 0.2, "2nd": 0, "3rd": -0.1}[row[0]]
            table.writerow([*row, ["no", "yes"][yes]])
    described = vouch(tmp_path / "var", "init", path, "--label", "survived", "--out", tmp_path / "config")
    assert "Only 12 different rows of features among 900: dealt one by one (split.by: row)" in described.stdout
    quick = ["model.epochs=3", "evaluation.thresholds={auc: 0.55}"]
    run = run_pipeline(tmp_path / "var", config=tmp_path / "config" / "few", sets=quick)
    assert run.returncode == 0, run.output
    kinds = {finding.kind for finding in run.verdicts["data"].findings}
    assert kinds.isdisjoint({"SPLIT_OFF_WEIGHTS", "CLASS_ABSENT", "CLASS_SHARE_DIFFERS"})
    stopped = run_pipeline(tmp_path / "var", config=tmp_path / "config" / "few", sets=["split.by=content", *quick])
    assert stopped.returncode == 4, stopped.output
    found: list[Finding] = [f for f in stopped.verdicts["data"].findings if f.kind == "SPLIT_OFF_WEIGHTS"]
    assert "set split.by: row" in found[0].sentence
