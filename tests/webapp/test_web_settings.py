"""What the environment may say, and what stops the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from webapp.settings import read_settings

GOOD_SECRET = "tO7k-9f2mZq8Xw1vRb5nJc3hLd6sYp0aGe4uKi"


def test_the_default_is_an_open_demo_on_loopback() -> None:
    settings = read_settings({})
    assert (settings.host, settings.port, settings.auth) == ("127.0.0.1", 8080, False)


def test_variables_are_read_and_what_is_given_goes_first() -> None:
    environment = {"VOUCH_PORT": "1234", "VOUCH_TRUSTED_HOSTS": "a.example, b.example", "VOUCH_STICKY": "on"}
    settings = read_settings(environment, port=4321)
    assert (settings.port, settings.trusted_hosts, settings.sticky) == (4321, ("a.example", "b.example"), True)


@pytest.mark.parametrize(
    ("environment", "port"),
    [({"PORT": "3000"}, 3000), ({"PORT": "3000", "VOUCH_PORT": "4000"}, 4000)],
    ids=["the platform's", "ours goes first"],
)
def test_the_port_of_a_platform_is_honoured(environment: dict[str, str], port: int) -> None:
    assert read_settings(environment).port == port


@pytest.mark.parametrize(
    "secret", ["", "short", "a" * 64, "abab" * 20], ids=["none", "short", "one character", "two characters"]
)
def test_with_a_weak_secret_it_does_not_start(secret: str) -> None:
    with pytest.raises(ConfigError, match="VOUCH_SECRET_KEY") as told:
        read_settings({"VOUCH_AUTH": "on", "VOUCH_SECRET_KEY": secret})
    assert not secret or secret not in str(told.value)


def test_a_secret_can_come_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(GOOD_SECRET + "\n")
    settings = read_settings({"VOUCH_AUTH": "on", "VOUCH_SECRET_KEY_FILE": str(tmp_path / "secret")})
    assert settings.secret_key.get_secret_value() == GOOD_SECRET
    assert GOOD_SECRET not in repr(settings) + str(settings)


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="VOUCH_SECRET_KEY_FILE"):
        read_settings({"VOUCH_SECRET_KEY_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_the_open_demo_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ConfigError, match="VOUCH_AUTH=on"):
        read_settings({"VOUCH_HOST": host})
    assert read_settings({"VOUCH_HOST": host, "VOUCH_AUTH": "on", "VOUCH_SECRET_KEY": GOOD_SECRET}).host == host


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VOUCH_RATE_LIMIT", "often"),
        ("VOUCH_LOGIN_RATE_LIMIT", "5 per"),
        ("VOUCH_PORT", "70000"),
        ("VOUCH_WORKERS", "0"),
        ("VOUCH_MAX_ROWS", "many"),
        ("VOUCH_AUTH", "perhaps"),
    ],
)
def test_a_wrong_value_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        read_settings({name: value})
