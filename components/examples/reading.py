"""Find the files and the reader for their format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from common.errors import DataError
from components.examples.binary_sources import ParquetSource, TfRecordSource
from components.examples.blocks import Source
from components.examples.csv_source import CsvSource
from components.examples.request import ReadRequest

_WHOLE_FOLDER = {"csv": "*.csv", "parquet": "*.parquet", "tfrecord": "*"}
_WILD = "*?[{"
_SOURCES: dict[str, Callable[[Sequence[Path], ReadRequest], Source]] = {
    "csv": CsvSource,
    "parquet": ParquetSource,
    "tfrecord": TfRecordSource,
}


def base_and_pattern(source: Path, data_format: str) -> tuple[Path, str]:
    """Split an absolute path into TFX's input base (an existing folder or what comes before wildcards) and pattern."""
    if source.is_dir():
        return source, _WHOLE_FOLDER[data_format]
    parts = source.parts
    wild = next((i for i, part in enumerate(parts) if any(c in part for c in _WILD)), len(parts) - 1)
    wild = min(wild, len(parts) - 1)
    return Path(*parts[:wild]), str(Path(*parts[wild:]))


def open_source(files: Sequence[Path], pattern: str, request: ReadRequest) -> Source:
    """Return the reader for files. Raises DataError if there are none or their columns are wrong."""
    data_files = sorted(file for file in files if file.is_file() and not file.name.startswith((".", "_")))
    if not data_files:
        raise DataError(
            "there are no examples to read",
            got=f"no file matches {pattern}",
            fix="correct data.source (relative to the YAML file)",
        )
    return _SOURCES[request.format](data_files, request)
