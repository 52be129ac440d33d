"""What reading and splitting depend on, and nothing else: it is part of TFX's cache key."""

from __future__ import annotations

from typing import Literal

from tensorflow_metadata.proto.v0 import schema_pb2

from common.tables.dtypes import Dtype
from config.settings import Frozen, Settings


class ReadRequest(Frozen):
    """How to read the rows. `columns` holds the types that the curated schema fixes, in the order of their names."""

    format: Literal["csv", "parquet", "tfrecord"]
    label: str
    classes: tuple[str, ...]
    group_by: str | None = None
    ignore: tuple[str, ...]
    delimiter: str
    null_values: tuple[str, ...]
    columns: dict[str, Dtype]
    seed: int

    @property
    def texts(self) -> frozenset[str]:
        """Columns that are text whatever the data look like."""
        return frozenset({self.label} | ({self.group_by} if self.group_by else set()))

    def known_dtype(self, column: str) -> Dtype | None:
        """Return the type a column must have, or None if the data decide."""
        return "string" if column in self.texts else self.columns.get(column)

    def missing_texts(self, column: str) -> tuple[str, ...]:
        """Return the texts that mean missing in a column. A class may be called `None` or `NA`."""
        return tuple(t for t in self.null_values if column != self.label or t not in self.classes)


def read_request(settings: Settings, schema: schema_pb2.Schema | None) -> ReadRequest:
    """Pick from settings and schema what the Examples depend on."""
    dtypes: dict[int, Dtype] = {schema_pb2.INT: "int", schema_pb2.FLOAT: "float"}
    columns = {feature.name: dtypes.get(feature.type, "string") for feature in schema.feature} if schema else {}
    data = settings.data
    return ReadRequest(
        format=data.format,
        label=data.label,
        classes=tuple(sorted(data.classes)),
        group_by=settings.split.group_by,
        ignore=tuple(sorted(data.ignore)),
        delimiter=data.delimiter,
        null_values=tuple(sorted(data.null_values)),
        columns=dict(sorted(columns.items())),
        seed=settings.seed,
    )
