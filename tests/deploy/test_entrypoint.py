"""The container's entry point, with a script in the model server's place that writes down how it was called."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from serving.launch.backends import Places, choose
from serving.server import flags
from tests.support.paths import ROOT
from tests.support.serving.configs import parse_config

SCRIPT = ROOT / "serving" / "entrypoint.sh"
LIMIT_S = 20
# Ends by SIGTERM at once, as the real one does without being process 1.
STAND_IN = (
    '#!/bin/sh\nprintf "%s\\n" "$@" >"$VOUCH_STATE/called.part"\nmv "$VOUCH_STATE/called.part" "$VOUCH_STATE/called"\n'
)


@dataclass(frozen=True)
class Site:
    """A machine to run the entry point on."""

    folder: Path

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def releases(self) -> Path:
        return self.models / "models.config"

    @property
    def wanted(self) -> Path:
        """What the server is told to serve."""
        return self.folder / "state" / "models.config"

    def push(self, *names: str) -> None:
        for name in names:
            (self.models / name).mkdir(parents=True)
            (self.models / name / "saved_model.pb").touch()

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "VOUCH_MODELS": str(self.models),
            "VOUCH_CONFIG": str(ROOT / "config"),
            "VOUCH_STATE": str(self.folder / "state"),
            "VOUCH_POLL_S": "1",
            "VOUCH_DRAIN_S": "0",
            **settings,
        }

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["/bin/bash", str(SCRIPT), *arguments],
            env=self.environment(settings),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def refusal(self, **settings: str) -> str:
        """What is said by a start that is refused."""
        process = self.start(**settings)
        said, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 2
        assert not (self.folder / "state" / "called").exists()
        return said

    def called(self) -> list[str]:
        """The server's arguments, once it has been started."""
        wait_until((self.folder / "state" / "called").exists)
        return (self.folder / "state" / "called").read_text().splitlines()

    def served(self) -> dict[str, str]:
        """Base path by model, as the server reads it."""
        models = parse_config(self.wanted.read_text()).model_config_list.config
        return {model.name: model.base_path for model in models}


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < end, "this never came true"
        time.sleep(0.01)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    for name in ("bin", "state", "models"):
        (tmp_path / name).mkdir()
    binary = tmp_path / "bin" / "tensorflow_model_server"
    binary.write_text(f"{STAND_IN}exec sleep {LIMIT_S}\n")
    binary.chmod(0o755)
    return Site(tmp_path)


