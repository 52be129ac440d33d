"""Render, Railway and systemd: fields that they know, files that exist, settings that the entry point has."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from config.load import load_settings
from tests.support.paths import ROOT
from webapp.settings import read_settings

DEPLOY = ROOT / "deploy"
SETTINGS = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", (ROOT / "serving" / "entrypoint.sh").read_text("utf-8")))
UNIT = DEPLOY / "systemd" / "vouch-model-server.service"


def test_render_gets_a_private_service_from_the_dockerfile() -> None:
    [service] = yaml.safe_load((DEPLOY / "render.yaml").read_text(encoding="utf-8"))["services"]
    assert set(service) == {
        "type",
        "name",
        "runtime",
        "plan",
        "dockerfilePath",
        "dockerContext",
        "maxShutdownDelaySeconds",
        "envVars",
    }
    assert (service["type"], service["runtime"]) == ("pserv", "docker")  # pserv: has no public address
    assert (ROOT / service["dockerContext"] / service["dockerfilePath"]).is_file()
    variables = {entry["key"]: entry["value"] for entry in service["envVars"]}
    assert set(variables) <= set(SETTINGS)
    assert int(variables["VOUCH_DRAIN_S"]) < service["maxShutdownDelaySeconds"] <= 300


def test_railway_builds_the_dockerfile_and_waits_for_the_model() -> None:
    railway = json.loads((DEPLOY / "railway.json").read_text(encoding="utf-8"))
    build, deploy = railway["build"], railway["deploy"]
    assert set(railway) == {"$schema", "build", "deploy"}
    assert build["builder"] == "DOCKERFILE"
    assert (ROOT / build["dockerfilePath"]).is_file()
    assert set(deploy) == {
        "numReplicas",
        "healthcheckPath",
        "healthcheckTimeout",
        "overlapSeconds",
        "drainingSeconds",
        "restartPolicyType",
        "restartPolicyMaxRetries",
    }
    assert deploy["restartPolicyType"] in {"ON_FAILURE", "ALWAYS", "NEVER"}
    assert int(SETTINGS["VOUCH_DRAIN_S"]) < deploy["drainingSeconds"]
    name = deploy["healthcheckPath"].removeprefix("/v1/models/")
    assert load_settings(ROOT / "config" / name).name == name


def test_systemd_runs_the_entry_point_and_lets_only_this_machine_in() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    service = unit["Service"]
    script = Path(service["ExecStart"])
    assert (ROOT / script.relative_to("/opt/vouch")).is_file()
    assert (service["IPAddressDeny"], service["IPAddressAllow"]) == ("any", "localhost")
    lines = re.findall(r"^Environment=(.*)$", UNIT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    variables = dict(word.split("=") for line in lines for word in shlex.split(line))
    assert set(variables) <= set(SETTINGS)
    assert variables["VOUCH_STATE"] == f"/run/{service['RuntimeDirectory']}"
    assert int(SETTINGS["VOUCH_DRAIN_S"]) < int(service["TimeoutStopSec"])


def test_systemd_runs_the_web_app_on_the_same_models_and_keeps_its_secret() -> None:
    text = (DEPLOY / "systemd" / "vouch-webapp.service").read_text(encoding="utf-8")
    variables = dict(
        word.split("=") for line in re.findall(r"^Environment=(.*)$", text, flags=re.M) for word in line.split()
    )
    assert f"MODEL_BASE_PATH={variables['VOUCH_VAR']}/serving" in UNIT.read_text(encoding="utf-8")
    assert variables["VOUCH_SECRET_KEY_FILE"] == "%d/secret-key"
    assert f"ReadWritePaths={variables['VOUCH_VAR']}\n" in text
    given = {"VOUCH_AUTH": variables["VOUCH_AUTH"], "VOUCH_SECRET_KEY": "tO7k-9f2mZq8Xw1vRb5nJc3hLd6sYp0aGe4uKi"}
    assert read_settings({**given, "PORT": variables["PORT"]}).auth


def test_systemd_runs_the_watcher_where_the_web_app_writes() -> None:
    watch, webapp = ((DEPLOY / "systemd" / f"vouch-{name}.service").read_text("utf-8") for name in ("watch", "webapp"))
    for line in ("User=vouch", "ReadWritePaths=/opt/vouch/var", "WorkingDirectory=/opt/vouch"):
        assert f"\n{line}\n" in watch
        assert f"\n{line}\n" in webapp
    assert "VOUCH_VAR=/opt/vouch/var" in watch
    assert "-m monitoring watch" in watch
    assert "Restart=always" in watch, "it ends itself where it is stuck"


def test_systemd_runs_the_controller_with_its_token_where_it_may_write_spans() -> None:
    text = (DEPLOY / "systemd" / "vouch-controller.service").read_text("utf-8")
    assert "-m monitoring control" in text
    assert "ReadWritePaths=/opt/vouch/var /opt/vouch/data\n" in text
    assert "LoadCredential=token:/etc/vouch-controller-token\n" in text
    assert "VOUCH_CONTROLLER_TOKEN_FILE=%d/token\n" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vouch-model-server", "vouch-webapp", "vouch-watch", "vouch-controller"])
def test_systemd_itself_understands_the_unit(check_with: Callable[..., str], tmp_path: Path, name: str) -> None:
    unit = tmp_path / f"{name}.service"
    text = (DEPLOY / "systemd" / unit.name).read_text(encoding="utf-8")
    unit.write_text(text.replace("/opt/vouch", str(ROOT)), encoding="utf-8")
    check_with("systemd-analyze", "verify", "--man=no", unit)
