"""CSV as people write it is read; types come from the schema, else from every row."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.examples import sources as module
from components.examples.blocks import ReadRequest, Source
from components.examples.sources import open_source

Make = Callable[..., Source]
Rows = Callable[[Source], dict[str, list[Any]]]
PLAIN = {"x": [1.5, 2.0], "t": ["u", "v"], "y": ["a", "b"]}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"x,t,y\n1.5,u,a\n2,v,b\n", id="plain"),
        pytest.param(b"x,t,y\n1.5,u,a\n2,v,b", id="no-last-line-end"),
        pytest.param(b"\xef\xbb\xbfx,t,y\n1.5,u,a\n2,v,b\n", id="bom"),
        pytest.param(b'\xef\xbb\xbf"x",t,y\n1.5,u,a\n2,v,b\n', id="bom-and-quotes"),
        pytest.param(b"x,t,y\r\n1.5,u,a\r\n2,v,b\r\n", id="crlf"),
        pytest.param(b"x,t,y\r1.5,u,a\r2,v,b\r", id="cr"),
        pytest.param(b"\nx,t,y\n\n1.5,u,a\n\n\n2,v,b\n\n", id="blank-lines"),
        pytest.param(b"x,t,y,\n1.5,u,a,\n2,v,b,\n", id="unnamed-empty-last-column"),
        pytest.param(b"x,t,y,,\n1.5,u,a,,\n2,v,b,,\n", id="two-unnamed-empty-columns"),
        pytest.param(b"x,t,y,\n1.5,u,a\n2,v,b\n", id="kaggle-s-delimiter-at-the-end-of-the-header"),
        pytest.param(b'x,t,y\n" 1.5",u,a\n2 ,v,b\n', id="blanks-around-numbers"),
        pytest.param(b"sep=,\r\nx,t,y\r\n1.5,u,a\r\n2,v,b\r\n", id="excel-s-line"),
        pytest.param(b"# of 2024\n#, by me\nx,t,y\n1.5,u,a\n2,v,b\n", id="comments"),
        pytest.param("x,t,y\n1.5,u,a\n2,v,b\n".encode("utf-16"), id="utf-16"),
        pytest.param(gzip.compress(b"x,t,y\n1.5,u,a\n2,v,b\n"), id="gzip-by-another-name"),
    ],
)
def test_variants_read_alike(csv_source: Make, rows: Rows, content: bytes) -> None:
    source = csv_source(content)
    assert rows(source) == PLAIN
    assert source.independent_count() in (2, None)


def test_quoted_line_breaks_and_delimiters(csv_source: Make, rows: Rows) -> None:
    source = csv_source('"t\nt",x,y\n"one\ntwo, ""three""",1,a\nz,2,b\n')
    assert rows(source) == {"t\nt": ['one\ntwo, "three"', "z"], "x": [1, 2], "y": ["a", "b"]}
    assert source.independent_count() is None


def test_other_delimiter(csv_source: Make, rows: Rows) -> None:
    assert rows(csv_source("x;t;y\n1.5;u;a\n2;v;b\n", delimiter=";")) == PLAIN


def test_gzip(tmp_path: Path, rows: Rows, make_request: Callable[..., ReadRequest]) -> None:
    file = tmp_path / "data.csv.gz"
    file.write_bytes(gzip.compress(b"x,t,y\n1.5,u,a\n2,v,b\n"))
    source = open_source([file], str(file), make_request())
    assert (rows(source), source.independent_count()) == (PLAIN, 2)


def test_missing_values_are_null(csv_source: Make, rows: Rows) -> None:
    source = csv_source("x,n,t,y\n,1,NA,a\nNA,,,b\n0.5,3,w,a\n")
    assert rows(source) == {"x": [None, None, 0.5], "n": [1, None, 3], "t": [None, None, "w"], "y": ["a", "b", "a"]}


def test_a_class_may_look_like_a_missing_value(csv_source: Make, rows: Rows) -> None:
    read = rows(csv_source("t,x,y\nNone,1,None\nu,2,a\n", classes=("None", "a")))
    assert read == {"t": [None, "u"], "x": [1, 2], "y": ["None", "a"]}


