"""What reading is asked, one form of rows for every format (missing is null), and which rows are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import schema_pb2

from common.errors import DataError
from common.tables.cleaning import Cleaning, Decimal, Thousands
from common.tables.columns import ARROW_TYPES, DTYPES, Dtype, as_texts, decoded
from common.tables.csv_file import LISTED, Fault
from common.tables.dialect import BLANKS_BETWEEN_COLUMNS, check_columns
from common.text import nearest, shortened
from config.data_settings import IMAGE_HASH, IMAGE_NEAR
from config.frozen import Frozen
from config.settings import Settings


class ImageRequest(Frozen):
    """How to read pictures. `listing`: of the folder, so that the cache knows when a file of it has changed."""

    group: str | None = None
    bad_files: Literal["skip", "refuse"] = "skip"
    listing: str = ""


class ReadRequest(Frozen):
    """How to read the rows. `columns` holds the types that the curated schema fixes, in the order of their names.

    Without `classes` the label is a number.
    """

    format: Literal["csv", "parquet", "tfrecord", "images"]
    label: str
    classes: tuple[str, ...]
    group_by: str | None = None
    by: Literal["content", "row", "time"] = "content"
    time: str | None = None
    ignore: tuple[str, ...]
    delimiter: str
    trim: bool = True
    decimal: Decimal = "."
    thousands: Thousands | None = None
    percent: bool = False
    null_values: tuple[str, ...]
    spellings: dict[str, dict[str, str]] = {}
    label_map: dict[str, str] = {}
    drop_unlabelled: bool = False
    merge_rare_classes: str | None = None
    columns: dict[str, Dtype]
    seed: int
    images: ImageRequest = ImageRequest()

    @property
    def texts(self) -> frozenset[str]:
        """Columns that are text whatever the data look like."""
        label = {self.label} if self.classes else set()
        return frozenset(label | ({self.group_by} if self.group_by else set()))

    def known_dtype(self, column: str) -> Dtype | None:
        """Return the type a column must have, or None if the data decide."""
        if column == self.label and not self.classes:
            return "float"
        return "string" if column in self.texts else self.columns.get(column)

    @property
    def names(self) -> frozenset[str]:
        """All columns that are known by name."""
        dealing = {column for column in (self.group_by, self.time) if column}
        return frozenset({self.label, *dealing, *self.ignore, *self.columns})

    @cached_property
    def cleaning(self) -> Cleaning:
        return Cleaning(self.trim, self.decimal, self.thousands, self.percent, self.null_values, self.spellings)

    @cached_property
    def label_cleaning(self) -> Cleaning:
        return self.cleaning.of_labels(self.label, self.classes, self.label_map)


def read_request(settings: Settings, schema: schema_pb2.Schema | None, listing: str = "") -> ReadRequest:
    """`listing`: of a folder of pictures, whose columns need no schema."""
    dtypes: dict[int, Dtype] = {schema_pb2.INT: "int", schema_pb2.FLOAT: "float"}
    data = settings.data
    columns = {feature.name: dtypes.get(feature.type, "string") for feature in schema.feature} if schema else {}
    return ReadRequest(
        format=data.format,
        label=data.label,
        classes=tuple(sorted(data.classes)),
        group_by=IMAGE_NEAR if data.is_images else settings.split.group_by,
        by=settings.split.by,
        time=settings.split.time,
        ignore=tuple(sorted(data.ignore)),
        delimiter=data.delimiter,
        trim=data.trim,
        decimal=data.decimal,
        thousands=data.thousands,
        percent=data.percent,
        null_values=tuple(sorted(data.null_values)),
        spellings={column: dict(sorted(texts.items())) for column, texts in sorted(data.spellings.items())},
        label_map=dict(sorted(data.label_map.items())),
        drop_unlabelled=data.drop_unlabelled,
        merge_rare_classes=data.merge_rare_classes,
        columns=dict(sorted(columns.items())),
        seed=settings.split_seed,
        images=ImageRequest(group=settings.image.group, bad_files=settings.image.bad_files, listing=listing),
    )


class BadValues(Exception):
    """Some values of a column are not of its type. `rows` are their indices in the block."""

    def __init__(self, column: str, dtype: Dtype, rows: Sequence[int], value: object) -> None:
        super().__init__(column)
        self.column, self.dtype, self.rows, self.value = column, dtype, rows, value


@dataclass(frozen=True)
class Block:
    """Some rows of a file in the common form, consecutive but for `rows` if it is given.

    `first_row` counts the file's rows from 0, and `rows` from there.
    """

    batch: pa.RecordBatch
    file: Path
    first_row: int
    rows: NDArray[np.int64] | None = None

    def places(self, source: Source, rows: Sequence[int]) -> list[str]:
        """Return where some of the block's rows stand, in words."""
        return source.places(
            self.file, [self.first_row + (r if self.rows is None else int(self.rows[r])) for r in rows]
        )

    def identity(self, request: ReadRequest) -> pa.RecordBatch:
        """Return the columns that tell the rows from others: all, or the hashes of pictures and their labels."""
        if request.format != "images":
            return self.batch
        return self.narrowed((IMAGE_HASH, request.label)).batch

    def narrowed(self, columns: Collection[str]) -> Block:
        """Return the block with such columns alone. Raises DataError where one is no longer read."""
        names = self.batch.schema.names
        if gone := sorted(set(columns) - set(names)):
            raise DataError(f"rows were dealt by {', '.join(gone)}, which are no longer read")
        kept = [name for name in names if name in columns]
        batch = pa.RecordBatch.from_arrays([self.batch.column(name) for name in kept], kept)
        return Block(batch, self.file, self.first_row)

    def labelled(self, request: ReadRequest) -> Block:
        """Return it without the rows that have no label, if those are to be left out."""
        labels = self.batch.column(request.label)
        if not request.drop_unlabelled or not labels.null_count:
            return self
        return self.only(labels.is_valid().to_numpy(zero_copy_only=False))

    def only(self, rows: NDArray[np.bool_]) -> Block:
        """Return some of its rows, which are all that it read."""
        return Block(self.batch.filter(pa.array(rows)), self.file, self.first_row, np.flatnonzero(rows))


