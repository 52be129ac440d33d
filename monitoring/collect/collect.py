"""Add the next span: what was predicted and labelled since, checked, without a second copy, with its provenance."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import schema_pb2

from common.errors import ConfigError, DataError
from common.records.labels import Feedback, Key
from common.records.spans import IS_SYNTHETIC, PROVENANCE, SET_ASIDE
from config.schema import Feature, model_features, read_schema
from config.settings import Settings
from monitoring.collect.examples import Examples, examples_of, remove_examples
from monitoring.collect.rows import Chosen, LabelledRow, Rules, choose, labelled_rows
from monitoring.collect.spans import Spans

_PROVENANCE = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("example", pa.int64()),  # its number in the file, from 0
        pa.field("request_id", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("predicted", pa.timestamp("us", "UTC")),
        pa.field("version", pa.int64()),
        pa.field("label", pa.string()),
        pa.field("told_by", pa.string()),
        pa.field("told", pa.timestamp("us", "UTC")),
        pa.field("reference", pa.string()),
        pa.field(IS_SYNTHETIC, pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Wanted:
    """Which predictions, and how many that one user labelled; made-up ones only if they are asked for."""

    start: datetime
    end: datetime
    most_per_user: int
    with_synthetic: bool = False


@dataclass(frozen=True)
class Collected:
    """The new span's folder, and what became of the rows."""

    folder: Path
    chosen: Chosen


@dataclass(frozen=True)
class _Prepared:
    """What is to be added to the newest span; `files` are its examples."""

    features: Sequence[Feature]
    examples: Examples
    files: Sequence[Path]
    provenance: pa.Table
    chosen: Chosen


def collect(settings: Settings, predictions: Path, feedback: Mapping[Key, Feedback], wanted: Wanted) -> Collected:
    """Add a span to `data.source`. `predictions`: the model's log.

    Raises ConfigError where spans cannot be told from `data.source`, or rows are dealt by what the log does not have;
    DataError if there is no row to add.
    """
    spans = _spans(settings)
    with spans.adding():
        prepared = _prepared(settings, spans, predictions, feedback, wanted)
        chosen, files = prepared.chosen, prepared.files
        if not chosen.taken:
            raise DataError(
                "there is no new row to collect",
                got=", ".join(f"{count} {reason}" for reason, count in chosen.reasons.most_common()) or "no true label",
                fix="tell true labels: POST /api/v1/feedback, or on the page of a prediction",
            )
        name = f"collected-{spans.following():04d}{Path(spans.files).suffix or files[0].suffix}"

        def fill(staged: Path) -> Mapping[str, Any]:
            prepared.examples.write(staged / name, chosen.taken, files[0])
            table = pa.Table.from_pylist([_origin(name, i, row) for i, row in enumerate(chosen.taken)], _PROVENANCE)
            pq.write_table(pa.concat_tables([prepared.provenance, table]), staged / PROVENANCE)
            _write_set_aside(staged / SET_ASIDE, chosen, [feature.name for feature in prepared.features])
            return {
                "model": settings.name,
                "from": wanted.start.isoformat(),
                "to": wanted.end.isoformat(),
                "added": len(chosen.taken),
                "synthetic": sum(row.is_synthetic for row in chosen.taken),
                "set_aside": dict(chosen.reasons),
            }

        return Collected(spans.add(fill), chosen)


def collectable(settings: Settings, predictions: Path, feedback: Mapping[Key, Feedback], wanted: Wanted) -> int:
    """Return how many rows `collect` would add now. Raises as it does, but for there being none."""
    return len(_prepared(settings, _spans(settings), predictions, feedback, wanted).chosen.taken)


def _spans(settings: Settings) -> Spans:
    if not settings.schema_file:
        raise ConfigError("rows are checked against a curated schema", got="no `schema` in pipeline.yaml")
    if column := settings.split.group_by or settings.split.time:
        raise ConfigError(
            f"rows are dealt by {column!r}, which the prediction log does not have",
            wanted="split.by: content or row, without split.group_by",
            fix="collect them where that column is known",
        )
    return Spans.of(settings.data.source)


def _prepared(
    settings: Settings, spans: Spans, predictions: Path, feedback: Mapping[Key, Feedback], wanted: Wanted
) -> _Prepared:
    assert settings.schema_file
    schema = read_schema(settings.schema_file)
    features, label = model_features(schema, settings), settings.data.label
    is_whole = any(feature.name == label and feature.type == schema_pb2.INT for feature in schema.feature)
    examples = examples_of(settings, features)
    newest = spans.newest()
    files = spans.examples(newest)
    if not files:
        raise DataError(f"span {newest} has no file {spans.files}", got=spans.folder(newest))
    provenance = _provenance(spans.folder(newest))
    known = dict(row for path in files for row in examples.contents(path))
    rules = Rules(features, settings, known, _keys(provenance), wanted.most_per_user, wanted.with_synthetic, is_whole)
    chosen = choose(labelled_rows(predictions, feedback, features, wanted.start, wanted.end), rules)
    return _Prepared(features, examples, files, provenance, chosen)