def test_ignored_columns_are_not_looked_at(csv_source: Make, rows: Rows) -> None:
    read = rows(csv_source(b"id,x,y\n\xff,1,a\n7,2,b\n", ignore=("id",), columns={"id": "int"}))
    assert read == {"x": [1, 2], "y": ["a", "b"]}


def test_an_index_without_a_name_may_be_ignored(csv_source: Make, rows: Rows) -> None:
    assert rows(csv_source(",x,t,y\n0,1.5,u,a\n1,2,v,b\n", ignore=("",))) == PLAIN


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(["1", "-2", "NA"], [1, -2, None], id="int"),
        pytest.param(["1", "2.5", "1e3"], [1.0, 2.5, 1000.0], id="float"),
        pytest.param(["1", "2", "three"], ["1", "2", "three"], id="text"),
        pytest.param(["true", "false", ""], ["true", "false", None], id="bool-is-text"),
        pytest.param(["2020-01-01", "2020-01-02", "NA"], ["2020-01-01", "2020-01-02", None], id="date-is-text"),
        pytest.param(["99999999999999999999", "1", "2"], ["99999999999999999999", "1", "2"], id="beyond-int64"),
        pytest.param(["007", "1", "2"], ["007", "1", "2"], id="leading-zero"),
        pytest.param(["", "NA", ""], [None, None, None], id="nothing"),
    ],
)
def test_inferred_types(csv_source: Make, rows: Rows, values: list[str], expected: list[Any]) -> None:
    lines = "".join(f"{value},{i},{'ab'[i % 2]}\n" for i, value in enumerate(values))
    read = rows(csv_source(f"v,x,y\n{lines}"))["v"]
    assert read == pytest.approx(expected, rel=1e-6) if expected == [1e20, 1.0, 2.0] else read == expected
    assert [type(value) for value in read] == [type(value) for value in expected]


@pytest.mark.parametrize(
    ("last", "kind"), [("0.5", float), ("word", str)], ids=["a-float-at-the-end", "a-text-at-the-end"]
)
def test_types_are_inferred_over_all_blocks(
    csv_source: Make, rows: Rows, monkeypatch: pytest.MonkeyPatch, last: str, kind: type
) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 256)
    source = csv_source("v,x,y\n" + "".join(f"{i},1,{'ab'[i % 2]}\n" for i in range(500)) + f"{last},1,a\n")
    blocks = list(source.blocks())
    assert len(blocks) > 5
    assert [block.first_row for block in blocks[:2]] == [0, blocks[0].batch.num_rows]
    assert {type(value) for value in rows(source)["v"]} == {kind}


def test_the_schema_s_types_come_first(csv_source: Make, rows: Rows) -> None:
    read = rows(csv_source("p,q,z,y\n1,2,3,1\n4,5,6,0\n", columns={"p": "float", "q": "string"}, classes=("0", "1")))
    assert read == {"p": [1.0, 4.0], "q": ["2", "5"], "z": [3, 6], "y": ["1", "0"]}
    assert isinstance(read["p"][0], float)


def test_groups_are_text(csv_source: Make, rows: Rows) -> None:
    assert rows(csv_source("g,x,y\n07,1,a\n8,2,b\n", group_by="g"))["g"] == ["07", "8"]


def test_several_files_need_the_same_columns_not_their_order(
    tmp_path: Path, rows: Rows, make_request: Callable[..., ReadRequest]
) -> None:
    for name, content in (("1.csv", "x,y\n1,a\n"), ("2.csv", "y,x\nb,2.5\n"), ("3.csv", "x,y\n")):
        (tmp_path / name).write_text(content)
    source = open_source([tmp_path / f"{n}.csv" for n in (3, 2, 1)], "*", make_request())
    assert rows(source) == {"x": [1.0, 2.5], "y": ["a", "b"]}
    assert source.independent_count() == 2


def test_thousands_of_columns(csv_source: Make, rows: Rows) -> None:
    names = [f"f{i}" for i in range(5000)]
    read = rows(csv_source(",".join([*names, "y"]) + "\n" + ",".join(["1"] * 5000 + ["a"]) + "\n"))
    assert len(read) == 5001
