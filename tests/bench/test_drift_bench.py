from __future__ import annotations

import pytest

from bench.drift import CASES, PRIOR, measure
from bench.drift_worlds import World, worlds


@pytest.fixture(scope="module")
def mixed() -> World:
    return worlds()[1]


def test_each_window_and_each_kind_of_drift_is_counted(mixed: World) -> None:
    outcome = measure(mixed, rows=200, references=2, windows=3, tries=1)
    assert outcome.windows == 6
    assert {name: len(detections) for name, detections in outcome.detected.items()} == dict.fromkeys([*CASES, PRIOR], 2)
    assert outcome.share("two categories swapped") == 1.0
    assert outcome.findings <= 1
