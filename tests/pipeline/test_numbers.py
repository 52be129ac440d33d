"""A table with a number to predict, from `init` to a pushed version and a second run."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.repository.contents import Golden
from serving.repository.layout import TRAINING
from serving.repository.manifest import Manifest

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]  # two whole runs


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory, onboarded: Any) -> Any:
    chance = random.Random(3)
    path = tmp_path_factory.mktemp("homes") / "homes.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["area", "age", "town", "price"])
        for _ in range(900):
            area, age, town = chance.uniform(40, 200), chance.randrange(90), chance.choice("abc")
            price = 3000 * area - 800 * age + 40_000 * (town == "a") + chance.gauss(0, 20_000)
            table.writerow([f"{area:.1f}", age, town, f"{price:.2f}"])
    run = onboarded(path, "--label", "price", sets=["model.epochs=60"])
    assert run.returncode == 0, run.output
    return run


@pytest.fixture(scope="module")
def version(homes: Any) -> Path:
    return next((homes.var / "serving").glob("*/1"))


def test_it_is_pushed_with_bounds_and_intervals(homes: Any, version: Path) -> None:
    manifest = Manifest.read(version)
    assert set(manifest.metrics) >= {"rmse", "mae", "r2"}
    assert manifest.metrics["r2"][0] > 0.9
    kinds = {finding["kind"] for finding in manifest.verdicts["evaluation"].evidence}
    assert {"BETTER_THAN_CHANCE", "AS_GOOD_AS_PLAIN_MODELS"} <= kinds
    assert kinds & {"INTERVALS_HOLD", "INTERVALS_OFF"}
    assert "RMSE" in (next(homes.var.glob("pipeline/*/RunReport/report/*")) / "report.html").read_text("utf-8")


def test_each_signature_gives_value_and_bounds_in_the_unit_of_the_label(version: Path) -> None:
    from serving.server.core.servable import Servable, as_array

    golden, servable = Golden.read(version), Servable.load(version)
    for case in golden.cases:
        arrays = {name: as_array(v, servable.dtype(case.signature, name)) for name, v in case.inputs.items()}
        outputs = servable.run(case.signature, arrays)
        assert case.largest_difference(outputs) < 1e-6
        if case.signature == "serving_plain":
            assert set(outputs) == {"value", "inputs"}
            assert outputs["value"].shape == (len(golden.outputs["value"]), 3)
        else:
            assert set(outputs) == {"value", "lower", "upper"}
            assert (outputs["lower"] < outputs["value"]).all()
    servable.close()
    assert 50_000 < np.median(golden.outputs["value"]) < 700_000


def test_the_label_is_standardised_inside(version: Path) -> None:
    facts = json.loads((version / TRAINING).read_text("utf-8"))
    assert facts["label_deviation"] == pytest.approx(facts["labels"]["train"]["deviation"])
    assert facts["history"]["val_loss"][-1] < 1  # in standard deviations, squared
    assert facts["intervals"]["coverage"] == 0.9


def test_the_report_has_a_sheet_of_predictions(homes: Any) -> None:
    from openpyxl import load_workbook

    book = load_workbook(next(homes.var.glob("pipeline/*/RunReport/report/*/report.xlsx")))
    assert "Predictions" in book.sheetnames
    assert "Confusion" not in book.sheetnames


def test_an_equal_model_is_compared_and_blessed(homes: Any, run_pipeline: Any) -> None:
    again = run_pipeline(
        homes.var, config=homes.var.parent / "config" / "homes", sets=["model.epochs=60", "model.seed=7"]
    )
    assert again.returncode == 0, again.output
    kinds = {finding.kind for finding in again.verdicts["evaluation"].findings}
    assert "NOT_WORSE_THAN_BLESSED" in kinds
