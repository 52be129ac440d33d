"""Where a model's retraining is, as the controller has put it down."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from common.records.retrain import Retraining
from config.load import load_settings
from monitoring.controller.rules import budget_left, cool_down_left
from monitoring.watch.views import RetrainView


def retraining_of(var: Path, config: Path, now: datetime) -> RetrainView | None:
    """Return what is known; None for a model without settings, which the controller does not know."""
    if not config.is_dir():
        return None
    rules, known = load_settings(config).retrain, Retraining.read(var, config.name)
    return RetrainView(
        known.active.stage if known.active else "idle",
        budget_left(known, rules, now),
        cool_down_left(known, rules, now).total_seconds(),
        known.paused is not None,
    )
