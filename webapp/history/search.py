"""What was predicted: search, look at one, export, delete; and what turned out to be true."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from common.errors import DataError, VouchError
from common.records import image_labels, images, labels, upkeep
from common.records.database import Database
from common.records.files import INPUT, META, STRANGENESS, end_of, start_of
from common.records.image_labels import ImageLabel
from common.records.labels import Feedback, Key
from common.records.reader import ALL, Filters, Reader
from common.tables.columns import safe_texts
from common.text import counted
from config.data_settings import IMAGE_BYTES
from webapp.predict.log_writer import FLUSH_EVERY_S
from webapp.services import Services

PAGE_ROWS = 50
SEARCH_S = 5.0
FLUSH_S = 2.0
TO_PYTHON_ROWS = 256
MOST_ROWS = 2**63
TRUTH = ("true_label", "true_label_by", "true_label_time")


class PredictionNotFound(VouchError):
    """There is no such prediction on record."""

    http_status = 404


@dataclass(frozen=True)
class Logged:
    """One row that was predicted. `inputs`: None where a value was missing."""

    time: datetime
    request_id: str
    row: int
    model: str
    version: int
    route: str
    who: str
    source: str
    reference: str | None
    latency_ms: float
    label: str
    probability: float  # of the positive class if there is one, else of the likeliest
    probabilities: dict[str, float]  # by class
    inputs: dict[str, Any]
    is_number: bool = False  # then `probability` is the number, and `probabilities` hold its bounds
    feedback: Feedback | None = None

    @property
    def was_right(self) -> bool:
        """Whether what turned out to be true is what was said, or lies in the interval that was."""
        if self.feedback is None or not self.is_number:
            return self.feedback is not None and self.feedback.label == self.label
        return self.probabilities["lower"] <= float(self.feedback.label) <= self.probabilities["upper"]

    @property
    def key(self) -> tuple[str, int]:
        return self.request_id, self.row


@dataclass(frozen=True)
class Forgotten:
    """How many rows were deleted, and how many uploads."""

    predictions: int
    labels: int
    uploads: int
    images: int

    def __str__(self) -> str:
        counts = {"prediction": self.predictions, "true label": self.labels, "upload": self.uploads}
        counts |= {"picture": self.images} if self.images else {}
        return ", ".join(counted(count, noun) for noun, count in counts.items())


@dataclass(frozen=True)
class Found:
    """One page, newest first. `stopped_at`: older rows were not looked at, because it took too long."""

    rows: tuple[Logged, ...]
    has_next: bool
    stopped_at: datetime | None = None


@dataclass(frozen=True)
class _Predicted:
    """What a true label needs of its row. `classes`: None where a number was predicted; `sha256`: of a picture."""

    time: datetime
    version: int
    classes: Sequence[str] | None
    sha256: str | None


class History:
    """The predictions of all models, as the log has them. Cheap to make."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def search(self, model: str, filters: Filters = ALL, page: int = 1, size: int = PAGE_ROWS) -> Found:
        """Return a page of the predictions that pass, with what turned out to be true. Raises ModelNotFound."""
        reader = Reader(self.base(model), filters, deadline_s=time.monotonic() + SEARCH_S)
        rows = list(islice(_rows(reader, (page - 1) * size), size + 1))
        has_next = len(rows) > size
        with self._services.database.reading() as connection:
            feedback = labels.of_requests(connection, model, (row.request_id for row in rows[:size]))
        labelled = tuple(replace(row, feedback=feedback.get(row.key)) for row in rows[:size])
        return Found(labelled, has_next, None if has_next else reader.stopped_at)

    def get(self, model: str, request_id: str, row: int = 0, day: date | None = None) -> Logged:
        """Return one prediction; it is found sooner if the day is known. Raises ModelNotFound, PredictionNotFound."""
        if not (request_id and request_id.isascii() and 0 <= row < MOST_ROWS):
            raise self._unknown(request_id, row)
        filters = Filters(request_id=request_id, row=row)
        if day:
            filters = replace(filters, start=start_of(day), end=end_of(day))
        rows = self.search(model, filters, size=1).rows
        if not rows and self._services.log.flush(FLUSH_S):
            rows = self.search(model, filters, size=1).rows
        if not rows:
            raise self._unknown(request_id, row)
        return rows[0]

    def add_feedback(self, model: str, request_id: str, row: int, label: str, who: str) -> Feedback:
        """Write down what a prediction's label really is. Raises ModelNotFound, PredictionNotFound, and as `tell`."""
        return self.tell(self.get(model, request_id, row), label, who)

    def tell(self, logged: Logged, label: str, who: str) -> Feedback:
        """Write down what a prediction's label really is; a later word goes before an earlier one.

        Raises DataError for a label that is not a class, or no number where one was predicted.
        """
        label = _true_label(label, None if logged.is_number else logged.probabilities)
        detail = f"{logged.model} version {logged.version}, {logged.request_id} row {logged.row}: {label}"
        feedback = Feedback(datetime.now(timezone.utc), logged.request_id, logged.row, logged.version, label, who)
        with self._services.database.writing() as connection:
            self._services.accounts.audit.append_in(connection, who, "feedback", detail)
            labels.keep(connection, logged.model, logged.time, feedback)
            if sha256 := logged.inputs.get(IMAGE_BYTES):
                image_labels.tell(connection, logged.model, ImageLabel(sha256, who, label, feedback.time))
        return feedback

    def add_labels(self, model: str, told: Mapping[Key, str], who: str) -> None:
        """Write down what many predictions' labels really are, all or none. Raises as `add_feedback`."""
        predicted = self._predicted(model, told)
        if told.keys() - predicted.keys() and self._services.log.flush(FLUSH_S):
            predicted = self._predicted(model, told)
        for key in told.keys() - predicted.keys():
            raise self._unknown(*key)
        true = {key: _true_label(label, predicted[key].classes) for key, label in told.items()}
        now = datetime.now(timezone.utc)
        with self._services.database.writing() as connection:
            detail = f"{model}: the true labels of {counted(len(told), 'row')}"
            self._services.accounts.audit.append_in(connection, who, "feedback", detail)
            for key, label in true.items():
                row = predicted[key]
                labels.keep(connection, model, row.time, Feedback(now, *key, row.version, label, who))
                if row.sha256:
                    image_labels.tell(connection, model, ImageLabel(row.sha256, who, label, now))

    def _predicted(self, model: str, keys: Iterable[Key]) -> dict[Key, _Predicted]:
        reader = Reader(self.base(model))
        picture = INPUT + IMAGE_BYTES
        sha256 = f'"{picture}"' if picture in reader.schema.names else "NULL"
        select = f"SELECT request_id, row, time, version, {sha256} FROM passing"
        rows = reader.query(
            f"{select} WHERE list_contains($requests, request_id)", {"requests": sorted({each for each, _ in keys})}
        )
        return {
            (request_id, row): _Predicted(
                at, version, None if version in reader.of_numbers else reader.classes[version], sha256
            )
            for request_id, row, at, version, sha256 in rows
        }

    def forget(self, model: str, reference: str, who: str) -> Forgotten:
        """Delete the predictions under one reference, their true labels, and the uploads that they came with.

        Those of the last seconds may still wait in another worker. Raises ModelNotFound, PredictionNotFound.
        """
        app_services, base = self._services, self.base(model)
        app_services.log.flush(FLUSH_S)
        keys = Reader(base, Filters(reference=reference)).query("SELECT request_id, row FROM passing")
        if not (reference and keys):
            raise PredictionNotFound("nothing is kept under this reference", fix="write it as it was sent")
        hashes = self._images_of(base, reference)
        with app_services.database.writing() as connection:
            told = labels.forget(connection, model, keys)
            image_labels.forget(connection, model, hashes)
            uploads = app_services.jobs.remove(connection, model, (request_id for request_id, _ in keys))
            removed = images.remove(app_services.settings.collected / model, hashes)
            gone = Forgotten(len(keys), told, uploads, removed)
            app_services.accounts.audit.append_in(connection, who, "reference deleted", f"{model}: {gone}")
        upkeep.forget(base, reference)  # last: by the predictions the rest is found, should it fail half way
        return gone

    def _images_of(self, base: Path, reference: str) -> set[str]:
        """Return the pictures that were predicted under this reference and no other."""
        reader = Reader(base)
        if INPUT + IMAGE_BYTES not in reader.schema.names:
            return set()
        mine = f"""SELECT "{INPUT}{IMAGE_BYTES}" FROM passing GROUP BY ALL
            HAVING bool_and(reference IS NOT DISTINCT FROM $reference)"""
        return {sha256 for (sha256,) in reader.query(mine, {"reference": reference})}

    def _unknown(self, request_id: str, row: int) -> PredictionNotFound:
        is_kept = self._services.settings.log_predictions
        soon = f"one just made is there after {FLUSH_EVERY_S:g} s"
        return PredictionNotFound(
            "there is no such prediction on record",
            got=f"request {request_id[:64]!r}, row {row}",
            fix=soon if is_kept else "none is kept here: VOUCH_LOG_PREDICTIONS is off",
        )

    def base(self, model: str) -> Path:
        """Return the folder of a model's predictions. Raises ModelNotFound."""
        self._services.catalog.versions(model)
        return self._services.settings.predictions / model


