"""What is refused before anybody is asked who they are, how often one may ask, and what browsers are told not to do."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Flask, current_app, request
from flask_wtf.csrf import CSRFProtect
from limits import parse_many
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from werkzeug.middleware.proxy_fix import ProxyFix

from common.errors import VouchError
from webapp.auth import identity
from webapp.auth.throttle import network_of
from webapp.http.admission import WATCHERS, TooLarge
from webapp.settings import WebSettings, is_loopback
from webapp.types import Forbidden, TooManyAttempts

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {  # where a view says nothing else
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # Flask's static files say something else
}
HSTS = ("Strict-Transport-Security", "max-age=31536000")
FORM_CHUNK_BYTES = 1 << 18  # what the parser holds of a file at a time counts as memory, too
SAFE = ("GET", "HEAD", "OPTIONS")
OURS = ("same-origin", "none")  # none: typed, or from a bookmark
PREFIX_HEADER, PLAIN_PATH = "HTTP_X_FORWARDED_PREFIX", re.compile(r"(/[A-Za-z0-9._~-]+)*/?")
DEFAULT_PORTS = {"http": 80, "https": 443}
LOGINS = ("/login", "/api/v1/auth/login")
SEARCHES, SEARCH_RATE = "/history/", "60 per minute"  # each may read files for seconds
log = logging.getLogger(__name__)


class UntrustedHost(VouchError):
    """The request was meant for a name that this app does not have: a browser may have been lured here."""

    http_status = 400


class CodedBody(VouchError):
    """The body is compressed: a small one could unpack to more than there is room for."""

    http_status = 415


def init_app(app: Flask, settings: WebSettings) -> None:
    """Check the host, the origin and the bounds of every request; send every answer with its headers."""
    app.wsgi_app = _with_headers(app.wsgi_app)  # type: ignore[method-assign,assignment]
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = _with_plain_prefix(  # type: ignore[method-assign,assignment]
            ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops, x_prefix=hops)
        )
    if settings.root_path:
        app.wsgi_app = _under(settings.root_path, app.wsgi_app)  # type: ignore[method-assign,assignment]
    if settings.auth and not settings.trusted_hosts:
        log.warning("any Host header is taken; name the app's own in VOUCH_TRUSTED_HOSTS")
    app.config.update(
        _cookies(settings),
        MAX_FORM_MEMORY_SIZE=max(settings.max_body_bytes, FORM_CHUNK_BYTES),
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,  # it wants a Referer, which some switch off; _check_origin asks for what all send
    )
    # The guard of webapp.auth asks for a form's token, once it is known who is there. It is as good as its session.
    CSRFProtect().init_app(app)
    for check in (_check_host, _check_origin, _bound_body):
        app.before_request(check)
    _limit(app, settings)


def _cookies(settings: WebSettings) -> dict[str, object]:
    """Return the session cookie's settings. The prefix has browsers refuse one that another host or path could set."""
    is_secure = settings.auth and settings.secure_cookies
    return {
        "SESSION_COOKIE_NAME": "__Host-vouch" if is_secure else "vouch",
        "SESSION_COOKIE_SECURE": is_secure,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_PATH": "/",
    }


def _settings() -> WebSettings:
    settings: WebSettings = current_app.extensions["vouch"].settings
    return settings


def _check_host() -> None:
    """Refuse names that are not ours: a page elsewhere can give its own name our address (DNS rebinding)."""
    settings = _settings()
    if not request.environ.get("HTTP_HOST") and request.environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
        raise UntrustedHost("the request names no host", wanted="Host")
    is_watcher = request.path in WATCHERS  # an orchestrator asks by address, and is told nothing personal
    if settings.auth and (is_watcher or not settings.trusted_hosts):
        return
    host = str(request.environ.get("HTTP_HOST") or request.environ["SERVER_NAME"])
    if _is_ours(host, settings.trusted_hosts):
        return
    raise UntrustedHost(
        "this is not the name of this app", got=_host_name(host)[:80] or None, fix="VOUCH_TRUSTED_HOSTS"
    )


