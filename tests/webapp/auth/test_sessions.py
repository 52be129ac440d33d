from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clock import Clock
from webapp.auth.accounts import Accounts, User
from webapp.auth.sessions import ABSOLUTE_S, IDLE_S
from webapp.types import Identity, Role

HERE = "192.0.2.1"


@pytest.fixture
def ada(accounts: Accounts) -> User:
    return accounts.add("ada", "seven green bicycles", Role.OPERATOR, who="test")


def test_each_session_has_an_id_of_its_own(accounts: Accounts, ada: User) -> None:
    ids = {accounts.sessions.begin(ada.id, HERE) for _ in range(3)}
    assert len(ids) == 3
    assert all(len(session_id) >= 43 for session_id in ids)
    assert {accounts.sessions.who(session_id) for session_id in ids} == {Identity("ada", Role.OPERATOR)}


def test_a_session_that_is_not_used_ends(accounts: Accounts, ada: User, clock: Clock) -> None:
    session = accounts.sessions.begin(ada.id, HERE)
    clock.now += IDLE_S - 1
    assert accounts.sessions.who(session)
    clock.now += IDLE_S - 1
    assert accounts.sessions.who(session)
    clock.now += IDLE_S
    assert accounts.sessions.who(session) is None


def test_a_session_ends_however_much_it_is_used(accounts: Accounts, ada: User, clock: Clock) -> None:
    session, began = accounts.sessions.begin(ada.id, HERE), clock.now
    while clock.now + IDLE_S / 2 < began + ABSOLUTE_S:
        clock.now += IDLE_S / 2
        assert accounts.sessions.who(session)
    clock.now = began + ABSOLUTE_S
    assert accounts.sessions.who(session) is None


def test_a_session_is_ended_by_a_logout_and_others_are_not(accounts: Accounts, ada: User) -> None:
    one, other = (accounts.sessions.begin(ada.id, HERE) for _ in range(2))
    accounts.sessions.end(one)
    assert accounts.sessions.who(one) is None
    assert accounts.sessions.who(other)


@pytest.mark.parametrize("made_up", ["", "x", "x" * 10_000, "\ud800"])
def test_an_id_that_was_never_given_is_nobody(accounts: Accounts, ada: User, made_up: str) -> None:
    accounts.sessions.begin(ada.id, HERE)
    assert accounts.sessions.who(made_up) is None


def test_the_file_holds_no_id(accounts: Accounts, ada: User, tmp_path: Path) -> None:
    session = accounts.sessions.begin(ada.id, HERE)
    assert not any(session.encode() in path.read_bytes() for path in tmp_path.iterdir())


def test_sessions_that_ran_out_are_cleared_away(accounts: Accounts, ada: User, clock: Clock) -> None:
    old = accounts.sessions.begin(ada.id, HERE)
    clock.now += IDLE_S + 1
    accounts.sessions.begin(ada.id, HERE)
    clock.now -= IDLE_S + 1  # were it still there, it would be good again
    assert accounts.sessions.who(old) is None
