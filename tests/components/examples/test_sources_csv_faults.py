"""Every way in which a CSV file is malformed stops with file, line and cure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import DataError
from components.examples import sources as module
from components.examples.blocks import ReadRequest, Source, count_labels
from components.examples.sources import open_source

Make = Callable[..., Source]


def consume(source: Source, asked: ReadRequest) -> int:
    return sum(sum(count_labels(block, source, asked).values()) for block in source.blocks())


@pytest.mark.parametrize(
    ("content", "changes", "told"),
    [
        pytest.param(b"", {}, ["data.csv:1: the file is empty", "next: export it again"], id="empty"),
        pytest.param(b"\n\n", {}, ["the file is empty"], id="blank-lines-only"),
        pytest.param("x,y\n1,a\n".encode("utf-16-le"), {}, ["zero bytes", "save it as CSV UTF-8"], id="no-mark"),
        pytest.param(b"PAR1...", {}, ["is a Parquet file", "data.format: parquet"], id="parquet"),
        pytest.param(b"PK\x03\x04...", {}, ["no Excel workbook", "'CSV UTF-8'"], id="xlsx"),
        pytest.param(b"x y\n1 a\n", {}, ["no column 'y'", "only blanks"], id="blanks-between-columns"),
        pytest.param(b"x,x,y\n1,2,a\n", {}, ["column 'x' stands 2 times", "rename"], id="duplicate-column"),
        pytest.param(b"x;y;z\n1;a;2\n", {}, ["data.csv:1: the delimiter", "data.delimiter: ';'"], id="semicolon"),
        pytest.param(b"x\ty\n1\ta\n", {}, ['data.delimiter: "\\t"'], id="tab"),
        pytest.param(b"x,y\n1,a\n", {"delimiter": ";"}, ["data.delimiter: ','"], id="comma"),
        pytest.param(b"x,Y\n1,a\n", {}, ["no column 'y'", "got: x, Y", "data.label"], id="missing-label"),
        pytest.param(b"x,clas\n1,a\n", {"label": "class"}, ["did you mean 'clas'?"], id="misspelt-label"),
        pytest.param(b"x,y\n1,a\n", {"group_by": "g"}, ["no column 'g'", "split.group_by"], id="missing-group-column"),
        pytest.param(b"y\na\n", {}, ["no column to learn from"], id="label-only"),
        pytest.param(b"i,y\n1,a\n", {"ignore": ("i",)}, ["no column to learn from"], id="all-ignored"),
        pytest.param(b"x,z,y\n1,2,a\n3,b\n", {}, ["data.csv:3: the row has", "got: 2 values", "wanted: 3"], id="short"),
        pytest.param(b"x,y\n1,a\n2,b\n3,a,9\n", {}, ["data.csv:4", "got: 3 values"], id="long"),
        pytest.param(b"x,y\n1,a,\n2,b\n", {}, ["data.csv:2"], id="delimiter-at-the-end-of-a-row"),
        pytest.param(b"t,y\nok,a\ncaf\xe9,b\n", {}, ["data.csv:3: column 't'", "0xe9", "iconv"], id="latin"),
        pytest.param(b"caf\xe9,y\n1,a\n", {}, ["data.csv:1", "is not UTF-8", "0xe9"], id="latin-1-header"),
        pytest.param(b"x,y\n1,a\n2,\xff\n", {}, ["data.csv:3: column 'y' is not UTF-8"], id="latin-1-label"),
        pytest.param(
            b"x,y\n1,a\ntwo,b\n3,a\nfour,a\n",
            {"columns": {"x": "float"}},
            ["data.csv:3 (and: ", "data.csv:5)", "column 'x'", "got: 'two'", "a finite number", "data.null_values"],
            id="text-for-a-float",
        ),
        pytest.param(b"x,y\n1,a\n2.5,b\n", {"columns": {"x": "int"}}, ["data.csv:3", "a whole number"], id="float"),
        pytest.param(b"x,y\n1,a\ninf,b\n", {}, ["data.csv:3", "got: 'inf'"], id="infinite"),
        pytest.param(b"x,y\n1.5,a\n1e39,b\n", {}, ["data.csv:3", "got: '1e39'"], id="beyond-float32"),
        pytest.param(b",x,y\n0,1,a\n1,2,b\n", {}, ["data.csv:2", "unnamed column 1 holds", "index"], id="index-column"),
        pytest.param(b"x,y\n1,a\n2,\n3,NA\n", {}, ["data.csv:3 (and: ", "label 'y' is missing"], id="missing-labels"),
        pytest.param(b"g,x,y\np,1,a\n,2,b\n", {"group_by": "g"}, ["data.csv:3: group 'g'"], id="missing-group"),
        pytest.param(b"x,y\n1,a\n2,c\n", {}, ["data.csv:3", "an unknown class", "'c'"], id="unknown-class"),
        pytest.param(
            b"x,y\n1,a\n2, b\n", {"trim": False}, ["data.csv:3", "got: ' b'", "did you mean 'b'?"], id="blank"
        ),
        pytest.param(b'x,y\n1,a\n"2,b\n3,a\n', {}, ["data.csv:3"], id="open-quote"),
        pytest.param(b'x,y\n1,a\n"2,b\n' + b"3,a\n" * 50_000, {}, ["data.csv:3", "close the quote"], id="far"),
    ],
)
def test_malformed(
    csv_source: Make, make_request: Callable[..., ReadRequest], content: bytes, changes: dict[str, Any], told: list[str]
) -> None:
    with pytest.raises(DataError) as error:
        consume(csv_source(content, **changes), make_request(**changes))
    assert [part for part in told if part not in str(error.value)] == []
    assert error.value.fix


@pytest.mark.parametrize("columns", [20_000, 1_000_000])
def test_a_table_that_lies_on_its_side_is_told_before_its_rows_are_read(csv_source: Make, columns: int) -> None:
    header = ",".join(f"c{number}" for number in range(columns))
    with pytest.raises(DataError, match=r"data\.csv:1: there are too many columns\n(.*\n)*.*turn the table") as error:
        csv_source(f"{header},y\n" + "1," * columns + "a\n")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("row", "changes", "told"),
    [
        pytest.param("1,2,3\n", {}, "got: 3 values", id="ragged"),
        pytest.param("x,a\n", {"columns": {"v": "int"}}, "column 'v'", id="value"),
        pytest.param("1,c\n", {}, "unknown class", id="class"),
        pytest.param("1,\n", {}, "is missing", id="label"),
    ],
)
def test_lines_are_right_in_later_blocks_after_quoted_line_breaks(
    csv_source: Make,
    make_request: Callable[..., ReadRequest],
    monkeypatch: pytest.MonkeyPatch,
    row: str,
    changes: dict[str, Any],
    told: str,
) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 512)
    good = '"1",a\n\n2,"b"\n"3\n",a\n'  # five lines, three rows
    changes = {"columns": {"v": "string"}} | changes
    good = good.replace("3\n", "3") if changes["columns"]["v"] == "int" else good
    per_unit = good.count("\n")
    with pytest.raises(DataError, match=rf"data\.csv:{2 + 200 * per_unit}\b") as error:
        consume(csv_source("v,y\n" + good * 200 + row + good * 50, **changes), make_request(**changes))
    assert told in str(error.value)


def test_files_with_other_columns(tmp_path: Path, make_request: Callable[..., ReadRequest]) -> None:
    (tmp_path / "1.csv").write_text("x,y\n1,a\n")
    (tmp_path / "2.csv").write_text("x,y,z\n1,a,1\n")
    with pytest.raises(DataError, match=r"2\.csv has other columns than 1\.csv\n.*extra \['z'\]"):
        open_source(sorted(tmp_path.iterdir()), "*", make_request())


def test_no_file(tmp_path: Path, make_request: Callable[..., ReadRequest]) -> None:
    with pytest.raises(DataError, match=r"no file matches .*\.csv\n.*data\.source"):
        open_source([], str(tmp_path / "*.csv"), make_request())


def test_a_number_beyond_a_float_is_told_its_limit(csv_source: Callable[..., Source]) -> None:
    with pytest.raises(DataError, match=r"at most 3\.4e38"):
        list(csv_source("x,y\n0.5,a\n1e308,b\n").blocks())
