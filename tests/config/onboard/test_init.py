from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.datasets import load_iris
from tensorflow_metadata.proto.v0 import schema_pb2

from common.errors import ConfigError, DataError
from components.data_gate.checks.ids_constants import id_features
from components.examples.blocks import Block, read_request
from components.examples.sources import open_source
from config.load import load_settings
from config.onboard.init import Wishes, onboard
from config.onboard.result import OnboardResult
from config.schema import model_features, read_schema
from config.settings import Settings
from tests.support.paths import ROOT

CSV = ROOT / "data" / "breast_cancer" / "breast_cancer.csv"
ROWS = 200
BOTH_DATES = {"born": "date", "visit": "date"}
Init = Callable[..., OnboardResult]


@pytest.fixture
def init(tmp_path: Path) -> Init:
    """Write a table (or text, or bytes) as CSV and onboard it."""

    def run(table: pd.DataFrame | str | bytes, label: str = "y", sep: str = ",", **options: Any) -> OnboardResult:
        file = tmp_path / "toy.csv"
        if isinstance(table, pd.DataFrame):
            table.to_csv(file, index=False, sep=sep)
        else:
            file.write_bytes(table if isinstance(table, bytes) else table.encode())
        rest = {key: options.pop(key) for key in ("name", "force") if key in options}
        options["roles"] = dict.fromkeys(options.pop("ids", ()), "id") | options.get("roles", {})
        return onboard(file, label=label, wishes=Wishes(**options), out=tmp_path / "config", **rest)

    return run


def toy(**columns: Sequence[Any]) -> pd.DataFrame:
    """Return 200 rows with a number `x`, a label `y` and what else is given."""
    random = np.random.default_rng(0)
    return pd.DataFrame({"x": random.normal(size=ROWS).round(3), "y": ["no", "no", "yes", "no"] * 50, **columns})


def blocks_of(result: OnboardResult) -> Iterator[Block]:
    """Read the source as ExampleGen does, by the files that were written."""
    settings = load_settings(result.config)
    request = read_request(settings, read_schema(result.schema))
    return open_source([settings.data.source], "", request).blocks()


def read_as_examples(result: OnboardResult) -> pa.Table:
    return pa.Table.from_batches([block.batch for block in blocks_of(result)])


def read(result: OnboardResult) -> tuple[Settings, dict[str, schema_pb2.Feature]]:
    schema = read_schema(result.schema)
    return load_settings(result.config), {feature.name: feature for feature in schema.feature}


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


@pytest.mark.parametrize("ends", [("", ""), (",", ""), (",", ",")], ids=["none", "header only", "everywhere"])
def test_kaggles_copy_with_an_id_and_a_trailing_column_works(init: Init, ends: tuple[str, str]) -> None:
    header, *rows = CSV.read_text(encoding="utf-8").splitlines()
    lines = [f"id,{header}{ends[0]}", *(f"{842302 + 7 * i},{row}{ends[1]}" for i, row in enumerate(rows))]
    result = init("\n".join(lines) + "\n", "diagnosis")
    assert len(result.features) == 30
    assert set(result.ignored) == ({"id", ""} if ends[1] else {"id"})
    assert read_as_examples(result).num_rows == 569


def test_an_index_written_by_pandas_is_left_out(init: Init) -> None:
    result = init(toy().to_csv())
    assert result.ignored == {"": "Columns without a name."}
    assert read_as_examples(result).column_names == ["x", "y"]


