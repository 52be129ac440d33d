from __future__ import annotations

from tests.support.clock import Clock
from webapp.services import Kept


def test_what_takes_a_while_is_found_out_once_in_a_while_for_each_key() -> None:
    clock = Clock(0.0)
    kept = Kept(clock)

    def find(before: int | None) -> int:
        return 0 if before is None else before + 1

    assert [kept.get("a", find, 5.0), kept.get("a", find, 5.0), kept.get("b", find, 5.0)] == [0, 0, 0]
    clock.now = 4.9
    assert kept.get("a", find, 5.0) == 0
    clock.now = 5.0
    assert [kept.get("a", find, 5.0), kept.get("b", find, 60.0)] == [1, 0]
