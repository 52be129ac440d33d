"""Examples as files: those of a span that is there, and those that are collected."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import ConfigError, DataError
from common.tables.csv_file import CsvFile
from config.schema import Feature
from config.settings import Settings
from monitoring.collect.rows import Content, LabelledRow, content


class Examples(Protocol):
    """Reads and writes files of one format."""

    def contents(self, path: Path) -> Iterator[tuple[Content, str]]:
        """Yield each row's features as the model reads them, and its label. Raises DataError."""

    def write(self, path: Path, rows: Sequence[LabelledRow], like: Path) -> None:
        """Write rows in the columns of another file; what the log does not have is missing."""


def examples_of(settings: Settings, features: Sequence[Feature]) -> Examples:
    """Raises ConfigError for a format in which nothing can be collected."""
    if settings.data.format == "csv":
        return CsvExamples(settings, features)
    if settings.data.format == "parquet":
        return ParquetExamples(settings, features)
    raise ConfigError(f"examples cannot be collected as {settings.data.format}", wanted="data.format: csv or parquet")


class CsvExamples:
    def __init__(self, settings: Settings, features: Sequence[Feature]) -> None:
        self._data, self._features = settings.data, features

    def contents(self, path: Path) -> Iterator[tuple[Content, str]]:
        file = self._file(path)
        for line, values in file.rows():
            row = dict(zip(file.dialect.columns, values, strict=False))
            try:
                cells = {feature.name: self._value(row[feature.name], feature) for feature in self._features}
                yield content(cells, self._features), self._label(row[self._data.label])
            except (KeyError, ValueError) as error:
                raise DataError(
                    f"{path}:{line} is no example", got=error, fix="correct it, as a run would ask"
                ) from None

    def write(self, path: Path, rows: Sequence[LabelledRow], like: Path) -> None:
        columns = [name for name in self._file(like).dialect.names if name]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=self._data.delimiter, lineterminator="\n")
            writer.writerow(columns)
            for row in rows:
                cells: Mapping[str, Any] = {**row.values, self._data.label: row.label}
                writer.writerow([self._text(cells.get(name)) for name in columns])

    def _file(self, path: Path) -> CsvFile:
        file = CsvFile(path, self._data.delimiter)
        if self._data.trim:
            file.dialect = file.dialect.trimmed({self._data.label, *(feature.name for feature in self._features)})
        return file

    def _value(self, text: str, feature: Feature) -> Any:
        if feature.dtype == "string":
            return self._data.cleaning.text(feature.name, text) or None
        number = self._data.cleaning.number(text)
        return float(number) if number else None

    def _label(self, text: str) -> str:
        if self._data.is_regression:
            return written(float(self._data.cleaning.number(text) or "nan"))
        return self._data.class_of(text)

    def _text(self, value: Any) -> str:
        if value is None:
            return ""
        return self._data.cleaning.written(value) if isinstance(value, int | float) else str(value)


class ParquetExamples:
    def __init__(self, settings: Settings, features: Sequence[Feature]) -> None:
        self._label, self._features = settings.data.label, features
        self._as_label = float if settings.data.is_regression else str

    def contents(self, path: Path) -> Iterator[tuple[Content, str]]:
        names = [self._label, *(feature.name for feature in self._features)]
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=names):
                    for row in batch.to_pylist():
                        label = row[self._label]
                        yield content(row, self._features), written(label) if isinstance(label, float) else str(label)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DataError(f"{path} cannot be read", got=error, wanted="Parquet with the schema's columns") from None

    def write(self, path: Path, rows: Sequence[LabelledRow], like: Path) -> None:
        cells = [{**row.values, self._label: self._as_label(row.label)} for row in rows]
        pq.write_table(pa.Table.from_pylist(cells, pq.read_schema(like)), path)


def written(number: float) -> str:
    """Return a number as a label, as the web app keeps one."""
    return repr(float(number)).removesuffix(".0")


def remove_examples(path: Path, numbers: Collection[int], delimiter: str) -> None:
    """Write a file that was collected anew without some of its rows, counted from 0; without any left it is removed."""
    if path.suffix == ".parquet":
        table = pq.ParquetFile(path).read()
        kept = table.take(pa.array([i for i in range(table.num_rows) if i not in numbers], pa.int64()))
        pq.write_table(kept, path)
        is_empty = not kept.num_rows
    else:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file, delimiter=delimiter)
        rows = [row for i, row in enumerate(rows) if i not in numbers]
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
        is_empty = not rows
    if is_empty:
        path.unlink()
