"""What the head of a CSV says: where its header stands, what parts the columns, what they are called."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from common.tables.encoding import UnreadableTable
from common.text import shortened

DELIMITERS = {",": "','", ";": "';'", "\t": '"\\t"', "|": "'|'"}  # as YAML has them
BLANKS_BETWEEN_COLUMNS = "only blanks part the columns: write the file with commas, semicolons, tabs or bars"
HEAD_BYTES = 4 << 20  # a header must fit
MOST_COLUMNS = 10_000
SNIFFED_ROWS = 20
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_EXCELS_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?[,;|\s]*', re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """How a CSV is written. `line` is the header's, from 1: blank lines, Excel's `sep=;` and comments go before it."""

    delimiter: str
    names: tuple[str, ...]  # as in the file; empty where a column has none
    line: int

    @property
    def columns(self) -> list[str]:
        """The names, with a placeholder for each that is empty."""
        return [name or f"(unnamed column {number})" for number, name in enumerate(self.names, start=1)]

    @property
    def unnamed(self) -> frozenset[str]:
        return frozenset(shown for shown, name in zip(self.columns, self.names, strict=True) if not name)

    @property
    def has_decimal_commas(self) -> bool:
        """Whether `1,5` may be a number, because no comma parts the columns."""
        return self.delimiter != ","

    def matched(self, known: Collection[str]) -> Dialect:
        """Return it without the blanks around a name where `known` has the name without them."""
        times = Counter(map(str.strip, self.names))
        bare = {n: n.strip() for n in self.names if n not in known and n.strip() in known and times[n.strip()] == 1}
        return replace(self, names=tuple(bare.get(name, name) for name in self.names))

    def trimmed(self, known: Collection[str] = ()) -> Dialect:
        """Return it without the blanks around names, but for those that `known` has with them, or two would be one."""
        times = Counter(map(str.strip, self.names))
        return replace(self, names=tuple(n if n in known or times[n.strip()] > 1 else n.strip() for n in self.names))


def find_dialect(head: bytes, file: str, delimiter: str | None = None) -> Dialect:
    """Return what the first bytes of a CSV, in UTF-8, say. Without a delimiter given the likeliest is taken.

    Raises UnreadableTable: there is no header, a name stands in it twice, or the file's delimiter is another.
    """
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(head)  # the last letter may be cut
    start, line, comment, excels_delimiter = _header_place(text)
    if start == len(text):
        raise UnreadableTable(
            file, 1, "the file is empty", got="no header", wanted="a header and rows", fix="export it again"
        )
    likely = excels_delimiter or _sniff(text[start:])
    if comment is not None and 1 < _width(text[comment:], likely) == _width(text[start:], likely):
        start, line = comment, line - 1  # a header whose first name begins with #
    header = _header(text[start:], file, line, delimiter or likely)
    if delimiter and len(header) == 1:
        _check_delimiter(text[start:], file, line, delimiter, likely)
    check_columns(header, file, line)
    return Dialect(delimiter or likely, tuple(header), line)


def _header(text: str, file: str, line: int, delimiter: str) -> list[str]:
    wanted = "a header with the names of the columns"
    try:
        header, *rows = islice(records(text, delimiter), 2)
    except csv.Error as error:
        what, fix = "the header cannot be read", "close the quote that is left open"
        raise UnreadableTable(file, line, what, got=error, wanted=wanted, fix=fix) from None
    if not header[-1] and rows and len(rows[0]) == len(header) - 1:
        header = header[:-1]  # Kaggle's way: the header ends in a delimiter, the rows do not
    if not any(map(str.strip, header)):
        fix = "write it into the first line"
        raise UnreadableTable(file, line, "no column has a name", got=header, wanted=wanted, fix=fix)
    return header


def _check_delimiter(text: str, file: str, line: int, delimiter: str, likely: str) -> None:
    if likely != delimiter and (width := _width(text, likely)) > 1:
        raise UnreadableTable(
            file,
            line,
            f"the delimiter is another than {delimiter!r}",
            got=f"one column {text.partition(chr(10))[0][:80]!r}",
            wanted=f"{width} columns split by {likely!r}",
            fix=f"set data.delimiter: {DELIMITERS.get(likely, likely)}",
        )


def check_columns(names: Sequence[str], file: str, line: int = 0) -> None:
    """Raise UnreadableTable if there are too many columns, or a name stands twice."""
    if len(names) > MOST_COLUMNS:
        raise UnreadableTable(
            file,
            line,
            "there are too many columns",
            got=f"at least {len(names):,}",  # of a header beyond HEAD_BYTES only the beginning is read
            wanted=f"at most {MOST_COLUMNS:,} columns",
            fix="turn the table if each column is an example; else keep what the model reads, or what tells most",
        )
    repeated = [name for name, times in Counter(filter(None, names)).items() if times > 1]
    if repeated:
        raise UnreadableTable(
            file,
            line,
            f"column {repeated[0]!r} stands {names.count(repeated[0])} times in the header",
            got=shortened(names),
            wanted="each name once",
            fix="rename or remove one",
        )


def _header_place(text: str) -> tuple[int, int, int | None, str]:
    """Return where the header begins, its line, where the line before begins if it is `#…`, and what `sep=` says."""
    line, comment, excels_delimiter = 1, None, ""
    for match in _LINE.finditer(text):
        content = match[0].strip()
        if excels := _EXCELS_LINE.fullmatch(match[0].rstrip("\r\n")):
            excels_delimiter = excels[1]
        elif content and not content.startswith("#"):
            return match.start(), line, comment, excels_delimiter
        comment = match.start() if content.startswith("#") and content[1:2] != " " else None
        line += 1
    return len(text), line, comment, excels_delimiter


def records(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows that are not blank. Raises csv.Error."""
    return filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def _width(text: str, delimiter: str) -> int:
    return len(next(records(text, delimiter), []))


def _sniff(text: str) -> str:
    """Return the delimiter that parts the header into most columns while the rows agree with it."""

    def rank(delimiter: str) -> tuple[bool, int, int]:
        try:
            widths = [len(row) for row in islice(records(text, delimiter), SNIFFED_ROWS)]
        except csv.Error:
            return False, 0, 0
        agreeing = sum(abs(width - widths[0]) <= 1 for width in widths)
        return widths[0] > 1 and agreeing >= 0.9 * len(widths), widths[0], widths.count(widths[0])

    return max(DELIMITERS, key=rank)
