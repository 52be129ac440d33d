"""One pass over all rows: what the checks need, in memory of some bytes a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import schema_pb2

from common.tables.splitting import Hashes, row_hashes
from config.data_settings import IMAGE_BYTES, IMAGE_HASH, IMAGE_HEADER, IMAGE_HISTOGRAM, SplitSettings
from config.frozen import Frozen
from config.schema import UNUSED_STAGES
from config.settings import Settings

BATCH_ROWS = 8192
BATCH_PICTURES = 256
SAMPLE_ROWS = 50_000
TRAIN = "train"


@dataclass(frozen=True)
class Block:
    """Some consecutive rows of a split: one value or null a row and column. `first_row` counts from 0."""

    split: str
    first_row: int
    batch: pa.RecordBatch

    def column(self, name: str) -> Any:
        """Return a column; one that no row of the block has is all null."""
        index = self.batch.schema.get_field_index(name)
        return self.batch.column(index) if index >= 0 else pa.nulls(self.batch.num_rows)


def read_blocks(files: Mapping[str, Sequence[str]], *, pictures: bool = False) -> Iterator[Block]:
    """Read all rows of each split's files in a fixed order. Columns have the types they were written with.

    Of `pictures` the bytes are left out.
    """
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder  # the checks do without TensorFlow

    from components.splits import records

    decoder = ExamplesToRecordBatchDecoder()
    for split, paths in files.items():
        first_row = 0
        batch_rows = BATCH_PICTURES if pictures else BATCH_ROWS
        for serialized in records(paths).batch(batch_rows).prefetch(1).as_numpy_iterator():
            lists = decoder.DecodeBatch(serialized.tolist())
            names = [name for name in lists.schema.names if not pictures or name not in (IMAGE_BYTES, IMAGE_HISTOGRAM)]
            columns = [flat(lists.column(lists.schema.get_field_index(name))) for name in names]
            yield Block(split, first_row, pa.RecordBatch.from_arrays(columns, names))
            first_row += len(serialized)


def flat(lists: Any) -> Any:
    """Return one value a row: int64, float32 or text; an empty list is null, several values become one text."""
    if pa.types.is_null(lists.type):
        return lists
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    values = _as_text(lists.flatten()) if pa.types.is_large_binary(lists.type.value_type) else lists.flatten()
    if lengths.max(initial=0) > 1:
        return pa.array([str(row) if row else None for row in lists.to_pylist()], pa.string())
    if len(values) == len(lists):
        return values
    return values.take(pa.array(np.cumsum(lengths) - 1, mask=lengths == 0))


def _as_text(values: Any) -> Any:
    try:
        return values.cast(pa.large_string()).cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([value.decode(errors="backslashreplace") for value in values.to_pylist()], pa.string())


class Columns(Frozen):
    """What the columns are to the run, and how rows are shared out. `has_schema`: somebody wrote the schema."""

    label: str
    classes: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    left_out: frozenset[str] = frozenset()
    dates: frozenset[str] = frozenset()
    split: SplitSettings = SplitSettings()
    has_schema: bool = True
    pictures: bool = False

    @staticmethod
    def of(settings: Settings) -> Columns:
        data = settings.data
        return Columns(
            label=data.label,
            classes=data.classes,
            ignore=data.ignore,
            left_out=settings.no_features,
            dates=frozenset(settings.dates),
            split=settings.split,
            has_schema=settings.schema_file is not None or data.is_images,
            pictures=data.is_images,
        )

    @property
    def group_by(self) -> str | None:
        return self.split.group_by

    def features(self, schema: schema_pb2.Schema) -> tuple[str, ...]:
        """Return the columns that the model reads; in place of a picture's bytes their hash."""
        if self.pictures:
            return (IMAGE_HASH,)
        return tuple(
            feature.name
            for feature in schema.feature
            if feature.name not in self.left_out and feature.lifecycle_stage not in UNUSED_STAGES
        )

    def sampled(self, schema: schema_pb2.Schema) -> tuple[str, ...]:
        """Return the columns that may tell too much of the label."""
        return IMAGE_HEADER if self.pictures else self.features(schema)

    def set_aside(self, schema: schema_pb2.Schema) -> tuple[tuple[str, str], ...]:
        """Return the columns that the schema keeps from the model, and the stage that it gives them."""
        stage = schema_pb2.LifecycleStage.Name
        return tuple((f.name, stage(f.lifecycle_stage)) for f in schema.feature if f.lifecycle_stage in UNUSED_STAGES)


