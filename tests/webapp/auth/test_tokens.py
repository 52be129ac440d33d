from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from flask import Flask

from tests.support.clock import Clock
from tests.support.web.small_app import PASSWORD, SECRET, small_app
from webapp.auth import tokens
from webapp.auth.accounts import Accounts
from webapp.auth.sessions import AGAIN_S, LIFE_S
from webapp.auth.tokens import ACCESS_LIFE_S, LEEWAY_S, Keys, Pair
from webapp.types import Identity, NotAuthenticated, Role

HERE = "192.0.2.1"
OLDER = "an older secret of this test, 9876543210 zyx"
KEYS = Keys.of(SECRET)


@pytest.fixture(autouse=True)
def _in_a_request(app: Flask) -> Iterator[None]:
    with app.test_request_context():
        yield


@pytest.fixture
def pair(kept: Accounts) -> Pair:
    return tokens.login(kept, "otto", PASSWORD, HERE)


def claims(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def signed(given: dict[str, Any], key: Any = KEYS.token, algorithm: str = "HS256", **headers: str) -> str:
    return jwt.encode(given, key, algorithm, headers={"kid": KEYS.id, **headers})


def refuses(token: str) -> str:
    with pytest.raises(NotAuthenticated) as caught:
        tokens.validate(token)
    return caught.value.what


def test_a_login_gives_a_token_that_says_who_and_for_how_long(pair: Pair, clock: Clock) -> None:
    said = claims(pair.access_token)
    assert {"iss": "vouch", "aud": "vouch-api", "sub": "otto", "role": "operator"}.items() <= said.items()
    assert said["iat"] == said["nbf"] == int(clock.now)
    assert said["exp"] - said["iat"] == ACCESS_LIFE_S == pair.expires_in == 900
    assert tokens.validate(pair.access_token) == Identity("otto", Role.OPERATOR)
    assert claims(pair.refresh_token)["exp"] - said["iat"] == LIFE_S == 14 * 24 * 3600


def test_a_pair_does_not_show_its_tokens(pair: Pair) -> None:
    assert "eyJ" not in repr(pair)


def test_a_wrong_password_gives_none(kept: Accounts) -> None:
    with pytest.raises(NotAuthenticated, match="the name or the password is wrong"):
        tokens.login(kept, "otto", "wrong password", HERE)


@pytest.mark.parametrize("made_up", ["", "x", "x.y.z", "eyJ.eyJ.x", "x" * 100_000, "é.ü.ö", "\0"])
def test_what_is_no_token_is_refused(app: Flask, made_up: str) -> None:
    assert refuses(made_up) == "the token is not valid"


def test_an_access_token_ends(kept: Accounts, clock: Clock) -> None:
    clock.now -= ACCESS_LIFE_S + LEEWAY_S + 1
    assert refuses(tokens.login(kept, "otto", PASSWORD, HERE).access_token) == "the token has expired"


def test_a_token_of_a_clock_that_is_ahead_is_refused_until_its_time(kept: Accounts, clock: Clock) -> None:
    clock.now += 3600
    ahead = tokens.login(kept, "otto", PASSWORD, HERE)
    clock.now -= 3600  # the clock steps back: a new login is good at once
    assert refuses(ahead.access_token) == "the token is not valid"
    assert tokens.validate(tokens.login(kept, "otto", PASSWORD, HERE).access_token).name == "otto"


@pytest.mark.parametrize("claim", ["iss", "aud", "exp", "nbf", "iat", "jti", "sub", "fam"])
def test_a_token_without_a_claim_is_refused(pair: Pair, claim: str) -> None:
    said = claims(pair.access_token)
    del said[claim]
    assert refuses(signed(said)) == "the token is not valid"


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "other"},
        {"aud": "vouch-refresh"},
        {"aud": "other"},
        {"sub": "ada"},
        {"fam": "f" * 32},
        {"fam": 7},
        {"nbf": 2**40},
    ],
    ids=["issuer", "refresh token's audience", "audience", "another user", "another family", "number", "not yet"],
)
def test_a_claim_that_says_something_else_is_refused_even_with_our_signature(
    pair: Pair, change: dict[str, Any]
) -> None:
    refuses(signed(claims(pair.access_token) | change))


def test_a_role_that_a_token_gives_itself_is_not_believed(pair: Pair) -> None:
    assert tokens.validate(signed(claims(pair.access_token) | {"role": "admin"})).role == Role.OPERATOR


def unsigned(said: dict[str, Any], algorithm: str) -> str:
    head, body = ({"alg": algorithm, "kid": KEYS.id, "typ": "JWT"}, said)
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (head, body))
    return ".".join(parts) + "."


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "RS256", ""])
def test_a_token_without_a_signature_is_refused(pair: Pair, algorithm: str) -> None:
    assert refuses(unsigned(claims(pair.access_token), algorithm)) == "the token is not valid"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_the_algorithm_is_ours_to_say(pair: Pair, algorithm: str) -> None:
    key = KEYS.token * 2  # what it may be signed with is not looked at before how
    refuses(signed(claims(pair.access_token), key, algorithm))


