"""The Kubernetes manifests: known fields only, and names, ports and labels that meet."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from common.paths import CONTROLLER, WATCHER
from monitoring.controller.control import VARIABLE
from monitoring.watch.server import Access
from tests.support.paths import ROOT
from webapp.settings import read_settings

FOLDERS = sorted(path.parent for path in (ROOT / "deploy" / "kubernetes").glob("*/kustomization.yaml"))
LABEL = "app.kubernetes.io/name"
each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
each_built = pytest.mark.parametrize(
    "folder",
    [folder for folder in FOLDERS if "kind: Component" not in (folder / "kustomization.yaml").read_text("utf-8")],
    ids=lambda folder: folder.name,
)


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def referenced(folder: Path) -> Iterator[str]:
    kustomization = documents(folder / "kustomization.yaml")[0]
    yield from kustomization["resources"]
    yield from kustomization.get("components", [])
    yield from (patch["path"] for patch in kustomization.get("patches", []))
    yield from (file for entry in kustomization.get("configMapGenerator", []) for file in entry.get("files", []))


BASE = {
    (document["kind"], document["metadata"]["name"]): document
    for path in (ROOT / "deploy" / "kubernetes" / "base").glob("*.yaml")
    if path.name != "kustomization.yaml"
    for document in documents(path)
}
SPECS = {key: document.get("spec", {}) for key, document in BASE.items()}
POD = SPECS["Deployment", "model-server"]["template"]["spec"]
CONTAINER = POD["containers"][0]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}


@each_folder
def test_a_kustomization_names_every_file_beside_it_and_no_other(folder: Path) -> None:
    named = set(referenced(folder))
    assert {name for name in named if not name.startswith("..")} == {path.name for path in folder.iterdir()} - {
        "kustomization.yaml"
    }
    assert all((folder / name).exists() for name in named)


def test_what_selects_the_pods_finds_them() -> None:
    labels = SPECS["Deployment", "model-server"]["template"]["metadata"]["labels"]
    assert labels == {LABEL: "model-server"}
    assert SPECS["Deployment", "model-server"]["selector"]["matchLabels"] == labels
    assert SPECS["PodDisruptionBudget", "model-server"]["selector"]["matchLabels"] == labels
    assert SPECS["NetworkPolicy", "model-server"]["podSelector"]["matchLabels"] == labels
    assert SPECS["Service", "model-server"]["selector"] == SPECS["Service", "model-server-grpc"]["selector"] == labels
    target = SPECS["HorizontalPodAutoscaler", "model-server"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in BASE


def test_ports_meet() -> None:
    assert {entry["name"]: entry["value"] for entry in CONTAINER["env"]} == {
        "PORT": str(PORTS["rest"]),
        "GRPC_PORT": str(PORTS["grpc"]),
    }
    for (kind, _), spec in SPECS.items():
        if kind == "Service":
            assert all(PORTS[port["targetPort"]] == port["port"] for port in spec["ports"])
    assert CONTAINER["livenessProbe"]["grpc"]["port"] == PORTS["grpc"]
    assert {
        port["port"] for rule in SPECS["NetworkPolicy", "model-server"]["ingress"] for port in rule["ports"]
    } == set(PORTS)


def test_only_who_needs_it_gets_in_and_nothing_gets_out() -> None:
    policy = SPECS["NetworkPolicy", "model-server"]
    peers = [peer for rule in policy["ingress"] for peer in rule["from"]]
    assert [peer["podSelector"]["matchLabels"][LABEL] for peer in peers] == [
        "webapp",
        "watch",
        "controller",
        "prometheus",
    ]
    assert policy["egress"] == []
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_probes_are_what_the_image_has() -> None:
    for probe in ("startupProbe", "readinessProbe"):
        assert CONTAINER[probe]["exec"]["command"] == ["healthcheck.sh"]
    assert "--enable_grpc_healthcheck_service=true" in (ROOT / "serving" / "entrypoint.sh").read_text("utf-8")


def test_a_pod_is_drained_before_it_is_stopped_and_stopped_before_it_is_killed() -> None:
    [kustomization] = documents(ROOT / "deploy" / "kubernetes" / "base" / "kustomization.yaml")
    settings = dict(text.split("=") for entry in kustomization["configMapGenerator"] for text in entry["literals"])
    known = re.findall(r"\$\{([A-Z_]+):-", (ROOT / "serving" / "entrypoint.sh").read_text("utf-8"))
    assert set(settings) <= set(known)
    program, seconds = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert 10 <= int(seconds) + int(settings["VOUCH_DRAIN_S"]) < POD["terminationGracePeriodSeconds"] - 10
    assert SPECS["Deployment", "model-server"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_a_pod_has_no_more_rights_than_it_needs() -> None:
    assert POD["automountServiceAccountToken"] is False
    assert POD["securityContext"]["runAsNonRoot"] is True
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    assert user
    assert (str(POD["securityContext"]["runAsUser"]), str(POD["securityContext"]["runAsGroup"])) == user.groups()
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"memory"} == set(CONTAINER["resources"]["limits"])


def test_prometheus_operator_reads_the_metrics_where_they_are() -> None:
    [monitor] = documents(ROOT / "deploy" / "kubernetes" / "production" / "service-monitor.yaml")
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in SPECS["Service", "model-server"]["ports"]}
    assert f'path: "{endpoint["path"]}"' in (ROOT / "config" / "prometheus.config").read_text("utf-8")
    assert (
        monitor["spec"]["selector"]["matchLabels"].items()
        <= BASE["Service", "model-server"]["metadata"]["labels"].items()
    )


def in_folder(name: str) -> dict[str, dict[str, Any]]:
    """The documents of a folder by kind."""
    folder = ROOT / "deploy" / "kubernetes" / name
    paths = [path for path in folder.glob("*.yaml") if path.name != "kustomization.yaml"]
    return {document["kind"]: document for path in paths for document in documents(path)}


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_the_web_app_sees_the_models_where_the_model_server_does_and_may_write_them() -> None:
    [server] = in_folder("shared-models")["Deployment"]["spec"]["template"]["spec"]["containers"]
    [webapp] = in_folder("webapp")["Deployment"]["spec"]["template"]["spec"]["containers"]
    path = variables(server)["MODEL_BASE_PATH"]
    assert path == variables(webapp)["VOUCH_VAR"] + "/serving"
    assert {mount["mountPath"]: mount.get("readOnly", False) for mount in server["volumeMounts"]} == {path: True}
    assert {"name": "models", "mountPath": path} in webapp["volumeMounts"]


def test_the_web_app_can_be_started_with_what_it_is_told() -> None:
    [kustomization] = documents(ROOT / "deploy" / "kubernetes" / "webapp" / "kustomization.yaml")
    told = dict(text.split("=", 1) for entry in kustomization["configMapGenerator"] for text in entry["literals"])
    settings = read_settings({**told, "VOUCH_SECRET_KEY": "tO7k-9f2mZq8Xw1vRb5nJc3hLd6sYp0aGe4uKi", "PORT": "8080"})
    assert settings.auth
    assert settings.secure_cookies
    services = {name for kind, name in BASE if kind == "Service"}
    hosts = {settings.model_server_rest.split("//")[1].split(":")[0], settings.model_server_grpc.split(":")[0]}
    assert hosts == services
    folder = in_folder("webapp")
    [rule] = folder["Ingress"]["spec"]["rules"]
    assert settings.trusted_hosts == (rule["host"],)
    assert settings.trusted_proxies == 1
    assert rule["http"]["paths"][0]["backend"]["service"]["name"] == folder["Service"]["metadata"]["name"]


def test_the_web_app_is_one_pod_without_more_rights_than_it_needs() -> None:
    folder = in_folder("webapp")
    spec = folder["Deployment"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})  # its accounts are in SQLite
    pod = spec["template"]["spec"]
    assert pod["securityContext"] == POD["securityContext"]
    [container] = pod["containers"]
    assert container["securityContext"] == CONTAINER["securityContext"]
    labels = spec["template"]["metadata"]["labels"]
    policy = folder["NetworkPolicy"]["spec"]
    assert folder["Service"]["spec"]["selector"] == labels == policy["podSelector"]["matchLabels"]
    assert policy["egress"][0]["to"] == [{"podSelector": {"matchLabels": {LABEL: "model-server"}}}]


@pytest.mark.parametrize(("room", "number"), [("watch", WATCHER), ("controller", CONTROLLER)])
def test_it_is_one_pod_beside_the_web_app_on_its_volumes(room: str, number: int) -> None:
    own, webapp = (in_folder(name) for name in (room, "webapp"))
    spec = own["Deployment"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    pod, beside = spec["template"]["spec"], webapp["Deployment"]["spec"]["template"]
    assert pod["securityContext"] == POD["securityContext"]
    [container] = pod["containers"]
    assert container["securityContext"] == CONTAINER["securityContext"]
    [near] = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert near["labelSelector"]["matchLabels"] == beside["metadata"]["labels"]
    for name in ("state", "models"):
        [ours], [theirs] = (
            [volume for volume in volumes if volume["name"] == name]
            for volumes in (pod["volumes"], beside["spec"]["volumes"])
        )
        assert ours == theirs
    assert variables(container)["VOUCH_VAR"] == variables(beside["spec"]["containers"][0])["VOUCH_VAR"]
    [port] = container["ports"]
    assert port["containerPort"] == number
    labels = spec["template"]["metadata"]["labels"]
    assert labels == {LABEL: room}
    assert own["Service"]["spec"]["selector"] == labels == own["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    [endpoint] = own["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["port"] == own["Service"]["spec"]["ports"][0]["name"] == port["name"]


def test_the_controller_reads_its_token_from_the_secret_and_writes_spans() -> None:
    pod = in_folder("controller")["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    token = Path(variables(container)[f"{VARIABLE}_FILE"])
    assert (token.name, mounts[str(token.parent)]["name"]) == ("token", "secret")
    assert not mounts[str(Path(variables(container)["VOUCH_MODELS"]).parent)].get("readOnly")
    assert {mount["name"] for mount in mounts.values()} == {volume["name"] for volume in pod["volumes"]}


def test_the_watcher_can_be_started_with_what_it_is_told() -> None:
    [kustomization] = documents(ROOT / "deploy" / "kubernetes" / "watch" / "kustomization.yaml")
    told = dict(text.split("=", 1) for entry in kustomization["configMapGenerator"] for text in entry["literals"])
    assert Access.read(told).allows("10.2.3.4", "")
    host, _, port = told["VOUCH_MODEL_SERVER_GRPC"].partition(":")
    assert ("Service", host) in BASE
    assert int(port) == PORTS["grpc"]


def without_nothing(value: Any) -> Any:
    """Drop what is empty, as the client library does when it writes."""
    if isinstance(value, Mapping):
        return {key: without_nothing(inner) for key, inner in value.items() if inner is not None}
    return [without_nothing(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def built(check_with: Callable[..., str]) -> Callable[[Path], list[dict[str, Any]]]:
    return lambda folder: list(yaml.safe_load_all(check_with("kubectl", "kustomize", folder)))


@pytest.mark.slow
@each_built
def test_kubernetes_knows_every_field(built: Callable[[Path], list[dict[str, Any]]], folder: Path) -> None:
    check_fields(built(folder))


@pytest.mark.slow
def test_kubernetes_knows_every_field_of_the_controller_which_is_in_no_other_folder() -> None:
    check_fields([*in_folder("controller").values()])


def check_fields(documents: list[dict[str, Any]]) -> None:
    from kubernetes import client

    api = client.ApiClient()
    for document in documents:
        group, _, version = document["apiVersion"].rpartition("/")
        if group.count(".") and not group.endswith(".k8s.io"):
            continue  # another's: Prometheus Operator
        answer = SimpleNamespace(data=json.dumps(document))
        understood = api.deserialize(answer, f"{version.capitalize()}{document['kind']}")  # raises for a missing field
        assert without_nothing(api.sanitize_for_serialization(understood)) == document  # unknown ones are lost


@pytest.mark.slow
@each_built
def test_a_pod_mounts_volumes_that_exist(built: Callable[[Path], list[dict[str, Any]]], folder: Path) -> None:
    documents = built(folder)
    names = {(document["kind"], document["metadata"]["name"]) for document in documents}
    pods = [document["spec"]["template"]["spec"] for document in documents if document["kind"] == "Deployment"]
    assert pods
    for pod in pods:
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
            assert {("ConfigMap", source["configMapRef"]["name"]) for source in container["envFrom"]} <= names
        for volume in volumes.values():
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in names
