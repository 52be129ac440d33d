from __future__ import annotations

import gzip
import io
from typing import Any

import pytest
from pyarrow import csv

from common.tables import encoding
from webapp.bulk import csv_blocks
from webapp.bulk.csv_blocks import CsvBlocks, InvalidFile, Limits, TooLarge


@pytest.fixture(params=[1 << 20, 7, 1], ids=["one block", "small blocks", "byte by byte"])
def block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", request.param)
    size: int = request.param
    return size


def read(content: bytes, max_rows: int = 1 << 20) -> tuple[list[tuple[int, list[str]]], list[tuple[int | None, str]]]:
    """Return rows and ragged rows with their numbers."""
    rows: list[tuple[int, list[str]]] = []
    ragged: list[tuple[int | None, str]] = []
    end = 0
    for block in CsvBlocks(io.BytesIO(content), Limits(1 << 20, max_rows)):
        rows += zip(block.numbers.tolist(), map(list, zip(*block.table.to_pydict().values(), strict=True)), strict=True)
        ragged += [(problem.row, problem.got) for problem in block.problems]
        assert end < block.end_bytes <= len(content) + 1
        end = block.end_bytes
    return rows, ragged


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"a,b\n1,x\n2,y\n", [(2, ["1", "x"]), (3, ["2", "y"])]),
        (b"a,b\r\n1,x\r\n2,y", [(2, ["1", "x"]), (3, ["2", "y"])]),
        (b"\xef\xbb\xbfa;b\n1,5;x\n", [(2, ["1,5", "x"])]),
        (b"a\tb\n1\tx y\n", [(2, ["1", "x y"])]),
        (b"a|b\n1|x\n", [(2, ["1", "x"])]),
        (b'a,b\n1,"x, ""y""\nz"\n3,w\n', [(2, ["1", 'x, "y"\nz']), (3, ["3", "w"])]),
        (b'a,b\n1,5" pipe\n2,y\n', [(2, ["1", '5" pipe']), (3, ["2", "y"])]),
        (b'"a","b ""c"""\n1,x\n', [(2, ["1", "x"])]),
        (b"\n\r\na,b\n1,x\n", [(4, ["1", "x"])]),
        (b"a,b\n\n1,x\r\n\r\n , \t\n,\n2,y\n\n", [(3, ["1", "x"]), (7, ["2", "y"])]),
        (b'a,b\n"1\n\n",x\n\n2,y\n', [(2, ["1\n\n", "x"]), (4, ["2", "y"])]),
        (b"a\n1\n2\n", [(2, ["1"]), (3, ["2"])]),
        ("a,b\nå,ß\n日本,x\n".encode(), [(2, ["å", "ß"]), (3, ["日本", "x"])]),
    ],
    ids=[
        "plain",
        "CRLF, no end",
        "BOM, semicolon",
        "tab",
        "bar",
        "quoted",
        "inch",
        "quoted header",
        "blank first",
        "blank rows",
        "blank lines in quotes",
        "one column",
        "not ASCII",
    ],
)
def test_rows_come_as_they_are_with_their_numbers(
    block_bytes: int, content: bytes, rows: list[tuple[int, list[str]]]
) -> None:
    assert read(content) == (rows, [])


def test_rows_of_another_length_are_told_and_the_others_keep_their_numbers(block_bytes: int) -> None:
    rows, ragged = read(b'a,b\n1,x\n2\n\n4,"y\ny"\n5,z,z\n6,w\n')
    assert [(number, row) for number, row in rows if any(row)] == [(2, ["1", "x"]), (5, ["4", "y\ny"]), (7, ["6", "w"])]
    assert ragged == [(3, "1: 2"), (6, "3: 5,z,z")]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"sep=;\r\na;b\r\n1,5;x\r\n", id="Excel's line"),
        pytest.param(b"# of 2024\na;b\n1,5;x\n", id="comment"),
        pytest.param("\na\tb\n1,5\tx\n".encode("utf-16"), id="UTF-16"),
        pytest.param(gzip.compress(b"\na;b\n1,5;x\n"), id="gzip"),
        pytest.param(b"\ra;b\r1,5;x\r", id="lone carriage returns"),
        pytest.param(b"\na;b;\n1,5;x\n", id="header ends in a delimiter"),
    ],
)
def test_csv_of_all_kinds_is_understood(content: bytes) -> None:
    blocks = CsvBlocks(io.BytesIO(content), Limits(1000, 1000))
    [block] = blocks
    assert (blocks.dialect.names, block.table.to_pydict(), block.numbers.tolist()) == (
        ("a", "b"),
        {"a": ["1,5"], "b": ["x"]},
        [3],
    )


