"""What two replicas do at the same moment, each with a connection of its own, on both databases."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from common.errors import DataError, EnvironmentProblem
from common.records.database import Database
from webapp.auth.accounts import Accounts
from webapp.auth.throttle import PATIENCE, Origin
from webapp.types import Identity, NotAuthenticated, Role, TooManyAttempts

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("where", ["sqlite", "postgresql"], indirect=True)]
GOOD = "seven green bicycles"
HERE = Origin("192.0.2.1")


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do things at the same moment; return what each gave, or raised."""
    start = threading.Barrier(len(acts))

    def do(act: Callable[[], Any]) -> Any:
        start.wait(30)
        try:
            return act()
        except (DataError, NotAuthenticated, TooManyAttempts) as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(do, acts))


@pytest.fixture
def replicas(open_accounts: Callable[[], Accounts]) -> list[Accounts]:
    return [open_accounts() for _ in range(2)]


def test_a_refresh_token_that_two_ask_with_has_one_successor(replicas: list[Accounts]) -> None:
    user = replicas[0].add("ada", GOOD, Role.VIEWER, who="test")
    first = replicas[0].refresh_tokens.begin(user.id, Identity("ada", Role.VIEWER))
    issued = at_once(*[lambda each=each: each.refresh_tokens.rotate(first.jti) for each in replicas * 4])
    assert len({token.jti for token in issued}) == 1
    assert replicas[1].refresh_tokens.who(first.family) == Identity("ada", Role.VIEWER)


def test_all_failures_are_counted_wherever_they_come_in(replicas: list[Accounts]) -> None:
    replicas[0].add("ada", GOOD, Role.VIEWER, who="test")
    tries = at_once(*[lambda each=each: each.authenticate("ada", "wrong password", HERE) for each in replicas * 5])
    kinds = Counter(type(answer) for answer in tries)
    assert kinds == {NotAuthenticated: PATIENCE["account and address"].free, TooManyAttempts: 5}


def test_two_administrators_cannot_remove_one_another_at_once(replicas: list[Accounts]) -> None:
    for name in ("ada", "bob"):
        replicas[0].add(name, GOOD, Role.ADMIN, who="test")
    done = at_once(
        lambda: replicas[0].set_role("ada", Role.VIEWER, who="bob"),
        lambda: replicas[1].set_disabled("bob", True, who="ada"),
    )
    assert [type(answer) for answer in done].count(DataError) == 1
    assert [user.role == Role.ADMIN and not user.is_disabled for user in replicas[0].users()].count(True) == 1


def test_the_audit_log_stays_one_chain_that_nobody_can_change(replicas: list[Accounts], open_own: Any) -> None:
    at_once(*[lambda each=each: each.audit.append("ada", "promote") for each in replicas * 5])
    assert replicas[1].audit.verify() == 10
    for statement in ("UPDATE audit SET who = 'eve'", "DELETE FROM audit"):
        with pytest.raises(EnvironmentProblem, match="append-only"), open_own().writing() as connection:
            connection.execute(text(statement))


def test_what_fails_half_way_is_undone(open_own: Callable[[], Database], open_accounts: Callable[[], Accounts]) -> None:
    accounts, database = open_accounts(), open_own()

    def do_half() -> None:
        with database.writing() as connection:
            accounts.audit.append_in(connection, "ada", "promote")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        do_half()
    assert accounts.audit.entries() == []
