from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.clock import Clock
from webapp.auth.accounts import Accounts
from webapp.auth.throttle import KNOWN_S, PATIENCE, Origin, Patience, network_of
from webapp.types import NotAuthenticated, Role, TooManyAttempts

pytestmark = pytest.mark.slow

GOOD = "seven green bicycles"
HERE, THERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture(autouse=True)
def ada(accounts: Accounts) -> None:
    accounts.add("ada", GOOD, Role.VIEWER, who="test")


def fail(accounts: Accounts, name: str = "ada", address: str = HERE) -> None:
    with pytest.raises(NotAuthenticated):
        accounts.authenticate(name, "wrong password", Origin(address))


def wait_s(accounts: Accounts, name: str = "ada", address: str = HERE) -> float:
    with pytest.raises(TooManyAttempts) as caught:
        accounts.authenticate(name, GOOD, Origin(address))
    assert caught.value.http_status == 429
    return caught.value.retry_after_s


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_after_some_wrong_passwords_even_the_right_one_must_wait(accounts: Accounts, name: str) -> None:
    for _ in range(PATIENCE["account and address"].free):
        fail(accounts, name)
    assert wait_s(accounts, name) == 2


def test_the_wait_doubles_and_ends(accounts: Accounts, clock: Clock) -> None:
    for _ in range(PATIENCE["account and address"].free):
        fail(accounts)
    waits = []
    for _ in range(12):
        waits.append(wait_s(accounts))
        clock.now += waits[-1]
        fail(accounts)
    assert waits[:4] == [2, 4, 8, 16]
    assert waits[-1] == 900
    clock.now += 900
    assert accounts.authenticate("ada", GOOD, Origin(HERE)).name == "ada"


def test_the_right_password_wipes_the_slate_of_the_account(accounts: Accounts) -> None:
    for _ in range(3):
        for _ in range(PATIENCE["account and address"].free - 1):
            fail(accounts)
        accounts.authenticate("ada", GOOD, Origin(HERE))


def test_one_who_is_guessed_at_from_elsewhere_is_let_in(accounts: Accounts) -> None:
    for _ in range(PATIENCE["account and address"].free):
        fail(accounts, address=THERE)
    wait_s(accounts, address=THERE)
    assert accounts.authenticate("ada", GOOD, Origin(HERE)).name == "ada"


def test_an_address_that_tries_many_names_must_wait_and_a_login_of_its_own_does_not_wipe_that(
    accounts: Accounts,
) -> None:
    for number in range(PATIENCE["address"].free - 1):
        fail(accounts, f"user{number}")
    accounts.authenticate("ada", GOOD, Origin(HERE))
    fail(accounts, "one-more")
    assert wait_s(accounts) == 2


def test_an_account_that_is_tried_from_many_addresses_waits_but_shortly(accounts: Accounts) -> None:
    for number in range(PATIENCE["account"].free):
        fail(accounts, address=f"192.0.2.{number}")
    assert 0 < wait_s(accounts, address=THERE) <= 60


def test_an_owner_at_a_known_address_is_let_in_while_robots_guess_from_everywhere(
    accounts: Accounts, clock: Clock
) -> None:
    accounts.authenticate("ada", GOOD, Origin(HERE))
    for number in range(PATIENCE["account"].free):
        fail(accounts, address=f"198.51.100.{number}")
    assert wait_s(accounts, address="203.0.113.1") > 0
    assert accounts.authenticate("ada", GOOD, Origin(HERE)).name == "ada"
    clock.now += KNOWN_S + 1
    for number in range(PATIENCE["account"].free):
        fail(accounts, address=f"198.51.100.{number}")
    accounts.add("bob", GOOD, Role.VIEWER, who="test")
    accounts.authenticate("bob", GOOD, Origin(THERE))  # with a login, places known for too long are forgotten
    assert wait_s(accounts, address=HERE) > 0


def test_a_known_address_may_not_guess_for_long_either(accounts: Accounts) -> None:
    accounts.authenticate("ada", GOOD, Origin(HERE))
    for _ in range(PATIENCE["account and address"].free):
        fail(accounts)
    assert wait_s(accounts) == 2


def test_the_addresses_of_one_ipv6_network_count_as_one(accounts: Accounts) -> None:
    for number in range(PATIENCE["account and address"].free):
        fail(accounts, address=f"2001:db8:1:2::{number}")
    assert wait_s(accounts, address="2001:db8:1:2:ffff::1") == 2
    assert accounts.authenticate("ada", GOOD, Origin("2001:db8:1:3::1")).name == "ada"


@pytest.mark.parametrize(
    ("address", "network"),
    [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8::5", "2001:db8::/64"), ("", "")],
)
def test_what_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network


def test_a_clock_that_steps_back_makes_no_wait_longer_than_it_ever_was(accounts: Accounts, clock: Clock) -> None:
    for _ in range(PATIENCE["account and address"].free):
        fail(accounts)
    clock.now -= 30 * 24 * 3600
    assert wait_s(accounts) <= 900


def test_failures_are_forgotten_after_a_day(accounts: Accounts, clock: Clock) -> None:
    for _ in range(PATIENCE["account and address"].free - 1):
        fail(accounts)
    clock.now += 25 * 3600
    fail(accounts)
    fail(accounts)


def test_tries_at_the_same_time_are_all_counted(accounts: Accounts) -> None:
    def attempt(_: int) -> str:
        try:
            accounts.authenticate("ada", "wrong password", Origin(HERE))
        except (NotAuthenticated, TooManyAttempts) as error:
            return type(error).__name__
        return "in"

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(attempt, range(20)))
    assert told.count("NotAuthenticated") == PATIENCE["account and address"].free


def test_waits_stay_finite_whatever_the_count() -> None:
    assert Patience(5, 2.0, 900.0).wait_s(10**9) == 900