@pytest.mark.parametrize(
    "key", [KEYS.session, KEYS.csrf, SECRET.encode(), b"k" * 32], ids=["session", "csrf", "secret", "other"]
)
def test_another_key_than_that_for_tokens_is_refused(pair: Pair, key: bytes) -> None:
    refuses(signed(claims(pair.access_token), key))


def test_a_token_that_names_no_key_or_another_is_refused(pair: Pair) -> None:
    refuses(jwt.encode(claims(pair.access_token), KEYS.token, "HS256"))
    refuses(signed(claims(pair.access_token), kid=Keys.of(OLDER).id))


def test_a_token_of_the_key_before_is_good_while_that_is_told(tmp_path: Path, pair: Pair) -> None:
    old = {"auth": True, "secret_key": "the secret of tomorrow, 0123456789 abcdefghi"}
    for given, is_good in ((old | {"previous_secret_key": SECRET}, True), (old, False)):
        other = small_app(tmp_path, has_users=True, **given)
        with other.test_request_context():
            if is_good:
                assert tokens.validate(pair.access_token).name == "otto"
                assert jwt.get_unverified_header(tokens.refresh(pair.refresh_token).access_token)["kid"] != KEYS.id
            else:
                refuses(pair.access_token)
        other.extensions["vouch"].close()


def test_a_refresh_gives_a_new_pair(pair: Pair) -> None:
    new = tokens.refresh(pair.refresh_token)
    assert len({pair.access_token, pair.refresh_token, new.access_token, new.refresh_token}) == 4
    assert tokens.validate(new.access_token) == Identity("otto", Role.OPERATOR)
    assert tokens.validate(tokens.refresh(new.refresh_token).access_token).name == "otto"


def test_who_asks_twice_at_once_gets_the_same_refresh_token_again(pair: Pair, clock: Clock) -> None:
    first = tokens.refresh(pair.refresh_token)
    clock.now += AGAIN_S - 1
    again = tokens.refresh(pair.refresh_token)
    assert claims(again.refresh_token)["jti"] == claims(first.refresh_token)["jti"]
    assert tokens.validate(again.access_token) == tokens.validate(first.access_token)
    tokens.refresh(first.refresh_token)


def test_a_token_whose_successor_was_used_is_not_given_again(pair: Pair) -> None:
    new = tokens.refresh(tokens.refresh(pair.refresh_token).refresh_token)
    with pytest.raises(NotAuthenticated, match="used before"):
        tokens.refresh(pair.refresh_token)
    assert refuses(new.access_token) == "the access token was revoked"


def test_a_refresh_token_used_again_later_ends_all_that_came_of_that_login_and_nothing_else(
    kept: Accounts, pair: Pair, clock: Clock
) -> None:
    other = tokens.login(kept, "otto", PASSWORD, HERE)
    new = tokens.refresh(pair.refresh_token)
    clock.now += AGAIN_S
    with pytest.raises(NotAuthenticated, match="used before"):
        tokens.refresh(pair.refresh_token)
    with pytest.raises(NotAuthenticated, match="not valid"):
        tokens.refresh(new.refresh_token)
    assert {refuses(pair.access_token), refuses(new.access_token)} == {"the access token was revoked"}
    assert tokens.validate(other.access_token).name == "otto"
    assert kept.audit.entries()[-2].action == "refresh refused"


def test_an_access_token_does_not_refresh_and_a_refresh_token_opens_nothing(pair: Pair) -> None:
    with pytest.raises(NotAuthenticated):
        tokens.refresh(pair.access_token)
    refuses(pair.refresh_token)


def test_a_refresh_token_ends(kept: Accounts, clock: Clock) -> None:
    clock.now -= LIFE_S + 60
    old = tokens.login(kept, "otto", PASSWORD, HERE)
    with pytest.raises(NotAuthenticated, match="expired"):
        tokens.refresh(old.refresh_token)


def test_a_logout_ends_access_and_refresh(kept: Accounts, pair: Pair) -> None:
    tokens.logout(pair.refresh_token)
    assert refuses(pair.access_token) == "the access token was revoked"
    with pytest.raises(NotAuthenticated):
        tokens.refresh(pair.refresh_token)
    assert (kept.audit.entries()[-2].who, kept.audit.entries()[-2].action) == ("otto", "logout")


def test_a_change_of_role_and_a_lock_out_work_on_tokens_that_are_out(kept: Accounts, pair: Pair) -> None:
    kept.set_role("otto", Role.VIEWER, who="test")
    assert tokens.validate(pair.access_token).role == Role.VIEWER
    kept.set_disabled("otto", True, who="test")
    refuses(pair.access_token)
    with pytest.raises(NotAuthenticated):
        tokens.refresh(pair.refresh_token)
