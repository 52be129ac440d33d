from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from common.errors import DataError
from common.text import MISSING_CODE
from serving.client.row_files import as_table, read_chunks
from serving.client.rules import Rules
from serving.client.types import Signature, TensorInfo
from serving.repository.layout import SCHEMA, TRAINING

TYPES = {"x": "DT_FLOAT", "code": "DT_INT64", "text": "DT_STRING", "flag": "DT_BOOL"}
SIGNATURE = Signature({name: TensorInfo(dtype, (-1,)) for name, dtype in TYPES.items()}, {})
HEAD = "id,x,code,text,flag\n"


def write(folder: Path, text: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_rows_come_in_chunks_as_the_inputs_types(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff" + HEAD + '1,1.5,3,"a, b",true\n2,,,,0\n\n3,1e3,7.0,é,FALSE\n')
    first, second = read_chunks(path, SIGNATURE, chunk_rows=2)
    assert (first.numbers, second.numbers) == ([1, 2], [3])
    assert math.isnan(first.columns["x"].pop())
    assert first.columns == {"x": [1.5], "code": [3, MISSING_CODE], "text": ["a, b", ""], "flag": [True, False]}
    assert second.columns == {"x": [1000.0], "code": [7], "text": ["é"], "flag": [False]}
    assert second.read_bytes == path.stat().st_size


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"sep=;\r\nx;code;text;flag\r\n1,5;3;a;1\r\n?;NA;NA;0\r\n", id="Excel's line, decimal commas"),
        pytest.param(b"# by me\nx, code ,text,flag\n1.5,3,a,1\nnan,,NA,0\n", id="comment, blanks around a name"),
        pytest.param(b"x\tcode\ttext\tflag\r1.5\t3\ta\t1\r\t\tNA\t0\r", id="tabs, lone carriage returns"),
        pytest.param("x|code|text|flag\n1.5|3|a|1\n||NA|0\n".encode("utf-16"), id="bars, UTF-16"),
        pytest.param(gzip.compress((HEAD + "1,1.5,3,a,1\n2,,,NA,0\n").encode()), id="gzip"),
    ],
)
def test_csv_of_all_kinds_is_understood(tmp_path: Path, content: bytes) -> None:
    [chunk] = read_chunks(write(tmp_path, content), SIGNATURE)
    assert math.isnan(chunk.columns["x"].pop())
    assert chunk.columns == {"x": [1.5], "code": [3, MISSING_CODE], "text": ["a", "NA"], "flag": [True, False]}


def test_parquet_rows(tmp_path: Path) -> None:
    table = {"x": [1.5, None], "code": [3.0, None], "text": [7.0, None], "flag": [True, False], "id": [1, 2]}
    pd.DataFrame(table).to_parquet(tmp_path / "rows.data")
    [chunk] = read_chunks(tmp_path / "rows.data", SIGNATURE)
    assert math.isnan(chunk.columns["x"].pop())
    assert chunk.columns == {"x": [1.5], "code": [3, MISSING_CODE], "text": ["7", ""], "flag": [True, False]}


SCHEMA_TEXT = """
feature { name: "x" type: FLOAT value_count { min: 1 max: 1 } float_domain { min: 0.1 max: 5000 } }
feature { name: "code" type: INT value_count { min: 1 max: 1 } }
feature { name: "text" type: BYTES presence { min_fraction: 1 } shape {} string_domain { name: "t" value: ["a", "b"] } }
feature { name: "flag" type: INT presence { min_fraction: 1 } shape {} }
feature { name: "y" type: BYTES presence { min_fraction: 1 } shape {} }
"""
DATA = {"source": "x.csv", "label": "y", "classes": ["n", "y"], "null_values": ["", "-", "-999"]}


@pytest.fixture
def make_rules(tmp_path: Path) -> Callable[..., Rules]:
    """Write what travels with a version, its data settings changed, and read the rules back."""

    def make(**data: Any) -> Rules:
        (tmp_path / "1" / "assets.extra").mkdir(parents=True)
        settings = {"name": "m", "data": DATA | data, "categorical": ["code"]}
        (tmp_path / "1" / TRAINING).write_text(json.dumps({"settings": settings}))
        (tmp_path / "1" / SCHEMA).write_text(SCHEMA_TEXT)
        rules = Rules.of_version(tmp_path / "1")
        assert rules
        return rules

    return make


