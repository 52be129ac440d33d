from __future__ import annotations

import csv
import re
import runpy
from pathlib import Path

import pytest

from config.load import load_settings
from config.reference import keys
from config.schema import check_schema, model_features, read_schema
from config.settings import Settings
from tests.support.paths import ROOT

DATA = ROOT / "data" / "breast_cancer"
TABLES = ("breast_cancer", "diabetes", "heart_disease", "iris")
SHIPPED = (*TABLES, "flowers")
FOLDER = ROOT / "config" / "breast_cancer"


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(FOLDER)


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes", "iris"])
def test_make_reproduces_the_checked_in_file(name: str) -> None:
    folder = ROOT / "data" / name
    assert runpy.run_path(str(folder / "make.py"))["make"]().encode() == (folder / f"{name}.csv").read_bytes()


def test_data_are_the_public_ones() -> None:
    with (DATA / "breast_cancer.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:2] == ["diagnosis", "radius_mean"]
    assert header[-1] == "fractal_dimension_worst"
    assert {"concave_points_mean", "concave_points_se", "concave_points_worst"} <= set(header)
    assert len(header) == 31
    assert [row[0] for row in rows].count("M") == 212
    assert len(rows) == 569
    assert rows[0][:5] == ["M", "17.99", "10.38", "122.8", "1001"]  # digits as in the source, no 1001.0
    assert max(len(cell) for row in rows for cell in row) <= 9


def test_settings_hold_the_numbers_of_the_recipe(settings: Settings) -> None:
    model, split = settings.model, settings.split
    assert (split.train + split.eval, split.test) == (80, 20)
    assert model.hidden_units == (256, 128, 64, 32)
    assert (model.activation, model.batch_normalization, model.dropout) == ("relu", True, 0.3)
    assert (model.optimizer, model.learning_rate) == ("adam", 1e-4)
    assert set(settings.evaluation.metrics) >= {"auc", "precision", "recall", "binary_accuracy", "example_count"}
    assert settings.evaluation.thresholds == {"auc": 0.9}
    assert settings.data.positive_class == "M"
    assert settings.data.source == FOLDER / "../../data/breast_cancer/breast_cancer.csv"
    assert settings.data.source.is_file()


def test_schema_fits_the_settings_and_the_data(settings: Settings) -> None:
    assert settings.schema_file is not None
    schema = read_schema(settings.schema_file)
    check_schema(schema, settings)
    features = model_features(schema, settings)
    header = (DATA / "breast_cancer.csv").read_text(encoding="utf-8").partition("\n")[0].split(",")
    assert [feature.name for feature in features] == header[1:]
    assert all(f.required and f.kind == "numeric" and f.dtype == "float" and f.minimum == 0.0 for f in features)


def test_every_feature_is_explained_to_people(settings: Settings) -> None:
    assert settings.schema_file is not None
    names = [feature.name for feature in model_features(read_schema(settings.schema_file), settings)]
    assert sorted(settings.features) == sorted(names)
    assert all(shown.name and shown.description and shown.group for shown in settings.features.values())
    assert {shown.group for shown in settings.features.values()} == {"Mean", "Standard error", "Worst"}


def test_every_class_has_a_name_for_people(settings: Settings) -> None:
    assert settings.class_names == {"B": "benign", "M": "malignant"}


@pytest.mark.parametrize("name", SHIPPED)
def test_comments_state_todays_ranges_and_defaults(name: str) -> None:
    given, described, section, comment = 0, keys(), "", ""
    written = (ROOT / "config" / name / "pipeline.yaml").read_text(encoding="utf-8")
    for line in written.partition("\nfeatures:")[0].splitlines():
        text = line.strip()
        if text.startswith("#"):
            comment += text[1:]
        elif key := re.match(r"( *)([a-z_0-9]+):", line):
            path = f"{section}.{key[2]}" if key[1] else key[2]
            section = section if key[1] else key[2]
            if path in described:
                given += 1
                assert f"[{described[path].range_and_default}]" in comment, path
            comment = ""
    assert given > 20


@pytest.mark.parametrize("name", TABLES)
def test_what_is_shipped_fits_its_schema_and_tells_its_licence(name: str) -> None:
    settings = load_settings(ROOT / "config" / name)
    assert settings.schema_file is not None
    check_schema(read_schema(settings.schema_file), settings)
    assert settings.card.citation
    assert "**Licence.**" in (Path(settings.data.source).parent / "README.md").read_text(encoding="utf-8")
    with Path(settings.data.source).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for column, shown in settings.features.items():
        if shown.values:
            assert {row[column] for row in rows} - {""} == set(shown.values), column


def test_heart_disease_has_the_rows_and_codes_of_its_source() -> None:
    with (ROOT / "data" / "heart_disease" / "heart_disease.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 303
    assert [row["num"] for row in rows].count("1") == 139
    assert ([row["ca"] for row in rows].count(""), [row["thal"] for row in rows].count("")) == (4, 2)
    first = "63,1,1,145,233,1,2,150,0,2.3,3,0,6,0"  # as UCI has it
    assert ",".join(rows[0].values()) == first
