"""The last hour in numbers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.support.web.logged import NOON, batch, hasty, minutes, put
from webapp.pages.monitoring import recent


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    hasty(monkeypatch)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "cells"


def test_rows_are_counted_by_the_minute(base: Path) -> None:
    put(base, batch(9, at=NOON - minutes(60.5)))
    put(base, batch(2, at=NOON - minutes(59.5)))
    put(base, batch(1, at=NOON - minutes(0.5)))
    put(base, batch(3, at=NOON - minutes(0.2)))
    put(base, batch(5, at=NOON + minutes(1)))
    found = recent(base, NOON)
    assert (found.rows, found.per_minute) == (6, (2, *[0] * 58, 4))


def test_latency_is_of_requests_not_of_rows(base: Path) -> None:
    for number, (rows, latency_s) in enumerate([(100, 0.001), (1, 0.002), (1, 0.003)]):
        put(base, batch(rows, at=NOON - timedelta(seconds=10 + number), latency_s=latency_s))
    assert recent(base, NOON).latency_ms == pytest.approx((2.0, 2.9, 2.98))


def test_answers_are_counted_by_version_and_label(base: Path) -> None:
    put(base, batch(3, at=NOON - minutes(1)))
    put(base, batch(1, at=NOON - minutes(2), version=2))
    assert recent(base, NOON).answers == ((2, "B", 1), (1, "B", 2), (1, "M", 1))


def test_probabilities_are_spread_over_bins_from_0_to_1(base: Path) -> None:
    put(base, batch(3, at=NOON - minutes(1), probabilities=np.float32([[1, 0], [0, 1], [0.47, 0.53]])))
    scores = recent(base, NOON).scores
    assert len(scores) == 20
    assert [rows for _, _, rows in scores if rows] == [1, 1, 1]
    assert (scores[0][2], scores[10][2], scores[-1][2]) == (1, 1, 1)


def test_a_busy_hour_is_told_whole(base: Path) -> None:
    put(base, batch(30_000, at=NOON - minutes(0.5)))
    put(base, batch(2, at=NOON - minutes(30.5)))
    found = recent(base, NOON)
    assert (found.rows, found.per_minute[-1], found.per_minute[29]) == (30_002, 30_000, 2)


def test_without_predictions_there_is_nothing(base: Path) -> None:
    found = recent(base, NOON)
    assert (found.rows, found.latency_ms, found.answers, sum(found.per_minute)) == (0, (), (), 0)