def test_a_version_without_settings_has_no_rules(tmp_path: Path) -> None:
    assert Rules.of_version(tmp_path) is None


def test_rows_are_read_as_the_training_data_were(tmp_path: Path, make_rules: Callable[..., Rules]) -> None:
    rules = make_rules(decimal=",", thousands=".", percent=True, spellings={"text": {"A": "a"}})
    rows = "x;code;text;flag\n1.234,5;3.0;a;1\n12,5%;-; A ;0\n-999,0;;b;0\n"
    [chunk] = read_chunks(write(tmp_path, rows), SIGNATURE, rules)
    assert chunk.bad == []
    assert chunk.columns["x"] == pytest.approx([1234.5, 12.5, math.nan], nan_ok=True)
    assert chunk.columns["code"] == [3, MISSING_CODE, MISSING_CODE]
    assert chunk.columns["text"] == ["a", "a", "b"]


def test_bad_rows_are_told_and_left_out(tmp_path: Path, make_rules: Callable[..., Rules]) -> None:
    rows = "x,code,text,flag\n1,1,a,1\n1,1,c,1\n1,1,-,1\n1,1\n0.05,1,a,1\n0.1,,b,0\nx,1,a,1\n1,1,\udcff,1\n"
    [chunk] = read_chunks(write(tmp_path, rows.encode("utf-8", "surrogateescape")), SIGNATURE, make_rules())
    assert (chunk.numbers, chunk.columns["text"]) == ([1, 6], ["a", "b"])
    assert [(bad.number, bad.column, bad.what) for bad in chunk.bad] == [
        (2, "text", "this is none of a, b"),
        (3, "text", "a value must be given"),
        (4, "", "the row has another number of columns than the header"),
        (5, "x", "this is less than 0.1"),
        (7, "x", "this is not a number"),
        (8, "", "column 'text' is not UTF-8 text"),
    ]


def test_what_may_be_missing_need_not_be_there(tmp_path: Path, make_rules: Callable[..., Rules]) -> None:
    rules = make_rules()
    rows = [{"text": "a", "flag": 1}, {"x": -999, "text": "b", "flag": 0}, {"x": 1}]
    [chunk] = read_chunks(write(tmp_path, json.dumps(rows), "rows.json"), SIGNATURE, rules)
    assert all(map(math.isnan, chunk.columns["x"]))
    assert (chunk.numbers, chunk.columns["code"]) == ([1, 2], [MISSING_CODE] * 2)
    assert [str(bad) for bad in chunk.bad] == ["row 3, column text: a value must be given, got: None"]
    [chunk] = read_chunks(write(tmp_path, "text,flag\na,1\n"), SIGNATURE, rules)
    assert chunk.columns["code"] == [MISSING_CODE]
    with pytest.raises(DataError, match="columns are missing\n  got: flag"):
        list(read_chunks(write(tmp_path, "text\na\n"), SIGNATURE, rules))


def test_a_date_that_is_none_is_told(tmp_path: Path, make_rules: Callable[..., Rules]) -> None:
    rules = replace(make_rules(), dates={"code": "ymd"})
    [chunk] = read_chunks(write(tmp_path, "code,text,flag\n20261130,a,1\n20261331,a,1\n"), SIGNATURE, rules)
    assert chunk.numbers == [1]
    assert "this is no date such as 2026-11-30" in str(chunk.bad[0])


