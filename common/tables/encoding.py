"""Any text file as UTF-8 bytes. What a file is, its first bytes say, never its name."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from common.errors import DataError

PIECE_BYTES = 1 << 20
PARQUET, GZIP = b"PAR1", b"\x1f\x8b"
_EXCEL = "in Excel: Save As, 'CSV UTF-8'"
_OTHERS = {
    PARQUET: ("a Parquet file", "write it as CSV"),
    b"PK\x03\x04": ("an Excel workbook, or another ZIP archive", _EXCEL),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", _EXCEL),
}
_MARKS = {  # UTF-32's begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class UnreadableTable(DataError):
    """A file cannot be read as a table. `line` is where, 0 if that is nowhere in particular."""

    def __init__(self, file: str, line: int, what: str, *, got: object, wanted: str, fix: str) -> None:
        super().__init__(f"{file}:{line}: {what}" if line else f"{file}: {what}", got=got, wanted=wanted, fix=fix)
        self.line = line


def starts_with(path: Path, mark: bytes) -> bool:
    """Return whether a file begins with some bytes. Raises DataError if it cannot be read."""
    with open_file(path) as raw:
        return raw.read(len(mark)) == mark


def open_file(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {path}", got=error.strerror, wanted="a file of rows") from None


def utf8_stream(raw: BinaryIO, file: str) -> BinaryIO:
    """Return the text of a stream as UTF-8: unzipped, without byte order mark, UTF-16 and UTF-32 recoded.

    Line ends stay, but for lone carriage returns in a file that has no others. Bytes of a text without a mark are
    not looked at. Raises UnreadableTable, now or while it is read, if it is not text.
    """
    first, pieces = _begin(raw)
    if first.startswith(GZIP):
        first, pieces = _begin(_unzipped(chain([first], pieces), file))
    for mark, (kind, fix) in _OTHERS.items():
        if first.startswith(mark):
            raise UnreadableTable(file, 0, "this is not CSV", got=kind, wanted="CSV as UTF-8 text", fix=fix)
    codec = next((codec for mark, codec in _MARKS.items() if first.startswith(mark)), "")
    if codec:
        pieces = _recoded(chain([first], pieces), codec, file)
        first = next(pieces, b"")
    elif b"\0" in first:
        raise UnreadableTable(
            file, 0, "this is not UTF-8 text", got="zero bytes", wanted="UTF-8 text", fix="save it as CSV UTF-8"
        )
    pieces = chain([first.removeprefix(codecs.BOM_UTF8)], pieces)
    if b"\r" in first and b"\n" not in first:
        pieces = (piece.replace(b"\r", b"\n") for piece in pieces)
    return stream_of(pieces)


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def stream_of(pieces: Iterator[bytes]) -> BinaryIO:
    return io.BufferedReader(_Pieces(pieces), PIECE_BYTES)


def _begin(raw: BinaryIO) -> tuple[bytes, Iterator[bytes]]:
    """Return the first piece of a stream and an iterator over the others."""
    pieces = iter(lambda: raw.read(PIECE_BYTES), b"")
    first = b""
    while len(first) < 4 and (piece := next(pieces, b"")):
        first += piece  # a network may give a byte at a time
    return first, pieces


def _unzipped(pieces: Iterator[bytes], file: str) -> BinaryIO:
    def unzip() -> Iterator[bytes]:
        try:
            yield from iter(lambda: zipped.read(PIECE_BYTES), b"")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UnreadableTable(
                file, 0, "the gzip file is damaged", got=error, wanted="a whole gzip file", fix="write it again"
            ) from None

    zipped = gzip.GzipFile(fileobj=stream_of(pieces))
    return stream_of(unzip())


def _recoded(pieces: Iterator[bytes], codec: str, file: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        for piece in chain(pieces, [b""]):
            yield decoder.decode(piece, final=not piece).encode()
    except UnicodeDecodeError as error:
        raise UnreadableTable(
            file,
            0,
            f"this is not {codec.upper()} text",
            got=error.reason,
            wanted="UTF-8 text",
            fix="save it as CSV UTF-8",
        ) from None
