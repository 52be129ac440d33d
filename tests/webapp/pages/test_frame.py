from __future__ import annotations

from collections.abc import Callable

from bs4 import BeautifulSoup
from flask.testing import FlaskClient

from tests.support.web.apps import App
from tests.support.web.small_app import SECRET


def test_a_stranger_is_offered_the_login_and_nothing_else(make_app: Callable[..., App]) -> None:
    app, _ = make_app(auth=True, secret_key=SECRET, secure_cookies=False)
    page = BeautifulSoup(app.test_client().get("/login").text, "html.parser")
    assert page.select("form input[type=password]")
    assert not page.select("nav, .models, footer a, .tools form")


def test_every_page_leads_to_the_others_and_to_the_api(visitor: FlaskClient) -> None:
    page = BeautifulSoup(visitor.get("/batch/cells").text, "html.parser")
    links = [str(link["href"]) for link in page.select("nav a")]
    assert links == ["/predict/cells", "/by-index/cells", "/batch/cells", "/models", "/history/cells", "/monitoring"]
    assert [str(link["href"]) for link in page.select("footer a")] == ["/api/docs"]
    assert visitor.get("/api/docs").status_code == 200
