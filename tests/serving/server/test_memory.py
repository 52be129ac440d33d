"""What is unloaded is given back: the memory of a server that loads version after version stays where it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.serving import models
from tests.support.serving.running import running, wait_for

pytestmark = pytest.mark.slow

FEW, MANY = 20, 200
GROWTH = 1.3  # of the resident memory, from a few reloads to many


@pytest.mark.exhaustive
def test_many_reloads_take_no_more_memory_than_a_few(tmp_path: Path) -> None:
    from tensorflow_serving.apis import model_service_pb2_grpc

    base = tmp_path / "half"
    models.half_plus(base / "1")
    shutil.copytree(base / "1", base / "2")
    with (
        running(tmp_path / "log", "--model_name=half", f"--model_base_path={base}") as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        sizes_mb = {}
        for turn in range(1, MANY + 1):
            wanted, other = (1, 2) if turn % 2 else (2, 1)
            stub.HandleReloadConfigRequest(only(base, wanted), timeout=30)
            states = {str(wanted): "AVAILABLE", str(other): "END"}
            wait_for(lambda states=states: server.states("half") == states, 30, server.log.read_text)  # type: ignore[misc]
            if turn in (FEW, MANY):
                sizes_mb[turn] = server.rss_mb()
        assert server.predict("half", {"instances": [2.0]}).json() == {"predictions": [3.0]}
        assert sizes_mb[MANY] < GROWTH * sizes_mb[FEW], sizes_mb
        print(sizes_mb)


def only(base: Path, version: int) -> Any:
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2

    config = f'config {{ name: "half" base_path: "{base}" model_platform: "tensorflow" '
    policy = f"model_version_policy {{ specific {{ versions: {version} }} }} }}"
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(f"model_config_list {{ {config} {policy} }}", request.config)
    return request
