"""The health check reads what the model server says of each model, not only that it says something."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "serving" / "healthcheck.sh"
CONFIG = """model_config_list {{
  config {{ name: "{}" base_path: "/m/a" model_platform: "tensorflow" }} config {{ name: "{}" base_path: "/m/b" }}
}}"""


def status(*states: str) -> bytes:
    """A status as TensorFlow Serving prints it."""
    versions = [
        {"version": str(number), "state": state, "status": {"error_code": "OK", "error_message": ""}}
        for number, state in enumerate(states)
    ]
    return json.dumps({"model_version_status": versions}, indent=1).encode()


@pytest.fixture
def answers() -> dict[str, bytes]:
    """Answer by path, all with 200, as the model server answers."""
    return {}


@pytest.fixture
def port(answers: dict[str, bytes]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            self.wfile.write(answers.get(self.path, b'{"error": "Could not find any versions"}'))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def check(tmp_path: Path, port: int) -> Callable[..., tuple[int, str]]:
    """Run the script; exit code and words."""

    def run(config: str | None, *model: str, port: int = port) -> tuple[int, str]:
        if config is not None:
            (tmp_path / "models.config").write_text(config)
        environment = {"PATH": os.environ["PATH"], "PORT": str(port), "VOUCH_STATE": str(tmp_path)}
        done = subprocess.run(
            ["/bin/bash", str(SCRIPT), *model], env=environment, capture_output=True, text=True, timeout=20, check=False
        )
        return done.returncode, done.stdout

    return run


def test_every_model_with_an_available_version_is_named(check: Any, answers: dict[str, bytes]) -> None:
    answers |= {"/v1/models/wine": status("END", "AVAILABLE"), "/v1/models/iris": status("AVAILABLE")}
    assert check(CONFIG.format("wine", "iris")) == (0, "iris is available\nwine is available\n")


@pytest.mark.parametrize("states", [[], ["LOADING"], ["END"], ["START", "UNLOADING"]], ids=" ".join)
def test_a_model_without_an_available_version_is_told_and_leaves_the_others_ready(
    check: Any, answers: dict[str, bytes], states: list[str]
) -> None:
    answers |= {"/v1/models/wine": status("AVAILABLE"), "/v1/models/iris": status(*states)}
    config = CONFIG.format("wine", "iris")
    assert check(config) == (0, "iris has no available version\nwine is available\n")
    assert check(config, "wine") == (0, "wine is available\n")
    assert check(config, "iris") == (1, "iris has no available version\n")


def test_a_server_without_any_available_model_is_unhealthy(check: Any, answers: dict[str, bytes]) -> None:
    answers |= {"/v1/models/wine": status("END")}
    code, said = check(CONFIG.format("wine", "iris"))
    assert (code, said) == (1, "iris has no available version\nwine has no available version\n")


def test_a_server_that_is_not_there_is_unhealthy(check: Any) -> None:
    code, said = check(CONFIG.format("wine", "iris"), port=1)
    assert (code, said) == (1, "iris does not answer on port 1\nwine does not answer on port 1\n")


@pytest.mark.parametrize("config", [None, "", "model_config_list { }"], ids=["no file", "empty", "no model"])
def test_a_server_that_serves_nothing_is_unhealthy(check: Any, config: str | None) -> None:
    code, said = check(config)
    assert code == 1
    assert said.startswith("no model in ")
