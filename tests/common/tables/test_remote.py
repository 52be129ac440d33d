from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfigError, DataError
from common.tables.remote import fetch, name_of
from config.load import load_settings
from config.onboard.init import onboard
from config.settings import Settings

TABLE = "x,y\n" + "".join(f"{number % 7}.5,{'ab'[number % 2]}\n" for number in range(200))


class Site(http.server.ThreadingHTTPServer):
    """A server of one table, which counts how often it was asked."""

    content = TABLE.encode()
    asked = 0
    cut_after: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/some%20table.csv?raw=1"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked += 1
        if "gone" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[: self.server.cut_after])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOUCH_VAR", str(tmp_path / "var"))
    return tmp_path / "var"


def test_a_table_at_a_url_is_described_read_and_fetched_once(site: Site, tmp_path: Path) -> None:
    from components.examples.component import count_rows

    result = onboard(site.url, label="y", out=tmp_path / "config")
    settings = load_settings(result.config)
    assert (settings.name, settings.data.source) == ("some_table", site.url)
    assert settings.data.sha256 is not None
    assert count_rows(settings)[1] == {"a": 100, "b": 100}
    assert site.asked == 1, "init fetched it, the run found it"


def test_without_the_network_the_cache_will_do_and_else_it_is_told(site: Site, var: Path) -> None:
    kept = fetch(site.url, var)
    site.shutdown()
    site.server_close()
    assert fetch(site.url, var, kept.sha256) == kept
    shutil.rmtree(var)
    with pytest.raises(DataError, match=r"cannot fetch http://127.*\n.*refused[\s\S]*some table\.csv"):
        fetch(site.url, var, kept.sha256)


def test_another_table_is_refused(site: Site, var: Path) -> None:
    kept = fetch(site.url, var)
    kept.path.write_text("torn")
    assert fetch(site.url, var, kept.sha256).path.read_text() == TABLE, "what was torn is fetched again"
    site.content = TABLE.replace("a", "b").encode()
    shutil.rmtree(var)
    with pytest.raises(DataError, match="another table than the one that was described"):
        fetch(site.url, var, kept.sha256)
    assert [*var.rglob("*.csv")] == []


def test_what_breaks_off_or_is_not_there_is_told(site: Site, var: Path) -> None:
    site.cut_after = 100
    with pytest.raises(DataError, match="cannot fetch"):
        fetch(site.url, var)
    with pytest.raises(DataError, match="Not Found"):
        fetch(site.url.replace("some", "gone"), var)


def test_an_unencrypted_address_needs_a_digest(var: Path) -> None:
    with pytest.raises(ConfigError, match="may be answered by anybody"):
        fetch("http://example.org/table.csv", var)


def test_a_url_needs_a_digest_in_the_settings() -> None:
    data = {"source": "https://example.org/table.csv", "label": "y", "classes": ["a", "b"]}
    with pytest.raises(ValueError, match=r"a URL needs data\.sha256"):
        Settings.model_validate({"name": "m", "data": data})


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/a/b.csv.gz?x=1#y", "b.csv.gz"),
        ("https://example.org", "table"),
        ("https://example.org/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("https://example.org/..", "table"),
    ],
)
def test_the_name_of_a_file(url: str, name: str) -> None:
    assert name_of(url) == name
