from __future__ import annotations

import pytest

from common.errors import DataError
from webapp.auth.passwords import COMMONEST, MAXIMUM_BYTES, MINIMUM_CHARACTERS, Passwords, checked

GOOD = "seven green bicycles"


def cheap(**changes: int) -> Passwords:
    return Passwords(**{"time_cost": 1, "memory_kib": 8, **changes})


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("elevenchars", "too short"),
        ("x" * 8 + "é" * 600, "too long"),
        ("Ada-Lovelace", "user's name"),
        ("Password1234", "tried first"),
        ("aaaaaaaaaaaaaaaa", "tried first"),
        ("abcabcabcabcabc", "tried first"),
    ],
    ids=["short", "long in bytes", "the name", "common", "one letter", "three letters"],
)
def test_a_password_that_will_not_do_is_refused_and_not_repeated(password: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        checked("ada-lovelace", password)
    assert password not in str(caught.value)


@pytest.mark.parametrize("password", [GOOD, "пароль из слов", "x1y2z3" + "é" * 500], ids=["words", "Cyrillic", "long"])
def test_a_good_password_passes(password: str) -> None:
    assert checked("ada", password)


def test_the_list_of_common_passwords_holds_only_what_the_length_lets_pass() -> None:
    assert all(len(common) >= MINIMUM_CHARACTERS for common in COMMONEST.split())


def test_hashes_are_argon2id_with_a_salt_each() -> None:
    passwords = Passwords()
    one, two = passwords.hash(GOOD), cheap().hash(GOOD)
    assert one.startswith("$argon2id$v=19$m=32768,t=3,p=1$")
    assert cheap().hash(GOOD) != two


def test_only_the_right_password_matches() -> None:
    passwords = cheap()
    stored = passwords.hash(GOOD)
    assert passwords.matches(stored, GOOD)
    assert not passwords.matches(stored, GOOD + " ")
    assert not passwords.matches(stored, "")


def test_the_same_letters_typed_on_another_system_match() -> None:
    passwords = cheap()
    assert passwords.matches(passwords.hash("caf\u00e9 au lait, merci"), "cafe\u0301 au lait, merci")


def test_no_stored_hash_matches_nothing_not_even_what_it_is_compared_with() -> None:
    assert not cheap().matches(None, "nobody has this password")


@pytest.mark.parametrize(
    "password", ["x" * (MAXIMUM_BYTES + 1), "\ud800" * 20, "\0" * 12], ids=["endless", "half", "nul"]
)
def test_strange_passwords_do_not_match_and_do_no_harm(password: str) -> None:
    passwords = cheap()
    assert not passwords.matches(passwords.hash(GOOD), password)


def test_a_stored_hash_that_is_none_matches_nothing() -> None:
    assert not cheap().matches("not a hash", GOOD)


def test_other_parameters_make_a_hash_outdated() -> None:
    stored = cheap().hash(GOOD)
    assert not cheap().is_outdated(stored)
    assert cheap(time_cost=2).is_outdated(stored)