TEXT = "x,y\n" + "".join(f"{i % 7}.5,{'ab'[i % 2]}\n" for i in range(ROWS))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"sep=;\r\n" + TEXT.replace(",", ";").encode(), id="excel-s-line"),
        pytest.param(b"# of 2024\n" + TEXT.encode(), id="comment"),
        pytest.param(TEXT.replace("\n", "\r").encode(), id="lone-carriage-returns"),
        pytest.param(TEXT.replace(",", "\t").encode("utf-16"), id="utf-16"),
        pytest.param(gzip.compress(TEXT.encode()), id="gzip"),
    ],
)
def test_csv_of_all_kinds_is_understood_and_then_read_as_examples(init: Init, content: bytes) -> None:
    result = init(content)
    assert (result.rows, dict(result.classes), result.features) == (ROWS, {"a": 100, "b": 100}, ("x",))
    assert read_as_examples(result).slice(0, 2).to_pydict() == {"x": [0.5, 1.5], "y": ["a", "b"]}


def test_parquet_is_read_by_its_own_types(tmp_path: Path) -> None:
    path = tmp_path / "toy.parquet"
    table = toy(
        count=np.arange(ROWS) % 37,
        dose=[1.0, 2.0, None, 4.0] * 50,
        colour=pd.Categorical(["red", "green", "blue", None] * 50),
        day=pd.date_range("2024-01-01", periods=ROWS),
        parts=[[1, 2]] * ROWS,
        y=[0.0, 1.0] * 100,
    )
    table.to_parquet(path)
    result = onboard(path, label="y", out=tmp_path / "config")
    settings, schema = read(result)
    assert (settings.data.format, settings.data.classes) == ("parquet", ("0", "1"))
    assert list(result.ignored) == ["day", "parts"]
    types = {name: schema_pb2.FeatureType.Name(feature.type) for name, feature in schema.items()}
    assert types == {"y": "BYTES", "x": "FLOAT", "count": "INT", "dose": "FLOAT", "colour": "BYTES"}
    read_back = read_as_examples(result).slice(0, 4).to_pydict()
    assert (read_back["dose"], read_back["y"]) == ([1.0, 2.0, None, 4.0], ["0", "1", "0", "1"])


def test_types_follow_the_values(init: Init) -> None:
    table = toy(
        count=np.arange(ROWS) % 37,
        size=np.linspace(0, 1, ROWS).round(3),
        colour=["red", "green", "blue", "red"] * 50,
        smoker=[True, False] * 100,
        zip=[f"0{2100 + i % 40}" for i in range(ROWS)],
    )
    result = init(table)
    settings, schema = read(result)
    types = {name: schema_pb2.FeatureType.Name(feature.type) for name, feature in schema.items()}
    texts = dict.fromkeys(("y", "colour", "smoker", "zip"), "BYTES")
    assert types == {"x": "FLOAT", "count": "INT", "size": "FLOAT", **texts}
    assert list(schema["colour"].string_domain.value) == ["blue", "green", "red"]
    assert list(schema["smoker"].string_domain.value) == ["False", "True"]
    assert "02100" in schema["zip"].string_domain.value
    assert settings.data.ignore == ()
    assert not schema["count"].HasField("int_domain")
    first = read_as_examples(result).slice(0, 1).to_pylist()[0]
    assert (first["zip"], first["smoker"], first["count"]) == ("02100", "True", 0)


def test_ranges_stand_in_comments_only(init: Init) -> None:
    result = init(toy(count=np.arange(ROWS) % 37))
    assert '# Observed: 0 to 36.\nfeature {\n  name: "count"' in result.schema.read_text(encoding="utf-8")


def test_missing_values_make_a_column_optional(init: Init) -> None:
    random = np.random.default_rng(1)
    number = pd.Series(random.normal(size=ROWS).round(3)).mask(random.random(ROWS) < 0.3)
    rare = pd.Series(["a", "b"] * 100).mask(random.random(ROWS) < 0.97)
    result = init(toy(number=number, rare=rare))
    settings, schema = read(result)
    assert 0.3 < schema["number"].presence.min_fraction < 0.6
    assert schema["number"].presence.min_count == 1
    assert not schema["number"].HasField("shape")
    assert (schema["rare"].presence.min_fraction, schema["rare"].presence.min_count) == (0, 0)
    assert schema["x"].HasField("shape")
    assert schema["x"].presence.min_fraction == 1.0
    features = {
        feature.name: feature for feature in model_features(read_schema(settings.schema_file or Path()), settings)
    }
    assert not features["number"].required
    assert read_as_examples(result)["number"].null_count == number.isna().sum()


