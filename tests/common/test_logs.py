from __future__ import annotations

from common.logs import Sparse
from tests.support.clock import Clock


def test_what_is_said_now_and_then_comes_with_its_count() -> None:
    clock = Clock(0.0)
    sparse = Sparse(60.0, clock)
    assert [sparse.due("a"), sparse.due("a"), sparse.due("a", 3), sparse.due("b", 5)] == [1, 0, 0, 5]
    clock.now = 59.9
    assert sparse.due("a") == 0
    clock.now = 60.0
    assert [sparse.due("a"), sparse.due("a"), sparse.due("b")] == [6, 0, 1]
