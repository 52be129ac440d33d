"""What turned out to be true: labels that people give to predictions later, kept beside the log, the latest wins."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from common.records.files import FEEDBACK, TIME, LogFile, day_folder, files_of_day, replaced, write

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
    gone: set[str] = set()
    by_key: dict[Key, Feedback] = {}
    for file in files_of_day(day, day_folder(base / FEEDBACK, day)):
        if file.name not in gone:
            gone |= _read(file, by_key)
    return by_key


def _read(file: LogFile, by_key: dict[Key, Feedback]) -> frozenset[str]:
    """Add what a file tells later than what is `found`; return the files that it replaces."""
    opened: pq.ParquetFile | None = file.open()
    if opened is None:
        return frozenset()
    names = [f.name for f in fields(Feedback)]
    for row in opened.read(columns=names).to_pylist():
        label = Feedback(**row)
        if label.key not in by_key or label.time > by_key[label.key].time:
            by_key[label.key] = label
    return replaced(opened)
