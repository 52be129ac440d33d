"""The history as CSV, streamed: however much it is, a group of rows is in memory at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from common.records import labels as feedback
from common.records.files import INPUT, META
from common.records.labels import Feedback, Key
from common.records.reader import Reader
from common.tables.safe import safe_texts

TRUTH = ("true_label", "true_label_by", "true_label_time")


def export(base: Path, reader: Reader) -> Iterator[bytes]:
    """Yield a header and the rows that pass, newest first, with the true labels known.

    Columns: the log's own, `probability.<class>`, `input.<feature>` and `TRUTH`.
    """
    classes = list(dict.fromkeys(name for names in reader.classes.values() for name in names))
    labels_by_day: dict[date, dict[Key, Feedback]] = {}
    yield _csv(_flat(reader.schema.empty_table(), reader, classes, {}), header=True)
    for table in reader.tables():
        present = {moment.date() for moment in pc.unique(pc.floor_temporal(table["time"], unit="day")).to_pylist()}
        labels_by_day = {
            day: labels_by_day[day] if day in labels_by_day else feedback.of_day(base, day) for day in present
        }
        yield _csv(
            _flat(table, reader, classes, {k: v for of_day in labels_by_day.values() for k, v in of_day.items()})
        )


def _flat(table: pa.Table, reader: Reader, classes: list[str], labels: dict[Key, Feedback]) -> pa.Table:
    """Return the table as CSV can have it."""
    columns = {name: table[name] for name in META.names if name not in ("time", "probabilities")}
    columns = {"time": pc.strftime(table["time"], format="%Y-%m-%dT%H:%M:%SZ"), **columns}
    columns |= {f"probability.{name}": values for name, values in _by_class(table, reader, classes).items()}
    columns |= {name: table[name] for name in table.column_names if name.startswith(INPUT)}
    feedbacks = [labels.get(key) for key in zip(table["request_id"].to_pylist(), table["row"].to_pylist(), strict=True)]
    truth = [
        [f and f.label for f in feedbacks],
        [f and f.who for f in feedbacks],
        [f and f.time.isoformat() for f in feedbacks],
    ]
    columns |= {name: pa.array(values, pa.string()) for name, values in zip(TRUTH, truth, strict=True)}
    is_text = {name: pa.types.is_string(values.type) for name, values in columns.items()}
    return pa.table({name: safe_texts(values) if is_text[name] else values for name, values in columns.items()})


def _by_class(table: pa.Table, reader: Reader, classes: list[str]) -> dict[str, pa.Array]:
    """Return the probability of each class, null where a version does not have it."""
    columns = {name: np.full(table.num_rows, np.nan) for name in classes}
    versions = table["version"].to_numpy()
    for version in np.unique(versions):
        names, where = reader.classes[int(version)], versions == version
        rows = table["probabilities"].filter(pa.array(where)).combine_chunks()
        matrix = pc.list_flatten(rows).to_numpy(zero_copy_only=False).reshape(-1, len(names))
        for index, name in enumerate(names):
            columns[name][where] = matrix[:, index]
    return {name: pa.array(values, from_pandas=True) for name, values in columns.items()}


def _csv(table: pa.Table, header: bool = False) -> bytes:
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(include_header=header))
    return sink.getvalue()
