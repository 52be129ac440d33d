"""An Excel workbook as CSV: its first sheet that holds anything, a line for each of its rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime, time
from pathlib import Path
from typing import Any

from common.tables.encoding import UnreadableTable

ZIP = b"PK\x03\x04"


def csv_pieces(path: Path) -> Iterator[bytes]:
    """Yield a workbook's CSV in UTF-8. Raises UnreadableTable if the file is another archive, or damaged."""
    import openpyxl

    try:
        with path.open("rb") as raw:
            book = openpyxl.load_workbook(raw, read_only=True, data_only=True)
            sheets = [sheet for sheet in book.worksheets if next(sheet.iter_rows(max_row=1, max_col=1), None)]
            for sheet in sheets[:1]:
                yield from _rows(sheet)
    except Exception as error:  # openpyxl raises whatever the parts of a strange archive make it stumble over
        raise UnreadableTable(
            str(path),
            0,
            "this is no Excel workbook that can be read",
            got=f"{type(error).__name__}: {error}",
            wanted="an .xlsx workbook, CSV or Parquet",
            fix="in Excel: Save As, 'CSV UTF-8'",
        ) from None


def _rows(sheet: Any) -> Iterator[bytes]:
    sheet.reset_dimensions()  # what a file says of its size may be wrong
    width = 0
    for row in sheet.iter_rows(values_only=True):
        texts = [_text(value) for value in row]
        while texts and not texts[-1] and len(texts) > width:
            texts.pop()
        width = width or len(texts)
        yield _line([*texts, *[""] * (width - len(texts))] if any(texts) else [])


def _line(texts: list[str]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(texts)
    return line.getvalue().encode("utf-8", "surrogateescape")


def _text(value: Any) -> str:
    """Return a cell as a CSV has it: whole numbers without a point, dates as ISO writes them."""
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ")
    return str(value)
