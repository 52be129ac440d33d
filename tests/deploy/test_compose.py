"""compose.yaml: who may reach what, and that nothing runs with more rights than it needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from common.paths import CONTROLLER
from monitoring.controller.control import VARIABLE
from monitoring.watch.server import Access
from serving.client.types import Addresses
from tests.support.paths import ROOT
from tests.support.programs import skip_without
from webapp.settings import WebSettings, read_settings

GOOD_SECRET = "tO7k-9f2mZq8Xw1vRb5nJc3hLd6sYp0aGe4uKi"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
STARTED = {name: service for name, service in SERVICES.items() if "profiles" not in service}
each = pytest.mark.parametrize("name", SERVICES)


def webapp_settings() -> dict[str, str]:
    """What the web app is told where the shell says nothing."""
    environment = SERVICES["webapp"]["environment"]
    return {
        name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value)
        for name, value in environment.items()
        if name.startswith("VOUCH_")
    }


@each
def test_nothing_has_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)


@each
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in SERVICES[name].get("ports", []))


def test_the_model_server_is_reached_by_those_who_ask_it_only() -> None:
    assert "ports" not in SERVICES["model-server"]
    assert SERVICES["model-server"]["networks"] == ["serving"]
    assert COMPOSE["networks"]["serving"]["internal"] is True
    others = {name for name, service in SERVICES.items() if "serving" in service["networks"]} - {"model-server"}
    assert others == {"webapp", "watch", "controller", "prometheus"}


def test_the_web_app_is_told_where_the_model_server_is_and_what_it_knows() -> None:
    told = webapp_settings()
    assert {name.removeprefix("VOUCH_").lower() for name in told} <= set(WebSettings.model_fields)
    given = told | {"VOUCH_SECRET_KEY": GOOD_SECRET, "VOUCH_HOST": "0.0.0.0"}  # the image's
    settings = read_settings({**given, "PORT": SERVICES["webapp"]["environment"]["PORT"]})
    assert settings.auth
    addresses = (settings.model_server_rest, settings.model_server_grpc)
    Addresses(*addresses)
    assert {value.removeprefix("http://").partition(":")[0] for value in addresses} == {"model-server"}
    assert SERVICES["webapp"]["ports"] == [f"127.0.0.1:8080:{settings.port}"]


def test_only_the_network_that_nothing_outside_comes_by_may_read_the_metrics() -> None:
    [subnet] = COMPOSE["networks"]["serving"]["ipam"]["config"]
    assert webapp_settings()["VOUCH_METRICS_NETWORKS"] == subnet["subnet"]


def test_the_watcher_sees_what_the_web_app_writes_and_tells_it_to_prometheus_alone() -> None:
    watch, webapp = SERVICES["watch"], SERVICES["webapp"]
    for key in ("volumes", "user"):
        assert watch[key] == webapp[key]
    for name in ("VOUCH_VAR", "VOUCH_DATABASE_URL", "VOUCH_MODEL_SERVER_GRPC"):
        assert watch["environment"][name] == webapp["environment"][name]
    [subnet] = COMPOSE["networks"]["serving"]["ipam"]["config"]
    access = Access.read(watch["environment"])
    assert [access.allows(address, "") for address in (subnet["subnet"].replace(".0/24", ".9"), "10.0.0.1")] == [
        True,
        False,
    ]


def test_the_controller_sees_what_the_web_app_writes_and_adds_spans_beside_the_data() -> None:
    controller, webapp = SERVICES["controller"], SERVICES["webapp"]
    state, config, data = controller["volumes"]
    assert ([state], controller["user"]) == (webapp["volumes"], webapp["user"])
    for name in ("VOUCH_VAR", "VOUCH_DATABASE_URL", "VOUCH_MODEL_SERVER_GRPC"):
        assert controller["environment"][name] == webapp["environment"][name]
    assert config == f"${{VOUCH_EXAMPLES:-.}}/config:{controller['environment']['VOUCH_MODELS']}:ro"
    assert data == "${VOUCH_EXAMPLES:-.}/data:/examples/data"  # which a pipeline.yaml finds at ../../data


def test_alertmanager_finds_the_controller_and_both_have_its_token_from_one_file() -> None:
    config = yaml.safe_load((ROOT / "monitoring" / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
    [receiver] = [each for each in config["receivers"] if each["name"] == "controller"]
    [webhook] = receiver["webhook_configs"]
    assert webhook["url"] == f"http://controller:{CONTROLLER}/alerts"
    assert set(SERVICES["alertmanager"]["networks"]) & set(SERVICES["controller"]["networks"])
    [folder] = [volume for volume in SERVICES["alertmanager"]["volumes"] if volume.startswith("./")]
    source, target, _ = folder.split(":")
    shown = webhook["http_config"]["authorization"]["credentials_file"]
    assert COMPOSE["secrets"] == {"controller_token": {"file": shown.replace(target, source)}}
    assert SERVICES["controller"]["secrets"] == ["controller_token"]
    assert SERVICES["controller"]["environment"][f"{VARIABLE}_FILE"] == "/run/secrets/controller_token"


def test_the_web_app_can_be_told_of_a_proxy_before_it() -> None:
    environment = SERVICES["webapp"]["environment"]
    for name in ("VOUCH_TRUSTED_PROXIES", "VOUCH_TRUSTED_HOSTS", "VOUCH_SECURE_COOKIES"):
        assert environment[name].startswith(f"${{{name}:-")


def test_the_web_app_does_not_start_without_a_secret() -> None:
    assert SERVICES["webapp"]["environment"]["VOUCH_SECRET_KEY"].startswith("${VOUCH_SECRET_KEY:?")


def test_a_release_in_the_web_apps_container_names_folders_as_the_model_server_sees_them() -> None:
    server, webapp = SERVICES["model-server"], SERVICES["webapp"]
    seen, var = server["environment"]["MODEL_BASE_PATH"], webapp["environment"]["VOUCH_VAR"]
    assert seen == f"{var}/serving"
    assert webapp["volumes"] == [f"${{VOUCH_VAR:-./var}}:{var}"]
    assert server["volumes"] == [f"${{VOUCH_VAR:-./var}}/serving:{seen}:ro"]


@each
def test_an_image_is_pinned_or_built_here(name: str) -> None:
    service = SERVICES[name]
    assert "build" in service or re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?", service["image"])


@each
def test_what_is_waited_for_can_become_healthy(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[needed] or needed == "model-server"  # its image has one
        assert needed in STARTED


@each
def test_files_that_are_mounted_exist_and_volumes_are_declared(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.partition(":")[0]
        if source.startswith("./"):
            assert (ROOT / source).is_dir()
        elif not source.startswith("$"):
            assert source in COMPOSE["volumes"]


def test_all_but_the_controller_whose_image_is_large_is_started_by_default() -> None:
    assert set(SERVICES) - set(STARTED) == {"controller"}
    builds = [service["build"] for service in SERVICES.values() if "build" in service]
    assert all((ROOT / build.get("dockerfile", "Dockerfile")).is_file() for build in builds)


@pytest.mark.slow
def test_compose_itself_understands_it() -> None:
    compose = [["docker", "compose"], ["docker-compose"]]
    said = [
        subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
        for command in compose
        if shutil.which(command[0])
    ]
    newer = [
        done.args[:-2] for done in said if done.returncode == 0 and int(done.stdout.lstrip("v").split(".")[0]) >= 2
    ]
    if not newer:
        skip_without("docker compose")
    done = subprocess.run(
        [*newer[0], "--profile", "*", "config", "--services"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "VOUCH_SECRET_KEY": GOOD_SECRET},
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == set(SERVICES)