def test_rows_of_another_length_are_counted_and_the_first_hundred_are_told() -> None:
    [block] = CsvBlocks(io.BytesIO(b"a,b\n" + b"1\n" * 500), Limits(1 << 20, 1000))
    assert (block.ragged, len(block.problems), block.table.num_rows) == (500, 100, 0)


@pytest.mark.parametrize("line", [b"\n", b"\r\n", b",\n", b"1\n", b"1,x\n"], ids=repr)
def test_more_rows_than_are_taken_are_refused_before_they_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    monkeypatch.setattr(csv, "read_csv", lambda *_: pytest.fail("it was read"))
    with pytest.raises(TooLarge, match="more than 99 rows"):
        read(b"a,b\n" + line * 100, max_rows=99)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "a header"),
        (b"\n\n", "a header"),
        (b" , \n1,2\n", "a header"),
        (b"a,b,a\n", "once"),
        ("a,b\n".encode("utf-16-le"), "UTF-8"),
        (b"PK\x03\x04...", "'CSV UTF-8'"),
        (b"PAR1...", "CSV as UTF-8 text"),
        (gzip.compress(b"a,b\n1,2\n")[:-9], "a whole gzip file"),
        (b'a,b\n1,"x\n', "close its quotes"),
        (b"\xe9,b\n1,2\n", "UTF-8"),
        (b"a,b\n1,2\n3,\xe9\n", "UTF-8"),
        (b",".join(b"c%d" % n for n in range(10_001)), "at most 10,000 columns"),
    ],
    ids=[
        "empty",
        "blank",
        "no names",
        "twice",
        "UTF-16",
        "workbook",
        "Parquet",
        "torn gzip",
        "open quote",
        "Latin 1 header",
        "Latin 1 later",
        "too wide",
    ],
)
def test_a_file_that_cannot_be_read_is_told(content: bytes, told: str) -> None:
    with pytest.raises(InvalidFile, match=told):
        read(content)


def test_the_row_of_a_byte_that_is_no_utf8_is_told() -> None:
    with pytest.raises(InvalidFile) as caught:
        read(b"a,b\n1,2\n3,\xe9\n")
    [problem] = caught.value.problems
    assert (problem.row, problem.got) == (3, "the byte 0xe9")


def test_a_file_beyond_its_bound_is_left_unread(block_bytes: int) -> None:
    class Endless(io.RawIOBase):
        asked = 0

        def read(self, size: int = -1) -> bytes:
            self.asked += size
            return (b"a,b\n" + b"1,2\n" * size)[:size]

    endless: Any = Endless()
    with pytest.raises(TooLarge, match="100 bytes") as caught:
        for _ in CsvBlocks(endless, Limits(100, 100)):
            pass
    assert caught.value.http_status == 413
    assert endless.asked <= encoding.PIECE_BYTES + io.DEFAULT_BUFFER_SIZE


@pytest.mark.parametrize("content", [b'a,b\n1,"' + b"x\n" * 500, b"a" * 500], ids=["open quote", "no line"])
def test_a_record_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 10)
    monkeypatch.setattr(csv_blocks, "MAX_RECORD_BYTES", 100)
    with pytest.raises(InvalidFile, match="shorter than 100 bytes"):
        read(content)