def test_texts_among_numbers_are_taken_for_missing(init: Init) -> None:
    result = init(toy(number=["12", "-", " 7.5", "unknown", "3"] * 40))
    settings, schema = read(result)
    assert schema["number"].type == schema_pb2.FLOAT
    assert {"-", "unknown", "", "NA"} <= set(settings.data.null_values)
    assert read_as_examples(result)["number"].to_pylist()[:5] == [12, None, 7.5, None, 3]


def test_a_class_called_none_is_not_missing(init: Init) -> None:
    result = init(toy(y=["None", "Apnea", "Insomnia", "None"] * 50))
    settings, _ = read(result)
    assert settings.data.classes == ("Apnea", "Insomnia", "None")
    assert "None" in settings.data.null_values, "in the other columns it does"
    assert read_as_examples(result)["y"].null_count == 0


@pytest.mark.parametrize(
    ("labels", "classes", "settings", "told"),
    [
        pytest.param(
            ["a", "b", "B", "b"] * 50,
            {"a": 50, "b": 150},
            {"label_map": {"B": "b"}},
            "'B' (50 rows) as 'b'",
            id="capitals",
        ),
        pytest.param(
            ["a", "b", None, "b"] * 50,
            {"a": 50, "b": 100},
            {"drop_unlabelled": True},
            "50 rows hold nothing for 'y' (line 4)",
            id="no label",
        ),
        pytest.param(
            ["a", "b"] * 97 + ["c", "c", "d", "d", "e", "e"],
            {"a": 97, "b": 97, "other": 6},
            {"merge_rare_classes": "other"},
            "'c': 2, 'd': 2, 'e': 2",
            id="rare classes",
        ),
    ],
)
def test_labels_are_cleaned_by_settings_that_say_why(
    init: Init, labels: list[Any], classes: dict[str, int], settings: dict[str, Any], told: str
) -> None:
    result = init(toy(y=labels))
    data = load_settings(result.config).data
    assert (dict(result.classes), data.classes) == (classes, tuple(classes))
    assert {key: getattr(data, key) for key in settings} == settings
    assert told in str(result)
    rows = [block.labelled(read_request(load_settings(result.config), None)).batch for block in blocks_of(result)]
    counted = pd.Series(pa.Table.from_batches(rows)["y"].to_pylist()).value_counts()
    assert counted.to_dict() == classes


def test_labels_are_merged_as_told(init: Init) -> None:
    result = init(toy(y=["0", "1", "2", "3"] * 50), label_map={"0": "no", "1": "yes", "2": "yes", "3": "yes"})
    settings, _ = read(result)
    assert (settings.data.classes, settings.data.positive) == (("no", "yes"), "yes")
    assert settings.data.label_map == {"0": "no", "1": "yes", "2": "yes", "3": "yes"}
    with pytest.raises(ConfigError, match="did you mean '1'"):
        init(toy(y=["0", "1"] * 100), label_map={"1.": "yes"}, force=True)


def test_categories_that_differ_by_capitals_are_written_as_the_commonest(init: Init) -> None:
    result = init(toy(sex=["male", "female", "Male", "male"] * 50, gene=["a", "A"] * 100))
    settings, schema = read(result)
    assert settings.data.spellings == {"sex": {"Male": "male"}}
    assert list(schema["sex"].string_domain.value) == ["female", "male"]
    assert list(schema["gene"].string_domain.value) == ["A", "a"]
    assert "'sex': 'Male', 50 rows, is read as 'male'" in str(result)
    assert read_as_examples(result)["sex"].to_pylist()[:4] == ["male", "female", "male", "male"]


