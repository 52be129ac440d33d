from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sqlalchemy import select

from common.errors import DataError
from common.records.database import Database
from tests.support.clock import Clock
from webapp.auth.accounts import Accounts, NoSuchUser
from webapp.auth.passwords import Passwords
from webapp.auth.throttle import Origin
from webapp.tables import metadata, users
from webapp.types import Identity, NotAuthenticated, Role

pytestmark = pytest.mark.parametrize(
    "where", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)
GOOD, BETTER = "seven green bicycles", "eight violet elephants"
HERE = Origin("192.0.2.1")


def test_there_is_no_user_before_one_is_added(accounts: Accounts) -> None:
    assert accounts.users() == []


def test_a_user_logs_in_with_name_and_password_in_any_case_of_the_name(accounts: Accounts) -> None:
    accounts.add("ada", GOOD, Role.OPERATOR, who="test")
    user = accounts.authenticate(" Ada", GOOD, HERE)
    assert (user.name, user.role) == ("ada", Role.OPERATOR)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ada", "wrong password"),
        ("nobody", GOOD),
        ("", ""),
        ("a\0", GOOD),
        ("\ud800", "\ud800"),
        ("x" * 10_000, GOOD),
        ("eve", GOOD),
    ],
    ids=["wrong password", "unknown", "empty", "nul", "half a surrogate", "endless", "disabled"],
)
def test_whatever_is_wrong_the_words_are_the_same(accounts: Accounts, name: str, password: str) -> None:
    accounts.add("ada", GOOD, Role.VIEWER, who="test")
    accounts.add("eve", GOOD, Role.VIEWER, who="test")
    accounts.set_disabled("eve", True, who="test")
    with pytest.raises(NotAuthenticated) as caught:
        accounts.authenticate(name, password, HERE)
    assert caught.value.what == "the name or the password is wrong"


@pytest.mark.slow
def test_an_unknown_name_costs_as_much_time_as_a_wrong_password(open_own: Callable[[], Database]) -> None:
    accounts = Accounts(open_own(), passwords=Passwords(time_cost=4, memory_kib=8192))
    accounts.add("ada", GOOD, Role.VIEWER, who="test")

    def seconds(name: str, address: str) -> float:
        began = time.thread_time()
        with pytest.raises(NotAuthenticated):
            accounts.authenticate(name, "wrong password", Origin(address))
        return time.thread_time() - began

    seconds("nobody", HERE.address)  # makes what unknown names are compared with, once
    known = min(seconds("ada", f"192.0.2.{n}") for n in range(4))
    unknown = min(seconds("nobody", f"192.0.2.{n}") for n in range(4))
    assert 0.5 < unknown / known < 2


@pytest.mark.parametrize("name", ["", "A", "ada lovelace", "-ada", "x" * 65, "ада", "demo", "system", "a\nb"])
def test_names_that_would_confuse_are_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(DataError, match="no name for a user"):
        accounts.add(name, GOOD, Role.VIEWER, who="test")


def test_a_name_is_given_once(accounts: Accounts) -> None:
    accounts.add("ada", GOOD, Role.VIEWER, who="test")
    with pytest.raises(DataError, match="there is a user ada already"):
        accounts.add("ada", BETTER, Role.ADMIN, who="test")


def test_what_is_done_to_nobody_names_nobody(accounts: Accounts) -> None:
    with pytest.raises(NoSuchUser, match="there is no user ghost"):
        accounts.set_role("ghost", Role.ADMIN, who="test")


def test_a_new_password_replaces_the_old_one_and_ends_all_but_one_session(accounts: Accounts) -> None:
    user = accounts.add("ada", GOOD, Role.VIEWER, who="test")
    mine, other = (accounts.sessions.begin(user.id, HERE.address) for _ in range(2))
    family = accounts.refresh_tokens.begin(user.id, Identity("ada", Role.VIEWER)).family
    accounts.set_password("ada", BETTER, who="ada", but_session=mine)
    assert accounts.sessions.who(mine) == Identity("ada", Role.VIEWER)
    assert accounts.sessions.who(other) is None
    assert accounts.refresh_tokens.who(family) is None
    with pytest.raises(NotAuthenticated):
        accounts.authenticate("ada", GOOD, HERE)
    assert accounts.authenticate("ada", BETTER, HERE).name == "ada"


