"""What `init` writes of whole tables, how it deals and decides, and what it refuses."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from tensorflow_metadata.proto.v0 import schema_pb2

from common.errors import ConfigError, DataError
from config.load import load_settings
from config.onboard.init import onboard
from config.schema import model_features, read_schema
from tests.support.onboarding import CSV, ROWS, TEXT, Init, read, toy
from tests.support.paths import ROOT


def test_iris_has_everything_to_run(init: Init) -> None:
    iris = load_iris(as_frame=True).frame
    iris["target"] = load_iris().target_names[iris["target"]]
    result = init(iris, "target", name="iris")
    settings, schema = read(result)
    assert settings.name == "iris"
    assert settings.data.classes == ("setosa", "versicolor", "virginica")
    assert settings.data.positive is None
    assert Path(settings.data.source).samefile(result.config.parents[2] / "toy.csv")
    assert settings.split.test * 150 / 100 >= 30
    assert not settings.evaluation.thresholds, "none that does not follow from the data"
    assert settings.evaluation.when_plain_is_better == "refuse"
    assert settings.features["petal length (cm)"].unit == "cm"
    assert schema["target"].type == schema_pb2.BYTES
    assert tuple(schema["target"].string_domain.value) == settings.data.classes
    features = model_features(read_schema(result.schema), settings)
    assert [(f.dtype, f.required) for f in features] == [("float", True)] * 4


def test_breast_cancer_comes_out_as_the_curated_one(tmp_path: Path) -> None:
    result = onboard(CSV, label="diagnosis", out=tmp_path)
    written, curated = load_settings(result.config), load_settings(ROOT / "config" / "breast_cancer")
    assert (written.name, written.data.classes, written.data.positive) == ("breast_cancer", ("B", "M"), "M")
    assert Path(written.data.source).samefile(curated.data.source)
    assert written.split == curated.split
    assert result.ignored == {}
    assert curated.schema_file is not None
    columns = [feature.name for feature in model_features(read_schema(result.schema), written)]
    assert columns == [feature.name for feature in model_features(read_schema(curated.schema_file), curated)]


def test_the_summary_says_what_was_guessed_and_what_is_next(init: Init) -> None:
    said = str(init(toy(ward=np.arange(ROWS) % 4 + 1, key=[f"k{i}" for i in range(ROWS)])))
    for part in (
        "200 rows, 2 features, classes: no 150, yes 50",
        "positive class: yes. Guessed",
        "left out: key. 200",
        "ward (1, 2, 3, 4)",
        "pipeline.yaml",
        "next: local_runner.py run ",
    ):
        assert part in said


def test_groups_stay_together(init: Init) -> None:
    result = init(toy(person=[f"p{i // 4}" for i in range(ROWS)]), group_by="person")
    settings, schema = read(result)
    assert settings.split.group_by == "person"
    assert schema["person"].type == schema_pb2.BYTES
    assert result.features == ("x",)


def test_few_different_rows_are_dealt_one_by_one_and_it_is_said(init: Init) -> None:
    few = {"x": np.arange(ROWS) % 3, "sex": ["m", "f"] * (ROWS // 2)}
    result = init(toy(**few))
    assert read(result)[0].split.by == "row"
    assert "Only 6 different rows of features among 200: dealt one by one" in str(result)
    assert "Only 6 different rows" in result.config.read_text(encoding="utf-8")
    grouped = init(toy(**few, person=[f"p{i // 4}" for i in range(ROWS)]), group_by="person", force=True)
    assert read(grouped)[0].split.by == "content"
    assert read(init(toy(sex=few["sex"]), force=True))[0].split.by == "content"


def test_a_time_tests_on_the_latest(init: Init) -> None:
    days = [f"2026-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(ROWS)]
    result = init(toy(day=days), time="day")
    settings, schema = read(result)
    assert (settings.split.by, settings.split.time) == ("time", "day")
    assert schema["day"].type == schema_pb2.BYTES
    assert result.features == ("x",)
    with pytest.raises(ConfigError, match="parts them"):
        init(toy(day=days, g=[f"p{i // 4}" for i in range(ROWS)]), time="day", group_by="g", force=True)
    with pytest.raises(DataError, match="does not say of each row when it was"):
        init(toy(day=[*days[:-1], None]), time="day", force=True)


@pytest.mark.parametrize(
    ("rows", "share", "least_rows"), [(60, 0.5, 20), (150, 0.5, 40), (1000, 0.05, 150), (5000, 0.5, 900)]
)
def test_the_test_split_and_the_operating_point_suit_the_rows(
    init: Init, rows: int, share: float, least_rows: int
) -> None:
    table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=rows), "y": np.arange(rows) < share * rows})
    settings, _ = read(init(table))
    assert settings.split.test * rows / 100 >= least_rows
    assert settings.operating_point.objective == ("f1" if share < 0.2 else "accuracy")


def test_the_objective_may_be_told_where_there_is_a_threshold(init: Init) -> None:
    settings, _ = read(init(toy(), objective="recall_at_least"))
    assert (settings.operating_point.objective, settings.operating_point.at_least) == ("recall_at_least", 0.95)
    with pytest.raises(ConfigError, match="no decision threshold is chosen"):
        init(toy(y=["a", "b", "c", "d"] * 50), objective="f1", name="four")


def test_the_name_comes_from_the_file(init: Init, tmp_path: Path) -> None:
    assert init(toy()).name == "toy"
    (tmp_path / "2024 Größe-final.csv").write_text(toy().to_csv(index=False), encoding="utf-8")
    assert onboard(tmp_path / "2024 Größe-final.csv", label="y", out=tmp_path).name == "m_2024_gr_e_final"


def test_nothing_is_overwritten_unless_forced(init: Init) -> None:
    result = init(toy())
    result.config.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="refusing to overwrite"):
        init(toy())
    assert result.config.read_text(encoding="utf-8") == "mine"
    init(toy(), force=True)
    assert load_settings(result.config).name == "toy"


@pytest.mark.parametrize(
    ("table", "options", "told"),
    [
        pytest.param(toy(), {"label": "Y "}, "did you mean --label 'y'", id="label nearly"),
        pytest.param(toy(), {"label": "diagnosis"}, "wanted: x, y", id="no label"),
        pytest.param(toy(), {"ids": ["idd"]}, "no column 'idd'", id="no id"),
        pytest.param(toy(), {"group_by": "person"}, "no column 'person'", id="no group"),
        pytest.param(toy(g=["a", "b"] * 100), {"group_by": "g"}, "cannot part the rows", id="two groups"),
        pytest.param(toy(), {"ids": ["y"]}, "is the label and cannot", id="label as id"),
        pytest.param(toy(), {"positive": "Yes"}, "did you mean 'yes'", id="positive nearly"),
        pytest.param(toy(y=["a", "b", "c", "d"] * 50), {"positive": "a"}, "two classes only", id="positive of four"),
        pytest.param(toy(), {"name": "My Model"}, "--name my_model", id="name"),
        pytest.param(toy(y=np.arange(ROWS)), {"task": "classification"}, "too many classes", id="integers as classes"),
        pytest.param(toy(y=np.arange(ROWS)), {"positive": "1"}, "--positive is for classes", id="positive number"),
        pytest.param(toy(), {"task": "regression"}, "'y' does not hold numbers", id="classes as numbers"),
        pytest.param(toy(y=[1.5] * ROWS), {"task": "regression"}, "the same number", id="one number"),
        pytest.param(toy(y=[f"c{i % 60}" for i in range(ROWS)]), {}, "too many classes", id="sixty classes"),
        pytest.param(toy(y=["a"] * ROWS), {}, "every row has the same label", id="one class"),
        pytest.param(toy(y=["a"] * 197 + ["b"] * 3), {}, "'b': 3", id="rare class"),
        pytest.param(toy(z=["1", "2", "no", "4"] * 50), {}, "also a class", id="class among numbers"),
        pytest.param(toy()[["y"]], {}, "no column to learn from", id="label alone"),
        pytest.param(toy(x=range(ROWS)), {}, "Counts the rows", id="nothing but an id"),
        pytest.param(toy().head(30), {}, "too few rows", id="thirty rows"),
        pytest.param("", {}, "is empty", id="empty"),
        pytest.param("\n\n", {}, "is empty", id="blank"),
        pytest.param("x,y\n", {}, "no rows", id="header only"),
        pytest.param("x,x,y\n" + "1,2,a\n1,2,b\n" * 50, {}, "stands 2 times", id="column twice"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 50 + "3,a,9\n", {}, "toy.csv:102: .*\n.*got: 3 values", id="ragged"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 50 + "3\n", {}, "toy.csv:102: .*\n.*got: 1 values", id="short row"),
        pytest.param("x y\n" + "1 a\n2 b\n" * 50, {}, "only blanks part the columns", id="blanks"),
        pytest.param(b"PK\x03\x04...", {}, "no Excel workbook.*\n.*\n.*\n.*'CSV UTF-8'", id="workbook"),
        pytest.param(b"PAR1...", {}, "cannot be read as Parquet", id="torn parquet"),
        pytest.param(gzip.compress(TEXT.encode())[:-9], {}, "the gzip file is damaged", id="torn gzip"),
        pytest.param("1.5,a\n2.5,b\n" * 50, {}, "has no column 'y'", id="no header"),
        pytest.param(
            b"x,y\n1,a\n2,caf\xe9\n", {}, "toy.csv:3: column 'y' is not UTF-8.*\n.*0xe9.*\n.*\n.*iconv", id="latin"
        ),
        pytest.param(b"x,y\n" + b"1,a\n" * 300_000 + b"2,\xe9\n", {}, "toy.csv:300002: column", id="latin, far down"),
    ],
)
def test_what_cannot_be_learned_is_refused(init: Init, table: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises((DataError, ConfigError), match=told):
        init(table, **options)


def test_onboarding_needs_no_tensorflow() -> None:
    code = (
        "import sys, config.onboard.init; sys.exit(any(m in sys.modules for m in ('tensorflow', 'tfx', 'apache_beam')))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=True)


def test_what_cannot_be_read_again_is_not_written(init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError("the two files do not fit")

    monkeypatch.setattr("config.onboard.init.check_schema", refuse)
    before = {path for path in tmp_path.rglob("*") if path.suffix in (".yaml", ".pbtxt")}
    with pytest.raises(ConfigError, match="do not fit"):
        init(toy())
    assert {path for path in tmp_path.rglob("*") if path.suffix in (".yaml", ".pbtxt")} == before
    assert not list(tmp_path.rglob(".init-*"))
