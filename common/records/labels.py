"""What turned out to be true: labels that people give to predictions later, in the database; the latest wins.

Earlier releases kept them as Parquet files beside the log; `take_over` brings them in.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Float,
    MetaData,
    String,
    Table,
    delete,
    insert,
    select,
    tuple_,
)

from common.records.files import days, start_of

metadata = MetaData()
table = Table(
    "feedback",
    metadata,
    Column("model", String(64), primary_key=True),
    Column("request_id", String(64), primary_key=True),
    Column("row", BigInteger, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("predicted", Float, nullable=False, index=True),  # seconds since 1970, as all times
    Column("label", String, nullable=False),
    Column("who", String(64), nullable=False),
    Column("time", Float, nullable=False),
)
OLD_FOLDER = "_feedback"
IDS_AT_A_TIME = 500  # SQLite takes no more than some thousand parameters
log = logging.getLogger(__name__)
Key = tuple[str, int]  # request id and row


@dataclass(frozen=True)
class Feedback:
    """The true label of one prediction. `time` is when it was told, `version` is the one that predicted."""

    time: datetime
    request_id: str
    row: int
    version: int
    label: str
    who: str

    @property
    def key(self) -> Key:
        return self.request_id, self.row


def keep(connection: Connection, model: str, predicted: datetime, feedback: Feedback) -> None:
    """Write down a true label, in place of what was told before."""
    is_same = (table.c.model == model) & (table.c.request_id == feedback.request_id) & (table.c.row == feedback.row)
    connection.execute(delete(table).where(is_same))
    values = asdict(feedback) | {"time": feedback.time.timestamp()}
    connection.execute(insert(table).values(**values, model=model, predicted=predicted.timestamp()))


def of_requests(connection: Connection, model: str, request_ids: Iterable[str]) -> dict[Key, Feedback]:
    labels = {}
    for some in _among(request_ids):
        for row in connection.execute(select(table).where(table.c.model == model, some)):
            labels[row.request_id, row.row] = _feedback(row)
    return labels


def _feedback(row: Any) -> Feedback:
    told = datetime.fromtimestamp(row.time, timezone.utc)
    return Feedback(told, row.request_id, row.row, row.version, row.label, row.who)


def between(connection: Connection, model: str, start: datetime, end: datetime) -> dict[Key, Feedback]:
    """Return the true labels of what was predicted from `start` to before `end`."""
    predicted = table.c.predicted
    within = (table.c.model == model) & (predicted >= start.timestamp()) & (predicted < end.timestamp())
    return {(row.request_id, row.row): _feedback(row) for row in connection.execute(select(table).where(within))}


def times(connection: Connection, model: str, start: datetime, end: datetime) -> list[tuple[float, float]]:
    """Return when each label was told and when it was predicted, of predictions between two moments: since 1970."""
    predicted = table.c.predicted
    within = (table.c.model == model) & (predicted >= start.timestamp()) & (predicted < end.timestamp())
    return [(told, made) for told, made in connection.execute(select(table.c.time, predicted).where(within))]


def forget(connection: Connection, model: str, keys: Iterable[Key]) -> int:
    """Delete the true labels of some predictions; return how many there were."""
    wanted, gone = sorted(set(keys)), 0
    for first in range(0, len(wanted), IDS_AT_A_TIME):
        some = tuple_(table.c.request_id, table.c.row).in_(wanted[first : first + IDS_AT_A_TIME])
        gone += connection.execute(delete(table).where(table.c.model == model, some)).rowcount
    return gone


def forget_before(connection: Connection, moment: datetime) -> None:
    connection.execute(delete(table).where(table.c.predicted < moment.timestamp()))


def take_over(connection: Connection, base: Path) -> list[Path]:
    """Read a model's labels that an earlier release kept as files; return the files, which are of no use from then on.

    Their folders are named by the day of the prediction. A file that cannot be read is left where it is.
    """
    taken: list[Path] = []
    for day, folder in days(base / OLD_FOLDER).items():
        for path in sorted(folder.glob("*.parquet")):
            try:
                labels = pq.ParquetFile(path).read(list(Feedback.__dataclass_fields__)).to_pylist()
            except (pa.ArrowException, OSError) as error:
                log.warning("the true labels in %s cannot be read: %s", path, error)
                continue
            known = of_requests(connection, base.name, [label["request_id"] for label in labels])
            for feedback in sorted((Feedback(**label) for label in labels), key=lambda label: label.time):
                if feedback.key not in known or known[feedback.key].time <= feedback.time:
                    keep(connection, base.name, start_of(day), feedback)
            taken.append(path)
    return taken


def _among(request_ids: Iterable[str]) -> Iterator[ColumnElement[bool]]:
    wanted = sorted(set(request_ids))
    for first in range(0, len(wanted), IDS_AT_A_TIME):
        yield table.c.request_id.in_(wanted[first : first + IDS_AT_A_TIME])
