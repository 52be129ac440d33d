from __future__ import annotations

import json
import logging
import logging.config
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.web.small_app import small_app
from webapp.http.logs import configuration
from webapp.settings import read_settings


@pytest.fixture(autouse=True)
def _log_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # dictConfig closes every handler there is, and absl's, where TensorFlow was imported, closes pytest's own stream
    monkeypatch.setattr(logging, "_handlerList", [])
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_carry_the_id_of_their_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = small_app(tmp_path)
    logging.config.dictConfig(configuration(read_settings({}, log_format="json", log_level="INFO")))
    answer = app.test_client().post("/api/v1/fail", json={}, headers={"X-Request-ID": "id-of-this-test"})
    logging.getLogger("elsewhere").warning("no request")
    app.extensions["vouch"].close()
    assert answer.status_code == 500
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [failure] = [line for line in told if line["message"] == "POST /api/v1/fail failed"]
    assert (failure["request_id"], failure["level"]) == ("id-of-this-test", "ERROR")
    assert "RuntimeError" in failure["traceback"]
    assert [line["request_id"] for line in told if line["logger"] == "webapp.access"] == ["id-of-this-test"]
    assert told[-1]["request_id"] == "-"


def test_text_lines_carry_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = small_app(tmp_path)
    logging.config.dictConfig(configuration(read_settings({}, log_level="INFO")))
    app.test_client().get("/public", headers={"X-Request-ID": "id-of-this-test"})
    app.extensions["vouch"].close()
    assert " webapp.access id-of-this-test GET /public 200 " in capsys.readouterr().err