def test_quantities_of_a_small_table_are_no_ids_but_pointed_at(init: Init) -> None:
    votes = np.random.default_rng(5).permutation(90_000)[:58]
    result = init(toy().head(58).assign(votes=votes))
    assert result.features == ("x", "votes")
    assert "'votes' differs in every row" in str(result)


def test_a_group_is_proposed_where_ids_come_back(init: Init) -> None:
    result = init(toy(ID=[f"p{i % 190}" for i in range(ROWS)]))
    assert "10 of 200 rows repeat one" in result.ignored["ID"]
    assert "--group-by ID" in result.ignored["ID"]


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        pytest.param("first", [f"n{i % 40}" for i in range(ROWS)], "who somebody is", id="first names"),
        pytest.param("Last Name", [f"n{i % 40}" for i in range(ROWS)], "--drop 'Last Name'", id="last names"),
        pytest.param("Comments", [f"not seen in nest {i % 9}" for i in range(ROWS)], "holds sentences", id="sentences"),
        pytest.param("brand name", ["a", "b"] * 100, "", id="names of things"),
    ],
)
def test_people_and_sentences_are_pointed_at(init: Init, column: str, values: list[str], told: str) -> None:
    result = init(toy(**{column: values}))
    assert column in result.features
    assert (told in str(result)) if told else ("look at" not in str(result))


def test_what_is_told_of_a_column_holds_against_every_guess(init: Init) -> None:
    table = toy(
        number=range(1000, 1000 + ROWS),
        size=np.linspace(0, 1, ROWS).round(3),
        ward=np.arange(ROWS) % 4 + 1,
        note=[f"word {i}" for i in range(ROWS)],
    )
    roles = {"number": "feature", "size": "drop", "ward": "category", "note": "text"}
    settings, schema = read(init(table, roles=roles))
    assert settings.data.ignore == ("size",)
    assert settings.categorical == ("ward",)
    assert {name: feature.type for name, feature in schema.items() if name not in "xy"} == {
        "number": schema_pb2.INT,
        "ward": schema_pb2.INT,
        "note": schema_pb2.BYTES,
    }
    assert not schema["note"].string_domain.value


def test_dates_that_cannot_be_read_are_told_with_their_line(init: Init) -> None:
    days = ["2026-01-31", "31.02.2026", *["2026-02-01", "2026-02-03"] * 99]
    with pytest.raises(DataError, match=r"'31\.02\.2026' \(line 3\)"):
        init(toy(day=days), roles={"day": "date"})


def test_years_of_two_digits_are_read_and_told(init: Init) -> None:
    days = [f"{n % 28 + 1:02d}.{n % 12 + 1:02d}.{n % 40 + 50}" for n in range(ROWS)]
    result = init(toy(born=days, visit=[f"{n % 12 + 1}/{n % 9 + 1}/20" for n in range(ROWS)]), roles=BOTH_DATES)
    assert load_settings(result.config).dates == {"born": "dmy", "visit": "mdy"}
    text = " ".join(result.config.read_text(encoding="utf-8").replace("#", " ").split())
    for part in (
        "'born' has years of two digits: 69 to 99 are 1969 to 1999, 00 to 68 are 2000 to 2068.",
        "'visit' is read as 11/30/2026 is: no day is beyond the twelfth, so it may be otherwise.",
    ):
        assert part in str(result)
        assert part in text


def test_years_of_two_digits_in_front_are_not_taken_for_days(init: Init) -> None:
    days = [f"24-{n % 2 + 3:02d}-{n % 28 + 1:02d}" for n in range(ROWS)]
    with pytest.raises(DataError, match="where the year comes first, with four digits"):
        init(toy(day=days), roles={"day": "date"})


