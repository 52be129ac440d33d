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
from serving.release import commands as release
from serving.release.servers import ReleaseContext
from serving.release.state import CONFIG
from serving.server import flags
from tests.support.paths import ROOT
from tests.support.serving.configs import parse_config
from tests.support.serving.versions import bare_version

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
        """Make whole versions, such as `wine/1`, and release the first of each model."""
        for name in names:
            model, version = name.split("/")
            bare_version(self.models / model, int(version))
        release.prepare(ReleaseContext(self.models, (), "tester"))

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "MODEL_BASE_PATH": str(self.models),
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


def test_the_server_reads_the_releases_own_file(site: Site, started: Any) -> None:
    site.push("wine/1", "breast_cancer/2")
    started()
    assert site.wanted.readlink() == site.releases
    assert site.served() == {name: str(site.models / name) for name in ("breast_cancer", "wine")}


def test_one_model_can_be_named_as_tensorflow_servings_image_has_it(site: Site, started: Any) -> None:
    site.push("wine/1", "iris/1")
    started(MODEL_NAME="wine")
    assert site.served() == {"wine": str(site.models / "wine")}
    assert "stable" in site.wanted.read_text()


def test_the_newest_whole_version_of_a_named_model_is_served_where_nothing_is_released(
    site: Site, started: Any
) -> None:
    site.push("wine/1", "wine/2", "wine/10")
    (site.models / "wine" / "10" / "saved_model.pb").write_text("another")
    site.releases.unlink()
    started(MODEL_NAME="wine")
    [wine] = parse_config(site.wanted.read_text()).model_config_list.config
    assert list(wine.model_version_policy.specific.versions) == [2]


def test_nothing_released_is_no_reason_to_guess(site: Site) -> None:
    site.push("wine/1")
    site.releases.unlink()
    said = site.refusal()
    assert "STOPPED: nothing is released" in said
    assert "python -m serving prepare" in said


def test_the_config_can_be_printed_for_an_image_of_one_model(site: Site) -> None:
    site.push("wine/1", "iris/1")
    process = site.start("--print-config", MODEL_NAME="iris")
    said, _ = process.communicate(timeout=LIMIT_S)
    [iris] = parse_config(said).model_config_list.config
    assert (process.returncode, iris.name, dict(iris.version_labels)) == (0, "iris", {"stable": 1})


def test_the_server_is_called_as_serving_start_calls_it(site: Site, started: Any) -> None:
    site.push("wine/1")
    started("--rest_api_timeout_in_ms=7", PORT="18501", GRPC_PORT="18500")
    options, unknown = flags.parse(site.called())
    assert not unknown
    assert (options.rest_api_port, options.port, options.rest_api_timeout_in_ms) == (18501, 18500, 7)
    assert options.model_config_file == str(site.wanted)
    places = Places(site.models, site.models / CONFIG, ROOT / "config", 18501, 18500)
    start = choose(places, docker=False, environment={"PATH": ""})
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
    site.push("wine/1", "wine/2", "iris/1")
    site.releases.write_text(text)
    started()
    assert not site.wanted.is_symlink()
    wine = parse_config(site.wanted.read_text()).model_config_list.config[0]
    assert site.served() == {name: str(site.models / name) for name in ("wine", "iris")}
    assert dict(wine.version_labels) == {"stable": 1, "candidate": 2}
    assert list(wine.model_version_policy.specific.versions) == [1, 2]


def test_a_version_that_is_not_whole_is_left_out_and_so_is_a_model_without_another(site: Site, started: Any) -> None:
    site.push("wine/1", "wine/2", "iris/1")
    site.releases.write_text(RELEASES.replace('"candidate" value: 2', '"candidate" value: 1'))
    (site.models / "wine" / "2" / "saved_model.pb").unlink()
    (site.models / "iris" / "1" / "assets.extra" / "manifest.json").unlink()
    process = started()
    [wine] = parse_config(site.wanted.read_text()).model_config_list.config
    assert (wine.name, list(wine.model_version_policy.specific.versions)) == ("wine", [1])
    assert dict(wine.version_labels) == {"stable": 1, "candidate": 1}
    process.terminate()
    said, _ = process.communicate(timeout=LIMIT_S)
    assert "iris is left out: no version is whole" in said


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
        ({"MODEL_BASE_PATH": "models"}, "MODEL_BASE_PATH is 'models'"),
        ({"MODEL_NAME": "../wine"}, "MODEL_NAME is '../wine'"),
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


def test_without_a_model_it_says_how_to_get_one(site: Site) -> None:
    assert "make demo" in site.refusal()
    site.releases.write_text(RELEASES)
    said = site.refusal()
    assert "wine is left out" in said
    assert "make demo" in said


@pytest.mark.slow
@pytest.mark.parametrize("script", ["serving/entrypoint.sh", "serving/healthcheck.sh"])
def test_the_scripts_are_free_of_the_shells_traps(check_with: Callable[..., str], script: str) -> None:
    check_with("shellcheck", script)


def test_each_setting_is_documented_with_its_default() -> None:
    text = SCRIPT.read_text()
    listed = re.findall(r"^# ([A-Z_]+) {2,}.* (\S+)$", text, flags=re.MULTILINE)
    used = [(name, default or "-") for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text)]
    assert len(used) == 10
    assert sorted(listed) == sorted(used)
    table = (ROOT / "docs" / "deployment.md").read_text("utf-8").partition("### Settings")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `([A-Z_]+)` \| `?([^`|]*?)`? \|", table, flags=re.MULTILINE)
    assert sorted(documented) == sorted(used)