def test_a_disabled_user_is_out_at_once_and_stays_out_when_enabled_until_they_log_in(accounts: Accounts) -> None:
    user = accounts.add("ada", GOOD, Role.VIEWER, who="test")
    session = accounts.sessions.begin(user.id, HERE.address)
    family = accounts.refresh_tokens.begin(user.id, Identity("ada", Role.VIEWER)).family
    accounts.set_disabled("ada", True, who="test")
    assert (accounts.sessions.who(session), accounts.refresh_tokens.who(family)) == (None, None)
    accounts.set_disabled("ada", False, who="test")
    assert (accounts.sessions.who(session), accounts.refresh_tokens.who(family)) == (None, None)
    assert accounts.authenticate("ada", GOOD, HERE).name == "ada"


def test_a_role_changes_for_sessions_that_are_open(accounts: Accounts) -> None:
    user = accounts.add("ada", GOOD, Role.OPERATOR, who="test")
    session = accounts.sessions.begin(user.id, HERE.address)
    accounts.set_role("ada", Role.VIEWER, who="test")
    assert accounts.sessions.who(session) == Identity("ada", Role.VIEWER)


@pytest.mark.parametrize("deed", ["disable", "demote"])
def test_the_last_administrator_stays_one(accounts: Accounts, deed: str) -> None:
    def do() -> None:
        if deed == "disable":
            accounts.set_disabled("ada", True, who="test")
        else:
            accounts.set_role("ada", Role.OPERATOR, who="test")

    accounts.add("ada", GOOD, Role.ADMIN, who="test")
    with pytest.raises(DataError, match="ada is the last administrator"):
        do()
    accounts.add("bob", GOOD, Role.ADMIN, who="test")
    do()
    assert accounts.find("ada").is_disabled or accounts.find("ada").role == Role.OPERATOR


def test_a_hash_with_other_parameters_is_made_anew_at_the_next_login(
    open_accounts: Callable[[], Accounts], open_own: Callable[[], Database], clock: Clock
) -> None:
    open_accounts().add("ada", GOOD, Role.VIEWER, who="test")
    database = open_own()
    stronger = Accounts(database, passwords=Passwords(time_cost=2, memory_kib=16), now=clock)
    stronger.authenticate("ada", GOOD, HERE)
    with database.reading() as connection:
        assert "m=16,t=2" in connection.execute(select(users.c.password_hash)).scalar_one()


def test_another_worker_sees_what_one_did(open_accounts: Callable[[], Accounts]) -> None:
    one, other = open_accounts(), open_accounts()
    assert other.users() == []
    one.add("ada", GOOD, Role.VIEWER, who="test")
    assert [user.name for user in other.users()] == ["ada"]


def test_logins_and_changes_go_on_record_but_not_the_passwords(
    accounts: Accounts, open_own: Callable[[], Database]
) -> None:
    accounts.add("ada", GOOD, Role.VIEWER, who="cli:root")
    with pytest.raises(NotAuthenticated):
        accounts.authenticate("ada", "wrong password", HERE)
    with pytest.raises(NotAuthenticated):
        accounts.authenticate("typed my password here", "", HERE)
    accounts.set_role("ada", Role.OPERATOR, who="bob")
    told = [(entry.who, entry.action, entry.detail) for entry in accounts.audit.entries()]
    assert told == [
        ("cli:root", "user added", "ada: viewer"),
        ("ada", "login failed", f"from {HERE.address}"),
        ("unknown", "login failed", f"from {HERE.address}"),
        ("bob", "role changed", "ada: viewer to operator"),
    ]
    with open_own().reading() as connection:
        kept = str([connection.execute(select(table)).all() for table in metadata.sorted_tables])
    assert not any(secret in kept for secret in (GOOD, "wrong password", "typed my password"))
