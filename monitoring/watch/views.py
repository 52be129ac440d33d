"""What the watcher has seen in one round: of each model, and of the registry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from common.adapters import adapter
from common.records.drift import Alarm, WindowCheck


@dataclass(frozen=True)
class ErrorShare:
    """Wrong decisions on one true class, over the whole period, with 95 % bounds.

    `promised` is the upper bound of the share on test; `is_broken` once the share is surely larger.
    """

    true_class: str
    rows: int
    share: float
    lower: float
    upper: float
    promised: float
    is_broken: bool


@dataclass(frozen=True)
class VersionView:
    """A version that answers: its newest window that was checked, its alarms, its errors where labels are known."""

    version: int
    role: str  # stable or candidate
    window: WindowCheck | None
    alarms: tuple[Alarm, ...]
    errors: tuple[ErrorShare, ...]


@dataclass(frozen=True)
class LabelView:
    """True labels that were told in the period, and how long after the prediction."""

    rows: int
    newest: datetime
    median_lag_s: float
    late_lag_s: float  # 95 % came sooner


@dataclass(frozen=True)
class Served:
    """Which versions there are. What servers have is None if none of them answered."""

    on_disk: int
    stable: int | None
    candidate: int | None
    is_awaiting_release: bool  # the newest on disk was never released, and is newer than what is
    available: int | None = None  # the newest that every server has
    missing: tuple[int, ...] | None = None  # that are released and not available on every server


@dataclass(frozen=True)
class RetrainView:
    """Where a model's retraining is: `idle`, or the last step that was completed."""

    stage: str
    budget_left: int  # that may still begin this week
    cool_down_s: float  # until one may begin
    is_paused: bool


@dataclass(frozen=True)
class ModelView:
    model: str
    versions: tuple[VersionView, ...] = ()
    served: Served | None = None
    labels: LabelView | None = None
    newest_prediction: datetime | None = None
    newest_span: datetime | None = None
    retraining: RetrainView | None = None
    problem: str = ""  # why it could not be examined


@dataclass(frozen=True)
class RegistryView:
    """What MLflow was told. `differing`: models of which an alias is not where the release is."""

    waiting: int
    refused: int
    differing: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True)
class Round:
    started_at: datetime
    duration_s: float
    interval_s: float
    models: tuple[ModelView, ...]
    registry: RegistryView | None = None  # None: there is no MLflow to tell

    def text(self) -> str:
        """Return it as JSON, in one line."""
        return adapter(Round).dump_json(self).decode()
