from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from common.errors import DataError
from common.tables import encoding
from common.tables.encoding import UnreadableTable, open_file, starts_with, utf8_stream

TEXT = "name,größe\nå,1\n日本,2\n"


@pytest.mark.parametrize("piece_bytes", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    "content",
    [TEXT.encode(c) for c in ("utf-8", "utf-8-sig", "utf-16", "utf-32")]
    + [gzip.compress(TEXT.encode()), gzip.compress(TEXT.encode("utf-16"))]
    + [gzip.compress(TEXT[:9].encode()) + gzip.compress(TEXT[9:].encode())],
    ids=["UTF-8", "with a mark", "UTF-16", "UTF-32", "gzip", "gzip of UTF-16", "gzip of two members"],
)
def test_any_text_becomes_utf8(monkeypatch: pytest.MonkeyPatch, content: bytes, piece_bytes: int) -> None:
    monkeypatch.setattr(encoding, "PIECE_BYTES", piece_bytes)
    assert utf8_stream(io.BytesIO(content), "rows.csv").read().decode() == TEXT


def test_lone_carriage_returns_are_line_ends_where_there_are_no_others() -> None:
    assert utf8_stream(io.BytesIO(b"a,b\r1,2\r"), "rows.csv").read() == b"a,b\n1,2\n"
    mixed = b"a,b\r\n1,x\ry\r\n"
    assert utf8_stream(io.BytesIO(mixed), "rows.csv").read() == mixed


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"PK\x03\x04\x14", "an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1", "an old Excel workbook"),
        (gzip.compress(b"PK\x03\x04\x14"), "an Excel workbook"),
        (gzip.compress(b"a,b\n1,2\n" * 1000)[:-20], "the gzip file is damaged"),
        (b"\x1f\x8bno", "the gzip file is damaged"),
        ("a,b\n".encode("utf-16-le"), "zero bytes"),
        ("a,b\n".encode("utf-16")[:-1], "UTF-16 text"),
        (b"\xff\xfe\x00\xd8a\x00", "UTF-16 text"),
    ],
    ids=["Parquet", "xlsx", "xls", "zipped xlsx", "torn gzip", "no gzip", "no mark", "half a letter", "surrogate"],
)
def test_what_is_no_text_is_told_with_the_cure(content: bytes, told: str) -> None:
    with pytest.raises(UnreadableTable, match=told) as caught:
        utf8_stream(io.BytesIO(content), "rows.csv").read()
    assert str(caught.value).startswith("rows.csv: ")
    assert caught.value.fix


def test_the_first_bytes_count_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"PAR1...")
    assert starts_with(path, b"PAR1")
    with pytest.raises(DataError, match=r"cannot read .*absent"):
        open_file(tmp_path / "absent")
