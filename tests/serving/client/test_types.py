from __future__ import annotations

import socket

import pytest

from common.errors import ConfigError
from serving.client import connect
from serving.client.errors import ModelServerDown
from serving.client.retry import Policy
from serving.client.types import Addresses


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_nobody_there(protocol: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = connect(
        Addresses(f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"), protocol, Policy(budget_s=2.0, tries=2)
    )
    with pytest.raises(ModelServerDown, match="python -m serving start") as caught:
        client.status("m")
    assert (caught.value.http_status, caught.value.exit_code) == (503, 5)
    client.close()


@pytest.mark.parametrize("wrong", [{"rest": "localhost:8501"}, {"rest": "ftp://x"}, {"grpc": "http://x"}, {"grpc": ""}])
def test_addresses_are_checked(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="wanted: such as"):
        Addresses(**wrong)
