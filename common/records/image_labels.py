"""What people say that pictures show, by the picture's SHA-256: a word each, the last one counts.

What all agree on is the true label of every prediction of the picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Column, Connection, Float, String, Table, delete, insert, select

from common.records import labels
from common.records.files import INPUT
from common.records.labels import IDS_AT_A_TIME, Feedback, metadata
from common.records.reader import Filters, Reader

table = Table(
    "image_labels",
    metadata,
    Column("model", String(64), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("who", String(64), primary_key=True),
    Column("label", String),  # null: a bad picture, which shows nothing that can be learnt
    Column("time", Float, nullable=False),
)


@dataclass(frozen=True)
class ImageLabel:
    """What one person says of one picture. `label`: None is a bad picture."""

    sha256: str
    who: str
    label: str | None
    time: datetime


@dataclass(frozen=True)
class Agreement:
    """What all say of one picture together. `label`: None where it is bad, or where they contradict each other."""

    label: str | None
    is_disputed: bool = False

    @property
    def is_bad(self) -> bool:
        return self.label is None and not self.is_disputed


def agreement_of(said: Sequence[ImageLabel]) -> Agreement | None:
    """Return what people agree on; None if nobody said anything."""
    different = {each.label for each in said}
    if not different:
        return None
    return Agreement(None, is_disputed=True) if len(different) > 1 else Agreement(different.pop())


@dataclass(frozen=True)
class ImagePrediction:
    """What was said of a picture once."""

    time: datetime
    request_id: str
    row: int
    version: int
    label: str
    probability: float  # of the label: pictures have no positive class
    reference: str


def predictions_of(
    log: Path, column: str, hashes: Collection[str], start: datetime | None = None
) -> dict[str, list[ImagePrediction]]:
    """Return what a log has on pictures since `start`, the newest first. `column`: the input that has hashes."""
    reader = Reader(log, Filters(start=start))
    predictions: dict[str, list[ImagePrediction]] = defaultdict(list)
    if not hashes or INPUT + column not in reader.schema.names:
        return {}
    names = list(ImagePrediction.__dataclass_fields__)
    wanted = pa.array(sorted(hashes), pa.string())
    for part in reader.columns([*names, INPUT + column]):
        for row in part.filter(pc.is_in(part[INPUT + column], wanted)).to_pylist():
            sha256 = row.pop(INPUT + column)
            predictions[sha256].append(ImagePrediction(**row | {"reference": row["reference"] or ""}))
    return {sha256: sorted(each, key=lambda one: one.time, reverse=True) for sha256, each in predictions.items()}


def settle(
    connection: Connection, model: str, sha256: str, predictions: Sequence[ImagePrediction], who: str
) -> Agreement | None:
    """Give the predictions of a picture the label that all agree on, and none if they do not; return it."""
    agreement = agreement_of(of_image(connection, model, sha256))
    labels.forget(connection, model, [(each.request_id, each.row) for each in predictions])
    if agreement and agreement.label is not None:
        told = datetime.now(timezone.utc)
        for each in predictions:
            feedback = Feedback(told, each.request_id, each.row, each.version, agreement.label, who)
            labels.keep(connection, model, each.time, feedback)
    return agreement


def tell(connection: Connection, model: str, label: ImageLabel) -> None:
    """Write down what somebody says, in place of what they said before."""
    mine = (table.c.model == model) & (table.c.sha256 == label.sha256) & (table.c.who == label.who)
    connection.execute(delete(table).where(mine))
    values = asdict(label) | {"time": label.time.timestamp()}
    connection.execute(insert(table).values(**values, model=model))


def take_back(connection: Connection, model: str, who: str) -> str | None:
    """Delete the last word of somebody; return the picture that it was about."""
    mine = (table.c.model == model) & (table.c.who == who)
    last = connection.execute(select(table.c.sha256).where(mine).order_by(table.c.time.desc()).limit(1)).scalar()
    if last is not None:
        connection.execute(delete(table).where(mine, table.c.sha256 == last))
    return last


def of_model(connection: Connection, model: str) -> dict[str, list[ImageLabel]]:
    """Return what was said of a model's pictures, by their hash."""
    said: dict[str, list[ImageLabel]] = defaultdict(list)
    for row in connection.execute(select(table).where(table.c.model == model)):
        said[row.sha256].append(_label(row))
    return dict(said)


def of_image(connection: Connection, model: str, sha256: str) -> list[ImageLabel]:
    rows = connection.execute(select(table).where(table.c.model == model, table.c.sha256 == sha256))
    return [_label(row) for row in rows]


def forget(connection: Connection, model: str, hashes: Collection[str]) -> None:
    """Delete what was said of some pictures."""
    wanted = sorted(hashes)
    for first in range(0, len(wanted), IDS_AT_A_TIME):
        some = table.c.sha256.in_(wanted[first : first + IDS_AT_A_TIME])
        connection.execute(delete(table).where(table.c.model == model, some))


def _label(row: Any) -> ImageLabel:
    return ImageLabel(row.sha256, row.who, row.label, datetime.fromtimestamp(row.time, timezone.utc))