def _true_label(label: str, classes: Collection[str] | None) -> str:
    """Return a true label as it is kept; without classes it is a number. Raises DataError."""
    if classes is None:
        return _as_number(label)
    if label not in classes:
        raise DataError("this is no label of the model", got=repr(label[:80]), wanted=f"one of {', '.join(classes)}")
    return label


def _rows(reader: Reader, skip: int) -> Iterator[Logged]:
    names = [name for name in META.names if name != "probabilities"]
    inputs = [name for name in reader.schema.names if name.startswith(INPUT)]
    for table in reader.tables(skip):
        for first in range(0, table.num_rows, TO_PYTHON_ROWS):
            for row in table.slice(first, TO_PYTHON_ROWS).to_pylist():
                likely = dict(zip(reader.classes[row["version"]], row["probabilities"], strict=True))
                features = {name.removeprefix(INPUT): row[name] for name in inputs}
                is_number = row["version"] in reader.of_numbers
                yield Logged(
                    **{name: row[name] for name in names}, probabilities=likely, inputs=features, is_number=is_number
                )


def _as_number(text: str) -> str:
    """Return a true number as it is kept. Raises DataError."""
    try:
        number = float(text.strip())
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError("this is no true value of a number", got=repr(text[:80]), wanted="a number, such as 151.5")
    return f"{number!r}".removesuffix(".0")


