"""Small tables as people bring them, each with the one right reading: what `init` writes, and what a run then reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from common.errors import ConfigError, DataError
from components.examples.blocks import read_request
from components.examples.sources import open_source
from config.load import load_settings
from config.onboard.init import Wishes, onboard
from config.schema import read_schema

TABLES = Path(__file__).with_name("tables")
Types = Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """One table. `first` are the values of its first rows as a run reads them."""

    types: Types  # of the features
    first: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    label: str = "label"
    classes: tuple[str, ...] = ("no", "yes")
    data: Mapping[str, Any] = field(default_factory=dict)  # settings that stand in the YAML
    said: Sequence[str] = ()
    wishes: Wishes = field(default_factory=Wishes)
    positive: str | None = "yes"


FLOATS = {"age": "FLOAT", "bmi": "FLOAT"}
START = {"age": [48.8, 47.4], "bmi": [5.8, 4.61]}
CASES = {
    "big_offset": Case({"age": "FLOAT", "x": "FLOAT"}),
    "bigint20": Case(
        {"age": "FLOAT", "account": "BYTES"}, {"account": ["12345678901234567891", "98765432109876543210"]}
    ),
    "comment": Case(FLOATS, START),
    "cr_only": Case(FLOATS, START),
    "dash_missing": Case(
        FLOATS | {"smoker": "BYTES"},
        {"bmi": [None, 4.61, 5.21], "smoker": ["y", None, None, "y"]},
        said=["'-', 9 times among the numbers of 'bmi'"],
    ),
    "dates": Case(
        {"age": "FLOAT"},
        said=["--type when=date", "--type us=date", "--type text=date", "order of the rows", "--feature ts"],
    ),
    "decimal_comma": Case(FLOATS, START, data={"decimal": ",", "delimiter": ";"}, said=["'48,8' (line 2)"]),
    "excel_sep": Case(FLOATS, START, data={"delimiter": ";"}),
    "few_patterns": Case({"class": "BYTES", "sex": "BYTES"}, label="survived", said=["Only 6 different rows"]),
    "float_codes": Case(
        {"age": "FLOAT", "cp": "FLOAT"}, {"cp": [2, 3, None]}, said=["--type cp=category", "cp (1, 2, 3, 4)"]
    ),
    "label12": Case(
        FLOATS,
        {"label": ["2", "1"]},
        classes=("1", "2"),
        positive="2",
        said=["2 is the event as a rule", "--positive 1"],
    ),
    "label_blank_all": Case(FLOATS, START, data={"trim": True}, said=["'yes ' in 'label' (line 2)"]),
    "label_mixed_num": Case(
        FLOATS,
        {"label": ["1", "0"]},
        classes=("0", "1"),
        positive="1",
        data={"label_map": {"1.0": "1"}},
        said=["'1.0' (15 rows) as '1'"],
    ),
    "leak": Case({"age": "FLOAT", "copy": "BYTES"}, {"copy": ["A", "B"]}),
    "less_than": Case(
        {"age": "FLOAT", "crp": "BYTES"},
        {"crp": ["<0.3", "4.6"]},
        said=["'crp' is a number in 66 of 80 rows, but also '<0.3' (14 times), first in line 2", "--type crp=numeric"],
    ),
    "minus999": Case(
        FLOATS, {"bmi": [-999, 4.61]}, said=["'bmi' is -999 in 16 rows (line 2)", "1.39 to 10.13", "--null -999"]
    ),
    "mixed": Case(
        {"age": "FLOAT", "bp": "BYTES"}, {"bp": ["116 mmHg", "92"]}, said=["a number in 60 of 80 rows", "mmHg"]
    ),
    "n_a_words": Case(FLOATS, {"bmi": [None, 4.61]}, said=["'unknown', 3 times", "'na', 4 times", "'n/a', 1 times"]),
    "names_case": Case({"Age": "FLOAT", "age": "FLOAT", "AGE": "FLOAT"}, {"AGE": [54.6, 52.01], "age": [5.8, 4.61]}),
    "percent": Case(
        {"age": "FLOAT", "share": "FLOAT"}, {"share": [58, 46.1]}, data={"percent": True}, said=["'58.0%'"]
    ),
    "self_column": Case({"age": "FLOAT", "self": "BYTES"}, {"self": ["no", "no"]}),
    "spaced": Case(
        {"age": "FLOAT", "job": "BYTES", "pay": "INT"},
        {"job": [None, None, None, "cook"], "pay": [5800, 4610], "label": ["yes", "no"]},
        data={"trim": True},
        said=["Blanks stand around 240 values, such as ' ?' in 'job' (line 2)"],
    ),
    "thousands": Case(
        {"age": "FLOAT", "income": "INT"},
        {"income": [60219, 58491]},
        data={"thousands": ","},
        said=["'60,219' (line 2)"],
    ),
    "unicode": Case(
        {"Größe (cm)": "FLOAT", "体重": "FLOAT", "температура/°C": "BYTES"},
        {"体重": [5.8, 4.61], "температура/°C": ["низкая", "низкая"]},
        classes=("да", "нет"),
        positive="да",
    ),
    "utf16": Case(FLOATS, START),
    "vocab_clash": Case({"job type": "BYTES", "job-type": "BYTES", "age": "FLOAT"}, {"job-type": ["hi", "lo"]}),
    "yyyymmdd": Case(
        {"age": "FLOAT", "day": "INT"}, {"day": [20200101, 20200102]}, said=["dates written in one", "--type day=date"]
    ),
    "zip": Case({"age": "FLOAT", "zip": "BYTES"}, {"zip": ["10001", "02139"]}),
}
TOLD = {
    "label_NA-class": Case(
        FLOATS,
        {"region": ["NA", "AS"]},
        label="region",
        classes=("AS", "EU", "NA"),
        positive=None,
        wishes=Wishes(classes=["NA"]),
    ),
    "float_codes-category": Case(
        {"age": "FLOAT", "cp": "INT"}, {"cp": [2, 3, None, 2]}, wishes=Wishes(roles={"cp": "category"})
    ),
    "less_than-numeric": Case(
        {"age": "FLOAT", "crp": "FLOAT"},
        {"crp": [None, 4.6]},
        wishes=Wishes(roles={"crp": "numeric"}),
        said=["'<0.3', 14 times among the numbers of 'crp'"],
    ),
    "minus999-null": Case(FLOATS, {"bmi": [None, 4.61]}, wishes=Wishes(nulls=["-999"]), said=["as given: '-999'"]),
    "mixed-numeric": Case({"age": "FLOAT", "bp": "INT"}, {"bp": [None, 92]}, wishes=Wishes(roles={"bp": "numeric"})),
    "yyyymmdd-date": Case(
        {"age": "FLOAT", "day": "INT"}, {"day": [20200101]}, wishes=Wishes(roles={"day": "date"}), said=[]
    ),
    "dates-date": Case(
        {"age": "FLOAT", "when": "BYTES", "us": "BYTES", "text": "BYTES"},
        {"when": ["2020-01-01"], "us": ["01/01/2020"], "text": ["01 Jan 2020"]},
        wishes=Wishes(roles={"when": "date", "us": "date", "text": "date", "ts": "drop"}),
    ),
    "zip-text": Case({"age": "FLOAT", "zip": "BYTES"}, {"zip": ["10001"]}, wishes=Wishes(roles={"zip": "text"})),
}


@pytest.mark.parametrize("name", [*CASES, *TOLD])
def test_each_table_is_read_right_and_told_plainly(name: str, tmp_path: Path) -> None:
    case = (CASES | TOLD)[name]
    result = onboard(TABLES / f"{name.partition('-')[0]}.csv", label=case.label, wishes=case.wishes, out=tmp_path)
    settings, schema = load_settings(result.config), read_schema(result.schema)
    types = {f.name: schema_pb2.FeatureType.Name(f.type) for f in schema.feature if f.name != case.label}
    assert types == case.types
    assert (settings.data.classes, settings.data.positive) == (case.classes, case.positive)
    text = result.config.read_text(encoding="utf-8")
    assert [part for part in case.said if part not in str(result)] == []
    assert [part for part in case.said if part not in " ".join(text.replace("#", " ").split())] == []
    assert {key: getattr(settings.data, key) for key in case.data} == case.data
    request = read_request(settings, schema)
    rows = pa.Table.from_batches([b.batch for b in open_source([settings.data.source], "", request).blocks()])
    assert rows.num_rows == 240 if name == "few_patterns" else 80
    for column, values in case.first.items():
        assert rows[column].to_pylist()[: len(values)] == pytest.approx(values, nan_ok=True)


def test_dates_are_told_with_the_order_of_their_parts(tmp_path: Path) -> None:
    case = TOLD["dates-date"]
    result = onboard(TABLES / "dates.csv", label="label", wishes=case.wishes, out=tmp_path)
    assert load_settings(result.config).dates == {"when": "ymd", "us": "mdy", "text": "dmy"}


def test_a_code_written_as_a_float_is_listed_as_a_category(tmp_path: Path) -> None:
    result = onboard(
        TABLES / "float_codes.csv", label="label", wishes=TOLD["float_codes-category"].wishes, out=tmp_path
    )
    assert load_settings(result.config).categorical == ("cp",)


@pytest.mark.parametrize(
    ("name", "label", "told"),
    [
        ("blank_sep", "label", ["only blanks part the columns"]),
        ("label_NA", "region", ["'NA' in 'region' means missing as a rule", "27 of 80", "--class NA"]),
    ],
)
def test_what_cannot_be_known_is_asked(name: str, label: str, told: Sequence[str], tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DataError)) as caught:
        onboard(TABLES / f"{name}.csv", label=label, out=tmp_path)
    assert [part for part in told if part not in str(caught.value)] == []


def test_every_table_has_its_case() -> None:
    assert {path.stem for path in TABLES.iterdir()} == {*CASES, "blank_sep", "label_NA"}