@dataclass(frozen=True)
class Scan:
    """What one pass leaves: hashes of every row of each split, and a sample of the training rows, in their order."""

    content: dict[str, Hashes]  # of the features
    labels: dict[str, Hashes]
    groups: dict[str, Hashes]  # without a group column: empty
    not_finite: Counter[tuple[str, str]]  # values by split and column
    sample: dict[str, Any]  # flat Arrow arrays

    @property
    def rows(self) -> dict[str, int]:
        return {split: len(hashes) for split, hashes in self.content.items()}

    @property
    def sampled_rows(self) -> int:
        return len(next(iter(self.sample.values()), ()))


def scan_rows(
    blocks: Iterable[Block],
    columns: Columns,
    features: Sequence[str],
    expected: Mapping[str, int],
    seed: int,
    sample_rows: int = SAMPLE_ROWS,
    sampled: Sequence[str] | None = None,
) -> Scan:
    """Read all rows once. Beyond `sample_rows` expected training rows, each is sampled with the same probability.

    `expected` holds the rows of each split as counted before. The sample holds the label and the features, or the
    columns of `sampled`.
    """
    kinds = ("content", "labels", "groups")
    hashes: dict[str, dict[str, list[Hashes]]] = {kind: {split: [] for split in expected} for kind in kinds}
    not_finite: Counter[tuple[str, str]] = Counter()
    kept: list[Block] = []
    share = min(1.0, sample_rows / max(expected.get(TRAIN, 0), 1))
    random = np.random.default_rng(seed)
    for block in blocks:
        hashes["content"][block.split].append(hash_columns(block, features))
        hashes["labels"][block.split].append(hash_columns(block, [columns.label]))
        if columns.group_by:
            hashes["groups"][block.split].append(hash_columns(block, [columns.group_by]))
        for name in features:
            if count := int(is_not_finite(block.column(name)).sum()):
                not_finite[block.split, name] += count
        if block.split == TRAIN:
            kept.append(block if share == 1.0 else _sampled(block, share, random))
    joined = {
        kind: {split: np.concatenate([*parts, np.zeros(0, np.uint64)]) for split, parts in splits.items()}
        for kind, splits in hashes.items()
    }
    names = (*(features if sampled is None else sampled), columns.label)
    sample = {name: _joined([block.column(name) for block in kept]) for name in names if kept}
    return Scan(**joined, not_finite=not_finite, sample=sample)


def hash_columns(block: Block, names: Sequence[str]) -> Hashes:
    """Return the hash of each row's values in some columns, `[rows]` uint64; missing values add nothing."""
    return row_hashes(block.batch, [name for name in names if not pa.types.is_null(block.column(name).type)])


def is_not_finite(column: Any) -> NDArray[np.bool_]:
    """Return which values are NaN or infinite, `[rows]`; missing ones are not."""
    if not pa.types.is_floating(column.type):
        return np.zeros(len(column), bool)
    return ~np.isfinite(column.fill_null(0).to_numpy(zero_copy_only=False))


def _sampled(block: Block, share: float, random: np.random.Generator) -> Block:
    chosen = pa.array(random.random(block.batch.num_rows) < share)
    kept = pa.RecordBatch.from_arrays([c.filter(chosen) for c in block.batch.columns], block.batch.schema.names)
    return Block(block.split, block.first_row, kept)


def _joined(arrays: Sequence[Any]) -> Any:
    """Join a column's pieces; where they differ in type, as text."""
    types = {array.type for array in arrays if not pa.types.is_null(array.type)}
    common_type = types.pop() if len(types) == 1 else pa.string()
    return pa.concat_arrays([pc.cast(array, common_type) for array in arrays])
