"""A place where the watcher finds models, predictions and labels."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from monitoring.watch.observe import Site
from tests.support.drift import Watched, patients, reference_of


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    made = Watched(tmp_path)
    made.push(1, reference_of(patients(600)))
    return made


@pytest.fixture
def place(watched: Watched) -> Site:
    return Site(watched.var, watched.var / "config", timedelta(days=1))
