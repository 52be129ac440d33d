"""What a drift check found, window by window: written by monitoring, read by the web page.

    var/monitoring/<model>/drift.json

A column is named as in the prediction log: `input.<feature>`, `probability`, `label`; wrong decisions are those on
`class.<class>`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict

from common.adapters import adapter
from common.errors import DataError
from common.files import write_text
from common.records.files import INPUT

Kind = Literal["distribution", "missing", "outside", "unknown", "errors"]
State = Literal["checked", "too few rows", "no reference"]
CLASS = "class."
ERROR = "error"  # of a number that was predicted
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Measurement:
    """One column against the reference. It is a finding if it is both significant and larger than `limit`.

    `size` is what `measure` says: `W1/σ`, `total variation` or a difference of `share`. `numbers` are told beside it
    and decide nothing.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    column: str
    kind: Kind
    p_value: float
    size: float
    measure: str
    limit: float
    is_finding: bool = False
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return _title(self.column)


@dataclass(frozen=True)
class WindowCheck:
    """The rows that one version answered from `start` to before `end`.

    `rows` were measured, the newest of `logged`. `gone` features are in no row, `new` ones in no training row.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    version: int
    start: datetime
    end: datetime
    rows: int
    logged: int
    state: State
    measurements: tuple[Measurement, ...] = ()
    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    reason: str = ""  # why it was not checked
    labelled: int = 0  # rows of which the true label was known

    @property
    def findings(self) -> tuple[Measurement, ...]:
        return tuple(measurement for measurement in self.measurements if measurement.is_finding)


@dataclass(frozen=True)
class Alarm:
    """A column in which `windows` of a version's last `of` checked windows have a finding."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    version: int
    column: str
    windows: int
    of: int
    since: datetime  # the start of the first of these windows

    @property
    def title(self) -> str:
        return _title(self.column)


@dataclass(frozen=True)
class DriftReport:
    """The windows from the oldest to the newest, those of one time by version."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    model: str
    checked_at: datetime
    window_s: float
    windows: tuple[WindowCheck, ...]
    alarms: tuple[Alarm, ...] = ()
    route: str = ""  # only what was answered under this label; empty: all
    part: str = ""  # only this slice, such as `sex = 1`; empty: all
    schema_version: int = SCHEMA_VERSION

    def text(self) -> str:
        return adapter(DriftReport).dump_json(self, indent=1).decode() + "\n"

    def write(self, var: Path) -> Path:
        """Keep it as the latest of its model; return where."""
        path = _place(var, self.model)
        write_text(path, self.text())
        return path

    @staticmethod
    def latest(var: Path, model: str) -> DriftReport | None:
        """Return what was kept last, None if nothing was. Raises DataError if it cannot be read."""
        path = _place(var, model)
        try:
            return adapter(DriftReport).validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            fix = f"python -m monitoring drift {model} writes it anew"
            raise DataError(f"the drift check in {path} cannot be read", got=error, fix=fix) from None


def _title(column: str) -> str:
    if column.startswith(CLASS):
        return f"class {column.removeprefix(CLASS)}"
    if column == ERROR:
        return "error of the prediction"
    return column.removeprefix(INPUT)


def _place(var: Path, model: str) -> Path:
    return var / "monitoring" / model / "drift.json"