class Source(Protocol):
    def blocks(self) -> Iterator[Block]:
        """Read all rows in a fixed order. Raises DataError naming file, line and cure."""

    def places(self, file: Path, rows: Sequence[int]) -> list[str]:
        """Return where rows (indices into the file's rows) stand, in words. May be slow."""

    def independent_count(self) -> int | None:
        """Return the number of rows without parsing them, or None where that is not cheap."""


def labelled_blocks(source: Source, request: ReadRequest) -> Iterator[Block]:
    """Read all rows but those that are to be left out."""
    return (block.labelled(request) for block in source.blocks())


def widest(dtypes: Iterable[Dtype | None]) -> Dtype:
    """Return the narrowest type that holds all of several; numbers if there is nothing but nulls."""
    known = [dtype for dtype in dtypes if dtype]
    return max(known, key=DTYPES.index) if known else "float"


def to_common(batch: pa.RecordBatch, dtypes: dict[str, Dtype], request: ReadRequest) -> pa.RecordBatch:
    """Return the columns named by `dtypes` in the common form. Raises BadValues."""
    columns = [_common(name, batch.column(name), dtype, request) for name, dtype in dtypes.items()]
    return pa.RecordBatch.from_arrays(columns, list(dtypes))


def _common(name: str, column: Any, dtype: Dtype, request: ReadRequest) -> Any:
    column = decoded(column)
    if name == request.label and request.classes:
        return _labels(column, request)
    if dtype == "string":
        return request.cleaning.texts(name, as_texts(column))
    is_text = pa.types.is_string(column.type) or pa.types.is_binary(column.type)
    column = column.cast(pa.string()) if is_text else column
    try:
        numbers = _number_column(column, dtype, request)
    except pa.ArrowInvalid:
        raise _bad_values(name, column, dtype, request) from None
    return _float32(name, column, numbers) if dtype == "float" else numbers


def _labels(column: Any, request: ReadRequest) -> Any:
    labels = request.label_cleaning.texts(request.label, as_texts(column))
    if request.merge_rare_classes is None:
        return labels
    is_listed = pc.or_(pc.is_in(labels, value_set=pa.array(request.classes, pa.string())), pc.is_null(labels))
    return pc.if_else(is_listed, labels, pa.scalar(request.merge_rare_classes))


def _number_column(column: Any, dtype: Dtype, request: ReadRequest) -> Any:
    """Return a column as int64 or float64. Raises pyarrow.ArrowInvalid."""
    if pa.types.is_string(column.type):
        return request.cleaning.typed(column, dtype)
    if dtype == "int" and pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return request.cleaning.without_null_numbers(pc.cast(column, ARROW_TYPES[dtype]))


def _float32(name: str, column: Any, numbers: Any) -> Any:
    """Narrow to what a tf.Example holds, by way of float64 for all formats, so that rounding never differs."""
    values = numbers.to_numpy(zero_copy_only=False)  # nulls become NaN, and NaN means missing
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if infinite := np.flatnonzero(np.isinf(narrow)).tolist():
        raise BadValues(name, "float", infinite, column[infinite[0]].as_py())
    return pa.array(narrow, from_pandas=True)


def _bad_values(name: str, column: Any, dtype: Dtype, request: ReadRequest) -> BadValues:
    """Find which values cannot be converted, one by one."""
    bad = []
    for row in range(len(column)):
        try:
            _number_column(column.slice(row, 1), dtype, request)
        except pa.ArrowInvalid:
            bad.append(row)
            if len(bad) == LISTED:
                break
    return BadValues(name, dtype, bad, column[bad[0]].as_py() if bad else None)


def value_fault(column: str, dtype: str, value: object) -> Fault:
    return Fault(
        f"column {column!r} holds a value that is not of its type",
        repr(value),
        {"int": "a whole number", "float": "a finite number, at most 3.4e38"}.get(dtype, "UTF-8 text"),
        "correct it, list it in data.null_values if it means missing, or change the column's type in the schema",
    )


