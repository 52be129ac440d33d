"""/api/docs: a page that shows the document without a network, under the same strict policy as all pages."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, Page
from werkzeug.serving import make_server

Apps = Callable[..., Any]


def test_without_javascript_the_page_lists_what_there_is(client: FlaskClient) -> None:
    text = client.get("/api/docs").text
    for path, methods in client.get("/api/openapi.json").json["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in text


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere(client: FlaskClient) -> None:
    response = client.get("/api/docs")
    assert "style=" not in response.text
    assert "<style" not in response.text
    assert "//" not in response.text.replace("<!--", "")
    assert "unsafe" not in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("name", ["swagger-ui-bundle.js", "swagger-ui.css", "docs.js", "docs.css"])
def test_the_page_s_files_are_served_from_here(client: FlaskClient, name: str) -> None:
    response = client.get(f"/api/docs/static/{name}")
    assert response.status_code == 200
    assert response.mimetype in ("text/javascript", "text/css")
    assert "max-age=3600" in response.headers["Cache-Control"]
    again = client.get(f"/api/docs/static/{name}", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("name", ["swagger-ui-bundle.js", "docs.css"])
def test_who_takes_them_packed_gets_them_packed(client: FlaskClient, name: str) -> None:
    plain = client.get(f"/api/docs/static/{name}")
    packed = client.get(f"/api/docs/static/{name}", headers={"Accept-Encoding": "br, gzip"})
    assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(packed.data) == plain.data
    assert packed.mimetype == plain.mimetype
    assert packed.headers["ETag"] != plain.headers["ETag"]
    headers = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]}
    assert client.get(f"/api/docs/static/{name}", headers=headers).status_code == 304


@pytest.mark.parametrize("name", ["index.html", "..%2f__init__.py", "swagger-ui-bundle.js.map", "docs.py", "%00"])
def test_no_other_file_is(client: FlaskClient, name: str) -> None:
    assert client.get(f"/api/docs/static/{name}").status_code == 404


@pytest.fixture
def page(make_app: Apps, browser: Browser) -> Iterator[Page]:
    app, _ = make_app()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page(base_url=f"http://127.0.0.1:{server.server_port}")
    yield page
    page.close()
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_browser_shows_it_and_predicts_from_it_without_a_complaint(page: Page) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto("/api/docs")
    page.wait_for_selector("#operations-predictions-predict")
    document = page.request.get("/api/openapi.json").json()
    assert page.locator(".opblock").count() == sum(len(operations) for operations in document["paths"].values()) > 10
    page.click("#operations-predictions-predict .opblock-summary-control")
    page.click(".try-out__btn")
    page.click(".execute")
    assert '"predictions"' in page.inner_text(".live-responses-table .response-col_description pre")
    assert complaints == []
