from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.web.apps import app_settings
from webapp.auth import masking
from webapp.auth.masking import MASK, MaskingFilter

SECRET = "Geheimnis-0123456789-abcdefghijklmnopq"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer {}",
        "authorization: {}",
        "{{'Authorization': 'Basic {}'}}",
        "bearer {}",
        "Cookie: vouch={}; other=1",
        "Set-Cookie: __Host-vouch={}; HttpOnly",
        "('Cookie', 'vouch={}')",
        "password={}&name=ada",
        '{{"password": "{}", "name": "ada"}}',
        "{{'new_password': '{}'}}",
        "own_password = {}",
        "VOUCH_SECRET_KEY={}",
        "previous_secret_key='{}'",
        '{{"refresh_token": "{}"}}',
        "access_token: {}",
        "csrf_token={}",
    ],
)
def test_what_follows_a_telling_name_is_masked(text: str) -> None:
    masked = MaskingFilter().masked(text.format("c4nary.value_42"))
    assert "c4nary" not in masked
    assert MASK in masked


@pytest.mark.parametrize("text", [f"got {JWT}", f"/path?x={JWT}&y=1", f"({JWT})"])
def test_a_token_is_masked_wherever_it_is(text: str) -> None:
    assert "eyJ" not in MaskingFilter().masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "GET /models 200 12.3 ms",
        "the password is too short",
        "3 passwords, no secret",
        "a bearer of news",
        "mean_radius=12.3 label=M",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    expected = text.replace("of", MASK) if "bearer" in text else text
    assert MaskingFilter().masked(text) == expected


def test_a_known_secret_is_masked_even_without_a_name() -> None:
    assert MaskingFilter([SECRET, ""]).masked(f"it is {SECRET}!") == f"it is {MASK}!"


@pytest.fixture
def told(tmp_path: Path) -> Iterator[io.StringIO]:
    """What a handler writes that knows nothing of masking."""
    before, stream = logging.getLogRecordFactory(), io.StringIO()
    masking.install(app_settings(var=tmp_path, secret_key=SECRET))
    masking.install(app_settings(var=tmp_path, secret_key=SECRET))
    handler = logging.StreamHandler(stream)
    log = logging.getLogger("somebody.else")
    log.addHandler(handler)
    log.propagate = False
    yield stream
    log.removeHandler(handler)
    logging.setLogRecordFactory(before)


def test_all_loggers_are_masked_in_text_arguments_and_tracebacks(told: io.StringIO) -> None:
    log = logging.getLogger("somebody.else")
    log.warning("key %s and %s", SECRET, {"password": "c4nary"})
    try:
        raise ValueError(f"cannot use {SECRET}, password=c4nary")
    except ValueError:
        log.exception("failed")
    assert "ValueError: cannot use" in told.getvalue()
    assert not {SECRET, "c4nary"} & set(told.getvalue().replace(",", " ").split())
    assert SECRET not in told.getvalue()
    assert "c4nary" not in told.getvalue()


def test_arguments_that_do_not_fit_the_text_are_masked_too(told: io.StringIO) -> None:
    logging.getLogger("somebody.else").warning("%d", f"no number {SECRET}")
    assert told.getvalue() == f"%d ('no number {MASK}',)\n"