def test_a_workbook_s_rows(tmp_path: Path) -> None:
    pd.DataFrame({"x": [1.5], "code": [3], "text": ["a"], "flag": [1]}).to_excel(tmp_path / "rows.xlsx", index=False)
    [chunk] = read_chunks(tmp_path / "rows.xlsx", SIGNATURE)
    assert chunk.columns == {"x": [1.5], "code": [3], "text": ["a"], "flag": [True]}


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"instances": rows}], ids=["list", "instances"])
def test_json_rows(tmp_path: Path, wrap: object) -> None:
    rows = [{"x": 1, "code": 2, "text": "a", "flag": True}, {"x": None, "code": None, "text": None, "flag": False}]
    [chunk] = read_chunks(write(tmp_path, json.dumps(wrap(rows)), "rows.json"), SIGNATURE)  # type: ignore[operator]
    assert chunk.columns["code"] == [2, MISSING_CODE]
    assert chunk.columns["text"] == ["a", ""]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty"),
        (HEAD, "holds no rows"),
        ("id,x\n1,2\n", "code, text, flag"),
        (HEAD.replace("id", "x") + "1,1,1,a,0\n", "rows.csv:1: column 'x' stands 2 times"),
        (b"PK\x03\x04...", "no Excel workbook"),
        (b"PAR1...", "cannot be read as Parquet"),
        (HEAD + '1,1,1,"a,0\n', "rows.csv:2: the record that begins here cannot be read"),
    ],
    ids=["empty", "header only", "columns", "column twice", "workbook", "torn Parquet", "quote"],
)
def test_bad_csv_is_told_with_its_place(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(DataError) as caught:
        list(read_chunks(write(tmp_path, text), SIGNATURE))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"rows": []}', "holds no list of rows"),
        ("[]", "holds no rows"),
    ],
    ids=["torn", "deep", "keys", "empty"],
)
def test_json_that_holds_no_rows_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError) as caught:
        list(read_chunks(write(tmp_path, text, "rows.json"), SIGNATURE))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("csv", HEAD + '1,1,1,a,0\n2,"1,5",1,a,0\n', "row 2, column x: this is not a number, got: '1,5'"),
        ("csv", HEAD + "1,1_5,1,a,0\n", "row 1, column x: this is not a number"),
        ("csv", HEAD + "1,١٢,1,a,0\n", "row 1, column x: this is not a number"),
        ("csv", HEAD + "1,1,2.5,a,0\n", "row 1, column code: this is not a whole number"),
        ("csv", HEAD + "1,1,inf,a,0\n", "row 1, column code: this is not a whole number"),
        ("csv", HEAD + "1,1,1,a,maybe\n", "row 1, column flag: this is neither true nor false"),
        ("csv", HEAD + "1,1,1\n", "row 1: the row has another number of columns"),
        ("json", "[1]", "row 1: this is not an object"),
        ("json", '[{"x": 1}]', "row 1, column code: a value must be given"),
        ("json", '[{"x": true, "code": 1, "text": "", "flag": 1}]', "row 1, column x: this is not a number"),
        ("json", '[{"x": [1], "code": 1, "text": "", "flag": 1}]', "row 1, column x: this is not a number"),
        ("json", '[{"x": 1, "code": 1, "text": {}, "flag": 1}]', "row 1, column text: this is not text"),
    ],
)
def test_a_bad_row_is_told_with_its_place(tmp_path: Path, name: str, text: str, told: str) -> None:
    [chunk] = read_chunks(write(tmp_path, text, f"rows.{name}"), SIGNATURE)
    [bad] = chunk.bad
    assert told in str(bad)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        list(read_chunks(tmp_path / "absent.csv", SIGNATURE))


@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [
        (
            {"probabilities": [[0.25, 0.75]], "probability": [0.10000000149011612], "label": ["M"]},
            {"label": ["M"], "probability": [0.1]},
        ),
        ({"probabilities": [[0.25, 0.5, 0.25]], "label": ["b"]}, {"label": ["b"], "probability": [0.5]}),
        ({"y": [[1.5, 2]]}, {"y": ["[1.5, 2]"]}),
    ],
    ids=["two classes", "three classes", "another's model"],
)
def test_the_table_of_predictions(outputs: dict[str, list[object]], wanted: dict[str, list[object]]) -> None:
    types = {name: TensorInfo("DT_STRING" if name == "label" else "DT_FLOAT", (-1,)) for name in outputs}
    assert as_table(outputs, Signature({}, types)) == wanted