def check_names(names: Sequence[str], file: Path, request: ReadRequest) -> None:
    """Refuse a set of columns that lacks the label or group, repeats a name, or has nothing to learn from."""
    check_columns(names, str(file))
    wanted = ((request.label, "data.label"), (request.group_by, "split.group_by"), (request.time, "split.time"))
    for column, key in wanted:
        if column is not None and column not in names:
            near = nearest(column, names)
            hint = f"did you mean {near!r}? Set {key}" if near else f"set {key} to one of the columns"
            hint = BLANKS_BETWEEN_COLUMNS if len(names) == 1 and column in names[0].split() else hint
            raise DataError(
                f"{file}: there is no column {column!r}", got=shortened(names), wanted=f"{key}: {column}", fix=hint
            )
    if not set(names) - request.texts - {request.label, request.time} - set(request.ignore):
        raise DataError(
            f"{file}: there is no column to learn from",
            got=shortened(names),
            wanted="at least one beside the label",
            fix="check data.ignore and data.delimiter",
        )


def check_same_names(names_by_file: dict[Path, frozenset[str]]) -> None:
    """Refuse files of one data set whose columns differ (their order may)."""
    (first, expected), *others = names_by_file.items()
    for file, names in others:
        if names != expected:
            raise DataError(
                f"{file} has other columns than {first.name}",
                got=f"missing {sorted(expected - names)}, extra {sorted(names - expected)}",
                wanted="the same columns in all files",
                fix="correct the header, or narrow data.source",
            )


def count_labels(block: Block, source: Source, request: ReadRequest) -> Counter[str]:
    """Return how many rows each class has, nothing of numbers.

    Raises DataError naming rows without a known label or a group.
    """
    labels = block.batch.column(request.label)
    refuse_missing(block, source, request.label, "label", "data.classes" if request.classes else "data.label")
    if request.group_by:
        refuse_missing(block, source, request.group_by, "group", "split.group_by")
    if not request.classes:
        return Counter()
    counts = Counter({pair["values"]: pair["counts"] for pair in pc.value_counts(labels).to_pylist()})
    if unknown := sorted(set(counts) - set(request.classes)):
        is_unknown = pc.invert(pc.is_in(labels, value_set=pa.array(request.classes, pa.string())))
        near = nearest(unknown[0], request.classes)
        raise Fault(
            f"label {request.label!r} holds an unknown class",
            ", ".join(map(repr, unknown[:LISTED])),
            f"one of {list(request.classes)}",
            f"{f'did you mean {near!r}? C' if near else 'c'}orrect it, add it to data.classes, or "
            "say by data.label_map which class it is",
        ).at(block.places(source, indices(is_unknown)[:LISTED].tolist()))
    return counts


def check_totals(classes: Mapping[str, int], splits: Mapping[str, int], request: ReadRequest) -> None:
    """Refuse data that are empty, of one class only, or too few for all splits."""
    rows = sum(splits.values())
    if not rows:
        raise DataError(
            "there are no rows", wanted="labelled examples", fix="export them again, or correct data.source"
        )
    present = sorted(name for name, count in classes.items() if count)
    if request.classes and len(present) < 2:
        raise DataError(
            f"label {request.label!r} has one class only, so there is nothing to tell apart",
            got=f"{rows} rows of {present[0]!r}",
            wanted=f"at least two of {list(request.classes)}",
            fix="add rows of another class, or correct data.label",
        )
    if empty := [name for name, count in splits.items() if not count]:
        unit = f"groups ({request.group_by})" if request.group_by else "rows"
        raise DataError(
            f"split {empty[0]!r} is empty",
            got=str(dict(splits)),
            wanted="rows in every split",
            fix=f"add {unit}, or give it more weight: split.{empty[0]}",
        )


def reconcile(read: int, written: Mapping[str, int], counted: int | None) -> None:
    """Refuse to go on if a row was lost or doubled. `counted` is what was counted without parsing, if it was."""
    if sum(written.values()) != read or counted not in (None, read):
        counted_apart = "" if counted is None else f", {counted} counted apart"
        raise DataError(
            "rows were lost or doubled on the way",
            got=f"{read} read{counted_apart}, {dict(written)} written",
            wanted="the same number everywhere",
            fix="was the file being written? Else report it with the file",
        )


def refuse_missing(block: Block, source: Source, column: str, what: str, key: str) -> None:
    values = block.batch.column(column)
    if values.null_count:
        raise Fault(
            f"{what} {column!r} is missing",
            f"{values.null_count} row(s) without in this block",
            f"a {what} in every row ({key})",
            f"fill the {what} in or remove the rows" + (", or set data.drop_unlabelled" if what == "label" else ""),
        ).at(block.places(source, indices(values.is_null())[:LISTED].tolist()))


def indices(mask: Any) -> NDArray[np.int64]:
    return np.flatnonzero(mask.to_numpy(zero_copy_only=False))
