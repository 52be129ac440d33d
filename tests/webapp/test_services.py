from __future__ import annotations

from itertools import count

from tests.support.clock import Clock
from webapp.services import KEPT_S, Kept


def test_what_takes_a_while_is_found_out_once_in_a_while_for_each_key() -> None:
    clock, numbers = Clock(0.0), count()
    kept = Kept(clock)

    def find() -> int:
        return next(numbers)

    assert [kept.get("a", find), kept.get("a", find), kept.get("b", find)] == [0, 0, 1]
    clock.now = KEPT_S - 0.1
    assert kept.get("a", find) == 0
    clock.now = KEPT_S
    assert [kept.get("a", find), kept.get("b", find)] == [2, 3]
