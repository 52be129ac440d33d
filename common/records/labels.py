"""What turned out to be true: labels that people give to predictions later, kept beside the log, the latest wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from common.records.engine import FILES, answer_from, connect, live
from common.records.files import FEEDBACK, TIME, day_folder, files_of_day, write

SCHEMA = pa.schema(
    [
        pa.field("time", TIME),
        pa.field("request_id", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("version", pa.int64()),
        pa.field("label", pa.string()),
        pa.field("who", pa.string()),
    ]
)
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
        """Which prediction it is about."""
        return self.request_id, self.row


def keep(base: Path, day: date, feedback: Feedback) -> None:
    """Write down a true label under a model's folder, by the day of the prediction. Raises OSError."""
    write(day_folder(base / FEEDBACK, day), pa.Table.from_pylist([asdict(feedback)], SCHEMA))


def of_day(base: Path, day: date) -> dict[Key, Feedback]:
    """Return the true labels of a day's predictions, as they were told last."""
    files = files_of_day(day, day_folder(base / FEEDBACK, day))
    if not files:
        return {}
    connection = connect()
    sql = f"SELECT {', '.join(SCHEMA.names)} FROM {FILES} ORDER BY time"

    def ask(paths: Sequence[str]) -> list[dict[str, Any]]:
        return connection.sql(sql, params={"files": paths}).to_arrow_table().cast(SCHEMA).to_pylist() if paths else []

    feedback = (Feedback(**row) for row in answer_from(live(connection, files), ask))
    return {each.key: each for each in feedback}
