from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from common.errors import DataError
from common.text import MISSING_CODE
from serving.client.row_files import as_table, read_chunks, trained_null_texts
from serving.client.types import Signature, TensorInfo

TYPES = {"x": "DT_FLOAT", "code": "DT_INT64", "text": "DT_STRING", "flag": "DT_BOOL"}
SIGNATURE = Signature({name: TensorInfo(dtype, (-1,)) for name, dtype in TYPES.items()}, {})
HEAD = "id,x,code,text,flag\n"


def write(folder: Path, text: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_rows_come_in_chunks_as_the_inputs_types(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff" + HEAD + '1,1.5,3,"a, b",true\n2,,,,0\n\n3,1e3,7.0,é,FALSE\n')
    first, second = read_chunks(path, SIGNATURE, 2)
    assert (first.first, len(first), second.first, len(second)) == (1, 2, 3, 1)
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


def test_the_training_data_s_marks_mean_missing_in_every_column(tmp_path: Path) -> None:
    version = tmp_path / "1"
    (version / "assets.extra").mkdir(parents=True)
    assert trained_null_texts(version) is None
    training = {"settings": {"data": {"null_values": ["", "-"]}}}
    (version / "assets.extra" / "training.json").write_text(json.dumps(training))
    path = write(tmp_path, HEAD + "1,-,-,-,1\n")
    [chunk] = read_chunks(path, SIGNATURE, null_texts=trained_null_texts(version))
    assert math.isnan(chunk.columns["x"][0])
    assert (chunk.columns["code"], chunk.columns["text"]) == ([MISSING_CODE], [""])
    with pytest.raises(DataError, match="column x"):
        list(read_chunks(write(tmp_path, HEAD + "1,?,1,a,1\n"), SIGNATURE, null_texts=["", "-"]))


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
        (HEAD + '1,1,1,a,0\n2,"1,5",1,a,0\n', "row 2, column x: this is not a number\n  got: '1,5'"),
        (HEAD + "1,1_5,1,a,0\n", "row 1, column x: this is not a number"),
        (HEAD + "1,١٢,1,a,0\n", "row 1, column x: this is not a number"),
        (HEAD + "1,1,2.5,a,0\n", "row 1, column code: this is not a whole number"),
        (HEAD + "1,1,inf,a,0\n", "row 1, column code: this is not a whole number"),
        (HEAD + "1,1,1,a,maybe\n", "row 1, column flag: this is neither true nor false"),
        (HEAD.replace("id", "x") + "1,1,1,a,0\n", "rows.csv:1: column 'x' stands 2 times"),
        (b"PK\x03\x04...", "an Excel workbook"),
        (b"PAR1...", "cannot be read as Parquet"),
        (HEAD + "1,1,1\n", "rows.csv:2: the row has another number of columns"),
        (HEAD + '1,1,1,"a,0\n', "rows.csv:2: the record that begins here cannot be read"),
        (HEAD.encode() + b"1,1,1,\xff,0\n", "is not UTF-8"),
    ],
    ids=[
        "empty",
        "header only",
        "columns",
        "comma",
        "underscore",
        "Arabic digits",
        "whole",
        "infinite",
        "boolean",
        "column twice",
        "workbook",
        "torn Parquet",
        "short",
        "quote",
        "bytes",
    ],
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
        ("[1]", "row 1 is not an object"),
        ('[{"x": 1}]', "row 1: columns are missing"),
        ('[{"x": true, "code": 1, "text": "", "flag": 1}]', "row 1, column x: this is not a number"),
        ('[{"x": [1], "code": 1, "text": "", "flag": 1}]', "row 1, column x: this is not a number"),
        ('[{"x": 1, "code": 1, "text": {}, "flag": 1}]', "row 1, column text: this is not text"),
    ],
    ids=["torn", "deep", "keys", "empty", "values", "missing", "boolean", "list", "object"],
)
def test_bad_json_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError) as caught:
        list(read_chunks(write(tmp_path, text, "rows.json"), SIGNATURE))
    assert told in str(caught.value)


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