def test_a_workbook_is_read_as_its_first_sheet(init: Init, tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    table = toy(count=np.arange(ROWS) % 37, day=pd.date_range("2024-01-01", periods=ROWS), zip=["00501", "02139"] * 100)
    table.to_excel(path, index=False)
    result = onboard(path, label="y", out=tmp_path / "config")
    assert (result.features, [*result.ignored]) == (("x", "count", "zip"), ["day"])
    rows = read_as_examples(result)
    assert rows.slice(0, 2).to_pydict() == {
        "x": pytest.approx(table["x"][:2].tolist()),
        "y": ["no", "no"],
        "count": [0, 1],
        "zip": ["00501", "02139"],
    }


def test_useless_columns_are_ignored_with_the_reason(init: Init) -> None:
    random = np.random.default_rng(2)
    table = toy(
        patient_id=[f"P{i:05d}" for i in range(ROWS)],
        number=range(1000, 1000 + ROWS),
        account=random.permutation(10**6)[:ROWS],
        visitID=np.arange(ROWS) % 50,
        hospital=["Madison"] * ROWS,
        empty=[None] * ROWS,
        seen=pd.date_range("2020-01-01", periods=ROWS).strftime("%Y-%m-%d"),
        day=pd.date_range("2020-01-01", periods=ROWS).strftime("%Y%m%d"),
        price=[f"${i % 90},000.50" for i in range(ROWS)],
        note=[f"the patient number {i} has been well since" for i in range(ROWS)],
        street=[f"street {i % 150}" for i in range(ROWS)],
    )
    result = init(table)
    assert result.features == ("x",)
    said = {column: why.lower() for column, why in result.ignored.items()}
    expected = {
        "patient_id": "an id",
        "number": "counts the rows",
        "account": "like an id",
        "visitID": "split.group_by",
        "hospital": "always the same",
        "empty": "no row has a value",
        "seen": "dates",
        "day": "dates written in one, in the order of the rows",
        "price": "signs",
        "note": "free text",
        "street": "distinct values",
    }
    assert {column: word for column, word in expected.items() if word not in said[column]} == {}
    text = result.config.read_text(encoding="utf-8")
    for column, why in result.ignored.items():
        assert f"    # {why}"[:100] in text
        assert f"    - {column}\n" in text


def quantities(rows: int) -> dict[str, Any]:
    """Return whole numbers that all differ, and yet tell how much."""
    random = np.random.default_rng(4)
    return {
        "price": random.choice(np.unique(random.lognormal(12, 1, 2 * rows).astype(int)), rows, replace=False),
        "grams": random.choice(np.unique(random.normal(7e7, 9e6, 2 * rows).astype(int)), rows, replace=False),
        "day": [int(f"{2000 + n % 22}{n % 11 + 1:02d}{n % 27 + 1:02d}") for n in random.permutation(rows) % 150],
    }


@pytest.mark.parametrize("rows", [ROWS, 5000])
def test_whole_numbers_that_all_differ_are_quantities_unless_they_name_the_rows(init: Init, rows: int) -> None:
    random = np.random.default_rng(3)
    table = pd.DataFrame(
        quantities(rows)
        | {
            "booking": random.integers(10**8, 10**9, rows),
            "admission": np.cumsum(random.integers(1, 10**6, rows)),
            "case": random.permutation(rows) + 1,
            "y": ["yes" if n % 4 == 0 else "no" for n in range(rows)],
        }
    )
    result = init(table)
    assert result.features == ("price", "grams", "day")
    assert {column: why.partition("--")[0] for column, why in result.ignored.items()} == {
        "booking": f"{rows} distinct values in {rows} rows, spread evenly over their range, like an id. If it is a "
        "quantity: ",
        "admission": f"Whole numbers in the order of the rows, {rows} distinct ones in {rows} rows, like an id. If it "
        "is a quantity: ",
        "case": "Counts the rows.",
    }
    said = str(result)
    assert "'price' differs in every row; it is read as a quantity. If it names the row, --id price" in said
    assert "'day' reads as dates written in one (20" in said
    sample = {name: pa.array(table[name]) for name in result.features}
    assert {finding.kind for finding in id_features(sample, 0.99, {})} <= {"POSSIBLE_ID"}


def test_what_looks_like_an_id_and_is_said_to_be_none_passes_the_data_gate(init: Init) -> None:
    result = init(
        toy(number=np.arange(ROWS) * 7, key=[f"k{i}" for i in range(ROWS)]),
        roles={"number": "feature", "key": "feature"},
    )
    gate = load_settings(result.config).data_gate
    assert gate.severity == {"ID_FEATURE:number": "ignore", "ID_FEATURE:key": "ignore"}
    assert gate.severity_of("ID_FEATURE", "number") == "info"
    assert gate.severity_of("ID_FEATURE") == "error"


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


def test_ids_are_taken_at_their_word(init: Init) -> None:
    result = init(toy(count=np.arange(ROWS) % 37), ids=["x"])
    assert result.ignored == {"x": "Given as an id."}
    assert result.features == ("count",)


def test_an_index_of_body_mass_is_no_id(init: Init) -> None:
    assert "bmi_index" in init(toy(bmi_index=np.linspace(18, 40, ROWS).round(4))).features


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


def test_integers_that_may_be_codes_are_pointed_out(init: Init) -> None:
    result = init(toy(ward=np.arange(ROWS) % 4 + 1, flag=np.arange(ROWS) % 2))
    text = result.config.read_text(encoding="utf-8")
    assert "# ward (1, 2, 3, 4)" in text
    assert "# flag (" not in text
    assert load_settings(result.config).categorical == ()


@pytest.mark.parametrize(
    ("classes", "positive"),
    [
        pytest.param(["B", "M", "B", "M"], "M", id="M and B"),
        pytest.param(["F", "M", "M", "M"], "F", id="M and F is no diagnosis: the rarer"),
        pytest.param(["no", "yes", "yes", "yes"], "yes", id="yes though commoner"),
        pytest.param(["True", "False", "True", "True"], "True", id="true"),
        pytest.param([0, 1, 1, 1], "1", id="one"),
        pytest.param([1, 2, 2, 2], "2", id="one and two"),
        pytest.param(["Positive", "negative", "Positive", "negative"], "Positive", id="positive"),
        pytest.param(["left", "right", "right", "right"], "left", id="rarer"),
        pytest.param(["left", "right", "left", "right"], "right", id="equal: the last"),
    ],
)
def test_the_positive_class_is_guessed_and_the_guess_explained(init: Init, classes: list[Any], positive: str) -> None:
    result = init(toy(y=classes * 50))
    assert result.positive == positive
    assert load_settings(result.config).data.positive == positive
    assert "# Guessed: " in result.config.read_text(encoding="utf-8")


def test_the_positive_class_can_be_given(init: Init) -> None:
    result = init(toy(), positive="no")
    assert load_settings(result.config).data.positive_class == "no"
    assert "Guessed" not in result.config.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        pytest.param([0, 1], ("0", "1"), id="integers"),
        pytest.param(["10", "9"], ("9", "10"), id="in the order of numbers"),
        pytest.param(["0.0", "1.0"], ("0.0", "1.0"), id="floats as written"),
        pytest.param(["no", "yes"], ("no", "yes"), id="Norway"),
        pytest.param([">50K", "<=50K"], ("<=50K", ">50K"), id="signs"),
        pytest.param(["a, b", "c: #d"], ("a, b", "c: #d"), id="YAML signs"),
        pytest.param(["gänse", "日本"], ("gänse", "日本"), id="other letters"),
    ],
)
def test_classes_are_text_as_written(init: Init, labels: list[Any], classes: tuple[str, ...]) -> None:
    settings, schema = read(init(toy(y=labels * 100)))
    assert settings.data.classes == classes
    assert tuple(schema["y"].string_domain.value) == classes


