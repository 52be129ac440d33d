"""The languages of the pages: what `?lang=` says, else the cookie, else the browser, else English."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Flask, Response, current_app, request, url_for
from flask_babel import Babel, get_locale

LANGUAGES = {"en": "English", "id": "Bahasa Indonesia"}
COOKIE = "lang"
COOKIE_AGE_S = 365 * 24 * 3600


@dataclass(frozen=True)
class Choice:
    """One entry of the language switch; `url` is the present page in that language."""

    code: str
    name: str
    url: str


def init_app(app: Flask) -> None:
    """Choose each request's language, keep what was asked for in a cookie, and offer the switch to templates."""
    Babel(app, locale_selector=_chosen)
    app.after_request(_remember)
    app.context_processor(lambda: {"language": language(), "languages": _switch()})


def language() -> str:
    """Return the code of the present request's language; English outside of requests."""
    locale = get_locale()
    return locale.language if locale else "en"


def _asked() -> str | None:
    code = request.args.get("lang", "")
    return code if code in LANGUAGES else None


def _chosen() -> str:
    cookie = request.cookies.get(COOKIE, "")
    usual = cookie if cookie in LANGUAGES else request.accept_languages.best_match(LANGUAGES)
    return _asked() or usual or "en"


def _remember(response: Response) -> Response:
    if response.mimetype != "text/html":
        return response
    response.vary.update(("Accept-Language", "Cookie"))
    if asked := _asked():
        response.set_cookie(COOKIE, asked, COOKIE_AGE_S, secure=request.is_secure, httponly=True, samesite="Lax")
    return response


def _switch() -> list[Choice]:
    return [Choice(code, name, _here(code)) for code, name in LANGUAGES.items()]


def _here(code: str) -> str:
    """Return the present page's address in another language; where it cannot be asked for again, the first page's."""
    adapter = current_app.create_url_adapter(request)
    if request.url_rule is not None and adapter is not None and not adapter.test(method="GET"):
        return url_for("predict.home", lang=code)
    return "?" + urlencode({**request.args.to_dict(flat=False), "lang": code}, doseq=True)
