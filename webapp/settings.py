"""What the web app is told, read once from the environment: frozen, validated, secrets masked."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from sqlalchemy import URL

from common.errors import ConfigError
from common.paths import WEB_PAGE, var_root
from common.records import images
from common.records.database import database_url
from common.variables import read_variable
from config.frozen import Frozen

PREFIX = "VOUCH_"
WEAK_SECRET_BYTES = 32
UPLOADS = re.compile("/api/v1/(predict/csv|predict/image|jobs)|/batch/.*|/predict/.*/images")
LISTS = ("trusted_hosts", "metrics_networks")
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class WebSettings(Frozen):
    """Every key can be given as an environment variable: `auth` as VOUCH_AUTH; `…_FILE` names a file that holds it."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(WEB_PAGE, ge=0, le=65535, description="Port to listen on; 0: any that is free.")
    workers: Positive = Field(2, description="Worker processes.")
    var: Path = Field(description="Root of all run-time state.")
    models: Path = Field(description="Folder of the models' configurations, one folder a model.")
    model: str = Field(
        "",
        description="Model that pages open with, and that requests mean which name none. Default: the only one; of "
        "several, pages open with the first by name and requests must name theirs.",
    )
    model_server_rest: str = Field("http://127.0.0.1:8501", description="REST address of the model server.")
    model_server_grpc: str = Field("127.0.0.1:8500", description="Its gRPC address, for releases.")
    model_server_timeout_s: Seconds = Field(5.0, description="For one prediction, all tries together.")
    auth: bool = Field(
        False, description="on: everything but health asks for a login. off: the open demo, on loopback."
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description=f"Signs sessions and tokens; at least {WEAK_SECRET_BYTES} random bytes. Needed with auth.",
    )
    previous_secret_key: SecretStr = Field(
        SecretStr(""), description="The one before, while what it signed is still believed; see docs/security.md."
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        description="Database of accounts, true labels, the audit log and jobs, such as "
        "postgresql://user:password@host/name, for replicas. Default: the file var/webapp.sqlite.",
    )
    secure_cookies: bool = Field(True, description="With auth: cookies over HTTPS only. off: for tests without TLS.")
    trusted_hosts: tuple[str, ...] = Field(
        (),
        description="Host names answered to besides this machine's; `.example.org`: all below it. "
        "Empty: with auth, any.",
    )
    trusted_proxies: int = Field(
        0, ge=0, le=5, description="Reverse proxies in front whose X-Forwarded-* are believed."
    )
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path under which a proxy has the app, such as `/vouch`, if it does not send X-Forwarded-Prefix.",
    )
    max_body_bytes: Positive = Field(1 << 20, description="Of a JSON request or a form.")
    max_upload_bytes: Positive = Field(64 << 20, description="Of an uploaded CSV, or of all pictures of a request.")
    max_rows: Positive = Field(1000, description="Of one JSON request.")
    max_upload_rows: Positive = Field(200_000, description="Of one uploaded CSV.")
    max_images: Positive = Field(16, description="Pictures of one request.")
    max_image_bytes: Positive = Field(10 << 20, description="Of one picture.")
    collect_images: bool = Field(
        True,
        description="Keep pictures that were predicted under var/collected, for labelling and retraining, as long as "
        "the prediction log keeps what was said of them. off: opt out.",
    )
    max_depth: Positive = Field(8, description="Nesting of a JSON request.")
    max_waiting: Positive = Field(
        32,
        description="Requests that a worker works at, each in a thread; more wait for a second, then are told to come "
        "again.",
    )
    read_timeout_s: Seconds = Field(
        15.0, description="A client may be silent for so long in the middle of a request or an answer."
    )
    worker_timeout_s: Seconds = Field(
        15.0, ge=1, description="A worker in which Python stands still for so long is replaced."
    )
    rate_limit: str = Field("600 per minute", description="For each user, or address, over all but health.")
    login_rate_limit: str = Field("10 per minute", description="Login attempts for each address.")
    log_predictions: bool = Field(True, description="Keep every prediction under var/predictions. off: opt out.")
    log_retention_days: Positive = Field(90, description="Predictions, and pictures, older than this are removed.")
    log_queue_rows: Positive = Field(
        200_000, description="Rows that may wait to be written; more are dropped, counted."
    )
    sticky: bool = Field(False, description="A user stays with stable or candidate while the weights stay.")
    metrics_networks: tuple[str, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="With auth: networks that may read /metrics without a login."
    )
    metrics_token: SecretStr = Field(
        SecretStr(""),
        description="With auth: who sends this as `Authorization: Bearer …` reads /metrics and /version from anywhere, "
        f"as Prometheus does by `credentials_file`; at least {WEAK_SECRET_BYTES} random bytes.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "WARNING", description="Of the app's log on standard error; INFO: a line for each request, too."
    )
    log_format: Literal["text", "json"] = Field("text", description="Of the app's log; json: an object a line.")
    prometheus_url: str = Field("", description="Linked from the monitoring page.")
    grafana_url: str = Field("", description="Linked from the monitoring page.")

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value():
            database_url(url.get_secret_value())
        return url

    @field_validator("metrics_networks")
    @classmethod
    def _check_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)  # a ValueError says what is wrong
        return networks

    @field_validator("rate_limit", "login_rate_limit")
    @classmethod
    def _check_rates(cls, text: str) -> str:
        from limits import parse_many

        try:
            if text:
                parse_many(text)
        except ValueError:
            raise ValueError(f"{text!r} is no rate; wanted such as: 600 per minute; 20 per second") from None
        return text

    @field_validator("metrics_token")
    @classmethod
    def _check_token(cls, token: SecretStr) -> SecretStr:
        if 0 < len(token.get_secret_value().encode()) < WEAK_SECRET_BYTES:
            raise ValueError(f"should have at least {WEAK_SECRET_BYTES} bytes: openssl rand -base64 48")
        return token

    @model_validator(mode="after")
    def _check(self) -> WebSettings:
        if self.auth and len(self.secret_key.get_secret_value().encode()) < WEAK_SECRET_BYTES:
            raise ValueError(
                f"secret_key: should have at least {WEAK_SECRET_BYTES} bytes when auth is on; "
                "make one: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
            )
        if self.auth and len(set(self.secret_key.get_secret_value())) < 10:
            raise ValueError("secret_key: is guessable, it repeats a few characters")
        if not self.auth and not is_loopback(self.host):
            raise ValueError(
                f"host: the open demo listens on loopback only; set VOUCH_AUTH=on to listen on {self.host}"
            )
        return self

    def body_limit_bytes(self, path: str) -> int:
        return self.max_upload_bytes if UPLOADS.fullmatch(path) else self.max_body_bytes

    @property
    def serving(self) -> Path:
        return self.var / "serving"

    @property
    def predictions(self) -> Path:
        return self.var / "predictions"

    @property
    def collected(self) -> Path:
        return self.var / images.FOLDER

    @property
    def database(self) -> URL:
        told = self.database_url.get_secret_value()
        return database_url(told) if told else URL.create("sqlite", database=str(self.var / "webapp.sqlite"))


def read_settings(environment: Mapping[str, str] = os.environ, **overrides: Any) -> WebSettings:
    """Return the settings from the environment; what is `given` goes first.

    Raises ConfigError that names the variable, never a secret's value.
    """
    values: dict[str, Any] = {"var": var_root(), "models": Path(__file__).resolve().parent.parent / "config"}
    for key in WebSettings.model_fields:
        text = read_variable(environment, PREFIX + key.upper())
        if text is not None:
            values[key] = [part.strip() for part in text.split(",") if part.strip()] if key in LISTS else text
    if "PORT" in environment:  # what Railway, Render, Cloud Run and Heroku say
        values.setdefault("port", environment["PORT"])
    try:
        return WebSettings.model_validate(values | overrides)
    except ValidationError as error:
        problems = [_sentence(problem) for problem in error.errors(include_input=False, include_url=False)]
        raise ConfigError(
            "the web app's settings are not valid:\n  " + "\n  ".join(problems), fix="docs/web.md lists every variable"
        ) from None


def _sentence(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    key = ".".join(map(str, problem["loc"]))
    if not key:  # a check across keys says its key itself
        key, _, message = message.partition(": ")
    return f"{PREFIX}{key.upper()}: {message}"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