def export(database: Database, model: str, reader: Reader) -> Iterator[bytes]:
    """Yield a header and the rows that pass, newest first, with the true labels known.

    Columns: the log's own, `probability.<class>`, `input.<feature>`, of pictures `strangeness`, and `TRUTH`.
    """
    classes = list(dict.fromkeys(name for names in reader.classes.values() for name in names))
    yield _csv(_flat(reader.schema.empty_table(), reader, classes, {}), header=True)
    for table in reader.tables():
        with database.reading() as connection:
            feedback = labels.of_requests(connection, model, table["request_id"].to_pylist())
        yield _csv(_flat(table, reader, classes, feedback))


def _flat(table: pa.Table, reader: Reader, classes: list[str], feedback: dict[Key, Feedback]) -> pa.Table:
    columns = {name: table[name] for name in META.names if name not in ("time", "probabilities")}
    columns = {"time": pc.strftime(table["time"], format="%Y-%m-%dT%H:%M:%SZ"), **columns}
    versions, probabilities = table["version"].to_pylist(), table["probabilities"].to_pylist()
    by_class = [
        dict(zip(reader.classes[v], each, strict=True)) for v, each in zip(versions, probabilities, strict=True)
    ]
    for name in classes:  # null where a version does not have it
        columns[f"probability.{name}"] = pa.array([each.get(name) for each in by_class], pa.float64())
    columns |= {name: table[name] for name in table.column_names if name.startswith(INPUT) or name == STRANGENESS}
    told = map(feedback.get, zip(table["request_id"].to_pylist(), table["row"].to_pylist(), strict=True))
    truths = [(each.label, each.who, each.time.isoformat()) if each else (None, None, None) for each in told]
    columns |= {name: pa.array([truth[i] for truth in truths], pa.string()) for i, name in enumerate(TRUTH)}
    is_text = {name: pa.types.is_string(values.type) for name, values in columns.items()}
    return pa.table({name: safe_texts(values) if is_text[name] else values for name, values in columns.items()})


def _csv(table: pa.Table, header: bool = False) -> bytes:
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(include_header=header))
    return sink.getvalue()
