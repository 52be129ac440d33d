"""The app under a path of a proxy: in process, and behind a real nginx."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from flask import Flask

from serving.client.types import Addresses
from tests.support.paths import ROOT
from tests.support.programs import program
from tests.support.sockets import drained
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.running import PASSWORD, add_user, guarded, site
from tests.support.web.small_app import log_in, small_app
from webapp.types import Role

PROXY = {"X-Forwarded-Prefix": "/vouch", "X-Forwarded-For": "192.0.2.1"}
NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    {refusals}
    location /vouch/ {{
      proxy_pass {upstream};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      {prefix}
    }}
  }}
}}
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Flask]]:
    made: list[Flask] = []

    def making(**given: object) -> Flask:
        made.append(small_app(tmp_path, auth=True, secure_cookies=False, **given))
        return made[-1]

    yield making
    for app in made:
        app.extensions["vouch"].close()


def test_redirects_and_links_begin_with_the_prefix_of_a_trusted_proxy(make: Callable[..., Flask]) -> None:
    client = make(trusted_proxies=1).test_client()
    answer = client.get("/admin", headers=PROXY)
    assert answer.headers["Location"] == "/vouch/login?next=%2Fvouch%2Fadmin"
    assert 'href="/vouch/static/' in client.get("/login", headers=PROXY).text
    assert client.get("/admin").headers["Location"] == "/login?next=%2Fadmin"


@pytest.mark.parametrize("prefix", ["//evil.example", "/a b", "https://evil.example", "/vouch\\", "/a/../b?c"])
def test_a_prefix_that_is_no_plain_path_is_not_believed(make: Callable[..., Flask], prefix: str) -> None:
    answer = make(trusted_proxies=1).test_client().get("/admin", headers=PROXY | {"X-Forwarded-Prefix": prefix})
    assert answer.headers["Location"] == "/login?next=%2Fadmin"


def test_without_a_trusted_proxy_a_prefix_is_not_believed(make: Callable[..., Flask]) -> None:
    answer = make().test_client().get("/admin", headers=PROXY)
    assert answer.headers["Location"] == "/login?next=%2Fadmin"


@pytest.mark.parametrize("path", ["/admin", "/vouch/admin"], ids=["taken off by the proxy", "left by the proxy"])
def test_the_root_path_is_that_of_all_links(make: Callable[..., Flask], path: str) -> None:
    answer = make(root_path="/vouch").test_client().get(path)
    assert answer.headers["Location"] == "/vouch/login?next=%2Fvouch%2Fadmin"


def test_a_login_leads_back_under_the_prefix_and_nowhere_else(make: Callable[..., Flask]) -> None:
    client = make(root_path="/vouch").test_client()
    assert log_in(client, "vera", target="/vouch/public").headers["Location"] == "/vouch/public"
    assert log_in(client, "vera", target="/public").headers["Location"] == "/vouch/"


def test_the_page_of_the_api_leads_to_the_login_and_the_api_itself_does_not(make: Callable[..., Flask]) -> None:
    client = make(trusted_proxies=1).test_client()
    page = client.get("/api/docs", headers=PROXY)
    assert (page.status_code, page.location) == (303, "/vouch/login?next=%2Fvouch%2Fapi%2Fdocs")
    assert client.get("/api/v1/who", headers=PROXY).status_code == 401
    assert client.get("/api/docs", headers={**PROXY, "X-Requested-With": "fetch"}).status_code == 401


def test_bounds_are_those_of_the_path_without_the_prefix(make: Callable[..., Flask]) -> None:
    app = make(root_path="/vouch", max_body_bytes=1000, max_upload_bytes=5000)
    assert app.test_client().post("/vouch/api/v1/who", data=b"x" * 1001).status_code == 413
    assert app.test_client().post("/vouch/batch/cells", data=b"x" * 1001).status_code != 413


@contextmanager
def nginx(folder: Path, upstream: str, prefix: str) -> Iterator[str]:
    """Run nginx before a web app; yield its URL, under which the app is."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir()
    _, refusals = re.findall("```nginx\n(.*?)```", (ROOT / "docs" / "web.md").read_text(encoding="utf-8"), re.DOTALL)
    given = {"folder": folder, "port": port, "upstream": upstream, "prefix": prefix, "refusals": refusals}
    (folder / "nginx.conf").write_text(NGINX.format(**given))
    process = subprocess.Popen([program("nginx"), "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    try:
        deadline = time.monotonic() + 20
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None
            assert time.monotonic() < deadline
        yield f"http://127.0.0.1:{port}/vouch"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
@pytest.mark.parametrize(
    "is_taken_off", [True, pytest.param(False, marks=pytest.mark.exhaustive)], ids=["forwarded", "VOUCH_ROOT_PATH"]
)
def test_behind_a_real_nginx(webapp_root: Path, fake: FakeModelServer, tmp_path: Path, is_taken_off: bool) -> None:
    var = tmp_path / "var"
    var.mkdir()
    shutil.copytree(webapp_root / "serving", var / "serving")
    add_user(var, "vera", Role.VIEWER)
    extra = {"VOUCH_TRUSTED_PROXIES": "1"} | ({} if is_taken_off else {"VOUCH_ROOT_PATH": "/vouch"})
    with site(var, Addresses(fake.url), guarded() | extra) as running:
        upstream = f"{running.url}/" if is_taken_off else running.url
        prefix = "proxy_set_header X-Forwarded-Prefix /vouch;" if is_taken_off else ""
        with nginx(tmp_path / "nginx", upstream, prefix) as url, requests.Session() as browser:
            form = browser.get(f"{url}/history/cells", timeout=20)
            assert form.url.startswith(f"{url}/login?next=")
            [token] = re.findall(r'name="csrf_token" value="([^"]+)"', form.text)
            [target] = re.findall(r'name="next" value="([^"]+)"', form.text)
            data = {"csrf_token": token, "name": "vera", "password": PASSWORD, "next": target}
            page = browser.post(f"{url}/login", data=data, timeout=20)
            assert (page.status_code, page.url) == (200, f"{url}/history/cells")
            links = set(re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text))
            assert links
            assert all(link.startswith("/vouch/") for link in links), links
            for link in links:
                if "static" in link:
                    assert browser.get(url.removesuffix("/vouch") + link, timeout=20).ok


@pytest.mark.parametrize(
    ("head", "status"),
    [("G@T /", 400), (f"GET /{'a' * 70_000}", 414), ("GET / HTTP/1.1\r\nX-Long: " + "a" * 70_000, 400)],
    ids=["method", "address", "header"],
)
def test_nginx_says_in_words_what_never_reaches_the_app(tmp_path: Path, head: str, status: int) -> None:
    with nginx(tmp_path / "nginx", "http://127.0.0.1:1", "") as url:
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
            connection.sendall(f"{head} HTTP/1.1\r\nHost: vouch\r\n\r\n".encode())
            answer, _, body = drained(connection).partition(b"\r\n\r\n")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Content-Type: application/problem+json" in answer
    assert json.loads(body)["status"] == status