@pytest.fixture
def started(site: Site) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start and wait for the server; whatever still runs at the end is killed."""
    processes = []

    def start(*arguments: str, **settings: str) -> subprocess.Popen[str]:
        processes.append(site.start(*arguments, **settings))
        site.called()
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def test_the_newest_version_of_every_model_is_served_by_default(site: Site, started: Any) -> None:
    site.push("wine/1", "breast_cancer/00000002", "unfinished/.staging-1")
    started()
    assert site.served() == {name: str(site.models / name) for name in ("breast_cancer", "wine")}
    assert all(
        model.model_platform == "tensorflow" for model in parse_config(site.wanted.read_text()).model_config_list.config
    )


def test_the_server_is_called_as_serving_start_calls_it(site: Site, started: Any) -> None:
    site.push("wine/1")
    started("--rest_api_timeout_in_ms=7", PORT="18501", GRPC_PORT="18500")
    options, unknown = flags.parse(site.called())
    assert not unknown
    assert (options.rest_api_port, options.port, options.rest_api_timeout_in_ms) == (18501, 18500, 7)
    assert options.model_config_file == str(site.wanted)
    start = choose(Places(site.models, ROOT / "config", 18501, 18500), docker=False, environment={"PATH": ""})
    at_home, _ = flags.parse(start.command[3:])
    differing = {
        field.name for field in fields(options) if getattr(options, field.name) != getattr(at_home, field.name)
    }
    assert differing == {
        "rest_api_timeout_in_ms",
        "model_config_file",
        "model_config_file_poll_wait_seconds",
        "bind_address",
    }


def test_batching_can_be_left_out(site: Site, started: Any) -> None:
    site.push("wine/1")
    started(VOUCH_BATCHING="false")
    assert not [argument for argument in site.called() if argument.startswith(("--enable_batching", "--batching"))]


RELEASES = """
model_config_list {
  config {
    name: "wine" base_path: "/somewhere/else/serving/wine/" model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 } }
    version_labels { key: "stable" value: 1 } version_labels { key: "candidate" value: 2 }
  } config { name: "iris" base_path: "/elsewhere/iris" model_platform: "tensorflow" }
}
"""


@pytest.mark.parametrize("text", [RELEASES, " ".join(RELEASES.split())], ids=["in lines", "in one line"])
def test_releases_are_served_as_they_stand_from_where_the_models_are_here(site: Site, started: Any, text: str) -> None:
    site.push("wine/1", "iris/1")
    site.releases.write_text(text)
    started()
    wine = parse_config(site.wanted.read_text()).model_config_list.config[0]
    assert site.served() == {name: str(site.models / name) for name in ("wine", "iris")}
    assert dict(wine.version_labels) == {"stable": 1, "candidate": 2}
    assert list(wine.model_version_policy.specific.versions) == [1, 2]


@pytest.mark.slow
def test_a_model_and_a_release_that_come_later_are_seen(site: Site, started: Any) -> None:
    site.push("wine/1")
    started()
    site.push("iris/1")
    wait_until(lambda: set(site.served()) == {"iris", "wine"})
    site.releases.write_text(RELEASES)
    wait_until(lambda: "stable" in site.wanted.read_text())


@pytest.mark.slow
def test_a_release_of_a_model_that_is_not_there_is_told_and_changes_nothing(site: Site, started: Any) -> None:
    site.push("wine/1")
    process = started()
    site.releases.write_text(RELEASES)
    wait_until(lambda: "iris" in (site.folder / "state" / "models.config.why").read_text())
    process.terminate()
    said, _ = process.communicate(timeout=LIMIT_S)
    assert site.served() == {"wine": str(site.models / "wine")}
    assert said.count(f"names a model that is not there: {site.models / 'iris'}") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_reaches_the_server(site: Site, started: Any, number: signal.Signals) -> None:
    site.push("wine/1")
    process = started()
    process.send_signal(number)
    said, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    assert "entrypoint: stopped" in said


@pytest.mark.slow
def test_sigterm_leaves_time_for_what_is_under_way_and_sigint_cuts_it(site: Site, started: Any) -> None:
    site.push("wine/1")
    process = started(VOUCH_DRAIN_S="60")
    process.terminate()
    while "stopping after 60 s" not in process.stdout.readline():
        assert process.poll() is None
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0


def test_a_server_that_ends_by_itself_passes_its_exit_code_on(site: Site) -> None:
    site.push("wine/1")
    (site.folder / "bin" / "tensorflow_model_server").write_text("#!/bin/sh\nexit 255\n")
    process = site.start()
    said, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 255
    assert "ended by itself with exit code 255" in said


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"PORT": "http"}, "PORT is 'http'"),
        ({"PORT": "70000"}, "PORT is '70000'"),
        ({"PORT": "08501"}, "PORT is '08501'"),
        ({"PORT": "8500"}, "PORT and GRPC_PORT are both 8500"),
        ({"VOUCH_POLL_S": "0"}, "VOUCH_POLL_S is '0'"),
        ({"VOUCH_DRAIN_S": "soon"}, "VOUCH_DRAIN_S is 'soon'"),
        ({"VOUCH_BATCHING": "yes"}, "VOUCH_BATCHING is 'yes'"),
        ({"VOUCH_MODELS": "models"}, "VOUCH_MODELS is 'models'"),
        ({"VOUCH_CONFIG": "/nowhere"}, "/nowhere/prometheus.config cannot be read"),
        ({"VOUCH_STATE": "/nowhere"}, "/nowhere cannot be written to"),
        ({"PATH": "/usr/bin:/bin"}, "tensorflow_model_server is not on PATH"),
    ],
    ids=lambda value: "=".join(next(iter(value.items()))) if isinstance(value, dict) else "",
)
def test_a_setting_that_makes_no_sense_is_refused(site: Site, settings: dict[str, str], words: str) -> None:
    site.push("wine/1")
    said = site.refusal(**settings)
    assert f"STOPPED: {words}" in said
    assert "next: " in said


@pytest.mark.parametrize(
    "there", [[], ["wine/.staging-1"], ["wine/latest"]], ids=["nothing", "unfinished", "no number"]
)
def test_without_a_model_it_says_how_to_get_one(site: Site, there: list[str]) -> None:
    site.push(*there)
    assert "make demo" in site.refusal()


@pytest.mark.slow
@pytest.mark.parametrize("script", ["serving/entrypoint.sh", "serving/healthcheck.sh"])
def test_the_scripts_are_free_of_the_shells_traps(check_with: Callable[..., str], script: str) -> None:
    check_with("shellcheck", script)


def test_each_setting_is_documented_with_its_default() -> None:
    text = SCRIPT.read_text()
    listed = re.findall(r"^# ([A-Z_]+) {2,}.* (\S+)$", text, flags=re.MULTILINE)
    used = re.findall(r"=\$\{([A-Z_]+):-([^}]*)\}", text)
    assert len(used) == 8
    assert sorted(listed) == sorted(used)
    table = (ROOT / "docs" / "deployment.md").read_text("utf-8").partition("### Settings")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `([A-Z_]+)` \| `?([^`|]*?)`? \|", table, flags=re.MULTILINE)
    assert sorted(documented) == sorted(used)