@pytest.mark.parametrize("sep", [";", "\t", "|"])
def test_the_delimiter_is_found(init: Init, sep: str) -> None:
    assert load_settings(init(toy(colour=["a,b", "c"] * 100), sep=sep).config).data.delimiter == sep


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_marks_and_line_ends_do_not_matter(init: Init, newline: str, mark: bytes) -> None:
    text = toy().to_csv(index=False, lineterminator=newline)
    assert init(mark + text.encode(), label="y").features == ("x",)


def test_odd_column_names_survive(init: Init) -> None:
    names = {
        "a: b": [1.5, 2.5] * 100,
        "# c": [1.5, 2.5] * 100,
        "yes": [1.5, 2.5] * 100,
        'say "x"': [1.5, 2.5] * 100,
        "new\nline": [1.5, 2.5] * 100,
    }
    result = init(toy(**names), name="odd")
    settings, schema = read(result)
    assert set(result.features) == {"x", *names}
    assert set(settings.features) == {"x", *names}
    assert set(schema) == {"x", "y", *names}


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


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*gone\.csv"):
        onboard(tmp_path / "gone.csv", label="y", out=tmp_path)


def test_many_rows_are_all_read(init: Init) -> None:
    random = np.random.default_rng(0)
    rows = 200_000
    block = pd.DataFrame({f"x{i}": random.normal(size=1000).round(3) for i in range(10)} | {"y": ["a", "b"] * 500})
    text = block.to_csv(index=False, header=False) * (rows // 1000)
    content = ",".join(block.columns) + "\n" + text
    assert init(content).rows == rows


def test_onboarding_needs_no_tensorflow() -> None:
    code = (
        "import sys, config.onboard.init; sys.exit(any(m in sys.modules for m in ('tensorflow', 'tfx', 'apache_beam')))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=True)


def test_a_number_that_no_run_could_read_is_told(init: Init) -> None:
    with pytest.raises(DataError, match="beyond what a 32-bit float can"):
        init(toy(z=[1e308, *range(ROWS - 1)]))


def test_a_number_to_predict_is_seen_and_described(init: Init) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=ROWS).round(3), "price": (rng.gamma(2, 1000, ROWS)).round(2)})
    result = init(table, label="price")
    settings = load_settings(result.config)
    assert (settings.data.task, settings.data.classes) == ("regression", ())
    assert settings.evaluation.metrics == ("rmse", "mae", "r2", "example_count")
    assert settings.evaluation.change_metric == "r2"
    label = next(f for f in read_schema(result.schema).feature if f.name == "price")
    assert label.type == schema_pb2.FLOAT
    assert "a number to predict" in str(result)


def test_few_whole_numbers_are_classes_unless_told_otherwise(init: Init) -> None:
    table = toy(y=np.arange(ROWS) % 5)
    assert len(load_settings(init(table).config).data.classes) == 5
    assert load_settings(init(table, task="regression", force=True).config).data.is_regression


def test_rows_without_a_number_are_left_out_and_told(init: Init) -> None:
    numbers = [f"{i / 7:.2f}" if i % 20 else "n/a" for i in range(ROWS)]
    result = init(toy(y=numbers), task="regression")
    settings = load_settings(result.config)
    assert settings.data.drop_unlabelled
    assert "n/a" in settings.data.null_values
    assert f"{ROWS // 20} rows hold no number" in str(result)


def test_what_cannot_be_read_again_is_not_written(init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError("the two files do not fit")

    monkeypatch.setattr("config.onboard.init.check_schema", refuse)
    before = {path for path in tmp_path.rglob("*") if path.suffix in (".yaml", ".pbtxt")}
    with pytest.raises(ConfigError, match="do not fit"):
        init(toy())
    assert {path for path in tmp_path.rglob("*") if path.suffix in (".yaml", ".pbtxt")} == before
    assert not list(tmp_path.rglob(".init-*"))