def forget(settings: Settings, reference: str) -> dict[int, int]:
    """Take the rows of a reference out of all spans; return how many of each span, those set aside among them.

    A span that was withdrawn, which nothing needs, is removed as a whole. Raises ConfigError, and DataError if there
    are none.
    """
    spans = Spans.of(settings.data.source)
    gone: dict[int, int] = {}
    with spans.adding():
        for number in spans.numbers():
            if rows := _rows_of(spans.folder(number), reference):
                gone[number] = rows
                spans.rewrite(number, partial(_without, settings=settings, reference=reference))
        for number, folder in spans.withdrawn().items():
            if rows := _rows_of(folder, reference):
                gone[number] = rows
                shutil.rmtree(folder)
    if not gone:
        raise DataError("nothing was collected under this reference", fix="write it as it was sent with the case")
    return gone


def _rows_of(folder: Path, reference: str) -> int:
    """Return how many rows of a span have a reference, those set aside among them."""
    aside = pq.ParquetFile(folder / SET_ASIDE).read() if (folder / SET_ASIDE).is_file() else None
    is_aside = _marked(aside, reference) if aside else np.zeros(0, bool)
    return int(_marked(_provenance(folder), reference).sum() + is_aside.sum())


def _marked(table: pa.Table, reference: str) -> NDArray[np.bool_]:
    """Return which rows have a reference."""
    return np.array([value == reference for value in table["reference"].to_pylist()], bool)


def _without(folder: Path, settings: Settings, reference: str) -> int:
    """Take a reference's rows out of a span's files; return how many there were."""
    provenance = _provenance(folder)
    is_gone = _marked(provenance, reference)
    files = np.array(provenance["file"].to_pylist(), object)
    numbers = provenance["example"].to_numpy()
    for name in sorted(set(files[is_gone])):
        remove_examples(folder / name, frozenset(numbers[is_gone & (files == name)].tolist()), settings.data.delimiter)
    kept = provenance.filter(pa.array(~is_gone)).to_pylist()
    following: Counter[str] = Counter()
    for row in kept:
        row["example"] = following[row["file"]]
        following[row["file"]] += 1
    pq.write_table(pa.Table.from_pylist(kept, _PROVENANCE), folder / PROVENANCE)
    aside = pq.ParquetFile(folder / SET_ASIDE).read()
    is_aside = _marked(aside, reference)
    pq.write_table(aside.filter(pa.array(~is_aside)), folder / SET_ASIDE)
    return int(is_gone.sum() + is_aside.sum())


def _origin(file: str, number: int, row: LabelledRow) -> dict[str, Any]:
    feedback = row.feedback
    return {
        "file": file,
        "example": number,
        "request_id": row.key[0],
        "row": row.key[1],
        "predicted": row.time,
        "version": row.version,
        "label": row.label,
        "told_by": feedback.who,
        "told": feedback.time,
        "reference": row.reference,
        "is_synthetic": row.is_synthetic,
    }


def _provenance(folder: Path) -> pa.Table:
    """Return where a span's collected rows come from; nothing if it has none."""
    path = folder / PROVENANCE
    try:
        return pq.ParquetFile(path).read().cast(_PROVENANCE) if path.is_file() else _PROVENANCE.empty_table()
    except (pa.ArrowException, OSError, ValueError) as error:
        fix = "put it back from a backup: by it no row is collected twice"
        raise DataError(f"{path} cannot be read", got=error, fix=fix) from None


def _keys(provenance: pa.Table) -> frozenset[Key]:
    return frozenset(zip(provenance["request_id"].to_pylist(), provenance["row"].to_pylist(), strict=True))


def _write_set_aside(path: Path, chosen: Chosen, features: Sequence[str]) -> None:
    columns: dict[str, Any] = {
        "reason": [reason for _, reason in chosen.set_aside],
        "request_id": [row.key[0] for row, _ in chosen.set_aside],
        "row": [row.key[1] for row, _ in chosen.set_aside],
        "label": [row.label for row, _ in chosen.set_aside],
        "told_by": [row.feedback.who for row, _ in chosen.set_aside],
        "reference": pa.array([row.reference for row, _ in chosen.set_aside], pa.string()),
    }
    columns |= {f"input.{name}": [row.values.get(name) for row, _ in chosen.set_aside] for name in features}
    pq.write_table(pa.table(columns), path)
