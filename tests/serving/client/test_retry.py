from __future__ import annotations

from collections.abc import Callable

import pytest

from serving.client.errors import CircuitOpen, InvalidRequest, ModelServerDown, ModelServerTimeout
from serving.client.retry import Caller, Clock, Policy


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self, chance: float = 1.0) -> None:
        self.now_s, self.slept_s = 0.0, list[float]()
        self.clock = Clock(lambda: self.now_s, self.sleep, lambda: chance)

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


def failing(times: int, error: Exception) -> Callable[[float], str]:
    left = iter(range(times))

    def attempt(left_s: float) -> str:
        if next(left, None) is not None:
            raise error
        return "answer"

    return attempt


DOWN = ModelServerDown("down")


def test_a_call_is_tried_again_with_growing_waits() -> None:
    time = Time()
    caller = Caller(Policy(tries=4, first_wait_s=0.1, longest_wait_s=0.3), time.clock)
    assert caller.call(failing(3, DOWN)) == "answer"
    assert time.slept_s == pytest.approx([0.1, 0.2, 0.3])


def test_waits_are_drawn_between_nothing_and_the_longest() -> None:
    time = Time(chance=0.25)
    Caller(Policy(tries=2, first_wait_s=0.1), time.clock).call(failing(1, DOWN))
    assert time.slept_s == pytest.approx([0.025])


def test_tries_are_bounded() -> None:
    time = Time()
    with pytest.raises(ModelServerDown):
        Caller(Policy(tries=2), time.clock).call(failing(2, DOWN))
    assert len(time.slept_s) == 1


@pytest.mark.parametrize("error", [ModelServerTimeout("late"), InvalidRequest("wrong")], ids=["timeout", "refused"])
def test_what_may_have_been_done_or_can_never_work_is_not_tried_again(error: Exception) -> None:
    time = Time()
    with pytest.raises(type(error)):
        Caller(Policy(), time.clock).call(failing(1, error))
    assert time.slept_s == []


def test_what_the_server_asks_for_is_waited() -> None:
    time = Time(chance=0.0)
    Caller(Policy(budget_s=10), time.clock).call(failing(1, ModelServerDown("busy", retry_after_s=3)))
    assert time.slept_s == [3]


def test_a_wait_beyond_the_budget_is_not_begun() -> None:
    time = Time()
    with pytest.raises(ModelServerDown, match="busy"):
        Caller(Policy(budget_s=10), time.clock).call(failing(1, ModelServerDown("busy", retry_after_s=11)))
    assert time.slept_s == []


def test_each_try_is_told_what_is_left_of_the_budget() -> None:
    time, told = Time(), list[float]()

    def attempt(left_s: float) -> None:
        told.append(left_s)
        time.now_s += 2
        raise DOWN

    with pytest.raises(ModelServerDown):
        Caller(Policy(budget_s=5, tries=9, first_wait_s=0), time.clock).call(attempt)
    assert told == [5, 3, 1]


def test_the_circuit_opens_after_failures_in_a_row_and_is_fast_then() -> None:
    time = Time()
    caller = Caller(Policy(tries=1, failures_to_open=3, cool_down_s=5), time.clock)
    for _ in range(3):
        with pytest.raises(ModelServerTimeout):
            caller.call(failing(1, ModelServerTimeout("late")))
    with pytest.raises(CircuitOpen, match=r"3 times in a row[\s\S]*5.0 s to go"):
        caller.call(lambda left_s: pytest.fail("the server was asked"))
    assert time.slept_s == []


def test_a_success_or_a_refusal_in_between_keeps_the_circuit_closed() -> None:
    caller = Caller(Policy(tries=1, failures_to_open=2), Time().clock)
    for error in (DOWN, InvalidRequest("wrong")) * 3:
        with pytest.raises(type(error)):
            caller.call(failing(1, error))


def open_circuit(time: Time) -> Caller:
    caller = Caller(Policy(tries=1, failures_to_open=1, cool_down_s=5), time.clock)
    with pytest.raises(ModelServerDown):
        caller.call(failing(1, DOWN))
    return caller


def test_after_the_cool_down_one_call_may_try_and_others_wait_for_it() -> None:
    time = Time()
    caller = open_circuit(time)
    time.now_s = 5.0

    def trial(left_s: float) -> str:
        with pytest.raises(CircuitOpen):
            caller.call(lambda left_s: pytest.fail("a second call went through"))
        return "answer"

    assert caller.call(trial) == "answer"
    assert caller.call(lambda left_s: "and on") == "and on"


def test_a_trial_that_fails_opens_the_circuit_again() -> None:
    time = Time()
    caller = open_circuit(time)
    time.now_s = 5.0
    with pytest.raises(ModelServerDown, match="down"):
        caller.call(failing(1, DOWN))
    with pytest.raises(CircuitOpen):
        caller.call(failing(0, DOWN))