def _check_origin() -> None:
    """Refuse what another site makes a browser do, but for following a link to a page.

    All present browsers say where a request comes from (Fetch Metadata), or its Origin with what changes something;
    programs say neither.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in OURS:
        is_link = request.method in SAFE and request.headers.get("Sec-Fetch-Mode") == "navigate"
        if not is_link or request.headers.get("Sec-Fetch-Dest") in ("object", "embed", "iframe", "frame"):
            raise Forbidden("another site sent this request", fix="open the page here and try again")
    origin = request.headers.get("Origin")
    if (
        request.method not in SAFE
        and origin is not None
        and _place(origin) != _place(f"{request.scheme}://{request.host}")
    ):
        raise Forbidden(
            "another site sent this request, or a proxy does not say which host was asked",
            got=f"Origin {origin[:80]}, Host {request.host[:80]}",
            fix="open the page here and try again; a proxy has to pass Host on with its port, or X-Forwarded-Host "
            "with VOUCH_TRUSTED_PROXIES",
        )


def _bound_body() -> None:
    """Refuse bodies that are compressed or too large, before any of them is read."""
    coding = request.headers.get("Content-Encoding", "identity")
    if coding.strip().lower() not in ("", "identity"):
        raise CodedBody("the body must not be compressed", got=coding[:80], wanted="no Content-Encoding")
    limit_bytes = _settings().body_limit_bytes(request.path)
    if request.content_length is not None and request.content_length > limit_bytes:
        raise TooLarge("the body is too large", got=f"{request.content_length} bytes", wanted=f"≤ {limit_bytes} bytes")


def _with_headers(app: WSGIApplication) -> WSGIApplication:
    """Return an app whose every answer has its headers, here at the end, for werkzeug looks at each time and again."""
    named = {name.lower(): (name, value) for name, value in HEADERS.items()}

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
            present = {name.lower() for name, _value in headers}
            headers += [header for name, header in named.items() if name not in present]
            if environ["wsgi.url_scheme"] == "https":
                headers.append(HSTS)
            return start_response(status, headers, *error)

        return app(environ, start)

    return answer


def _with_plain_prefix(app: WSGIApplication) -> WSGIApplication:
    """Return an app that hears of no X-Forwarded-Prefix but plain paths: links begin with it, and `//` is a host."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        prefixes = environ.get(PREFIX_HEADER, "")
        if not all(PLAIN_PATH.fullmatch(prefix.strip()) for prefix in prefixes.split(",")):
            del environ[PREFIX_HEADER]
        return app(environ, start_response)

    return answer


def _under(root_path: str, app: WSGIApplication) -> WSGIApplication:
    """Return an app whose links begin with a path; a proxy may have taken it off what it asks for, or not."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["SCRIPT_NAME"], path = root_path, environ["PATH_INFO"]
        if f"{path}/".startswith(f"{root_path}/"):
            environ["PATH_INFO"] = path[len(root_path) :] or "/"
        return app(environ, start_response)

    return answer


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


@lru_cache(maxsize=64)
def _is_ours(host: str, trusted_hosts: tuple[str, ...]) -> bool:
    name, trusted = _host_name(host), [each.lower() for each in trusted_hosts]
    is_below = any(each.startswith(".") and name.endswith(each) for each in trusted)
    return is_loopback(name) or name in trusted or is_below


def _place(url: str) -> tuple[str, int] | None:
    """Return host and port. The scheme is left out: a proxy that ends TLS need not tell us of it."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    is_default = port == DEFAULT_PORTS.get(parts.scheme)
    return (parts.hostname or "", 0 if is_default else port)


def _limit(app: Flask, settings: WebSettings) -> None:
    """Bound how often one may ask. An empty limit is none; of the others each worker grants its share.

    Connections spread evenly over the workers, or nearly so.
    """
    rates = {"all": settings.rate_limit, "login": settings.login_rate_limit}
    rates["search"] = SEARCH_RATE if settings.rate_limit else ""
    limits = [
        (scope, type(item)(math.ceil(item.amount / settings.workers), item.multiples))
        for scope, rate in rates.items()
        for item in (parse_many(rate) if rate else ())
    ]
    counter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def check() -> None:
        for scope, item in limits:
            is_counted, key = LIMITED[scope]
            if is_counted() and not counter.hit(item, scope, whose := key()):
                again = counter.get_window_stats(item, scope, whose).reset_time
                raise TooManyAttempts("too many requests", retry_after_s=max(1.0, again - time.time()))

    if limits:
        app.before_request(check)


def _who() -> str:
    """Return the user, or the address of one without a name; in the open demo all have the same name."""
    who = identity()
    return f"user {who.name}" if who.name and not who.is_demo else _address()


def _address() -> str:
    return network_of(request.remote_addr or "nobody")


LIMITED: dict[str, tuple[Callable[[], bool], Callable[[], str]]] = {  # which requests count, and whose they are
    "all": (lambda: request.path not in WATCHERS, _who),
    "login": (lambda: request.method == "POST" and request.path in LOGINS, _address),
    "search": (lambda: request.path.startswith(SEARCHES), _who),
}
