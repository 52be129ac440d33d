"""Where gRPC listens, and what it says when it cannot."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.server.flags import Options
from serving.server.status import StatusError
from tests.support.serving.running import free_port, is_open

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("a=1,b=-2", {"a": 1, "b": -2}),
        ("a=x=y,b,c=", {"a": "x=y", "b": "", "c": ""}),
        ("a=--5,b=5-,c=2147483648", {"a": "--5", "b": "5-", "c": "2147483648"}),
    ],
    ids=["none", "integers", "text", "no integers"],
)
def test_channel_arguments_are_integers_where_they_can_be(text: str, found: dict[str, Any]) -> None:
    from serving.server.grpc_api import channel_arguments

    assert channel_arguments(text) == found


@pytest.fixture(scope="module")
def core() -> Iterator[Any]:
    from serving.server.config import Files
    from serving.server.core.loading import Core
    from serving.server.core.metrics import Registry, ServingMetrics

    options = Options(model_base_path="/m")
    core = Core.of(options, Files.read(options), ServingMetrics(Registry()))
    yield core
    core.close()


def started(core: Any, options: Options, tls: Any = None) -> bool:
    """Start on the options' port and socket, and return whether the port was open."""
    from serving.server.grpc_api import start_grpc

    server = start_grpc(options, core, tls, lambda *_: pytest.fail("nobody asked for a reload"))
    is_up = is_open(options.port)
    server.stop(0).wait()
    return is_up


def test_a_socket_file_left_over_is_replaced(core: Any, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("stale")
    port = free_port()
    assert started(core, Options(port=port, bind_address="127.0.0.1", grpc_socket_path=str(path)))
    assert not is_open(port)


def test_a_port_that_is_taken_is_refused(core: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = Options(port=taken.getsockname()[1], bind_address="127.0.0.1")
        with pytest.raises(StatusError, match=r"UNAVAILABLE: .* for gRPC; is it in use\?"):
            started(core, options)


def test_a_path_where_no_socket_can_be_is_refused(core: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StatusError, match="UNAVAILABLE: Failed to listen on unix:"):
        started(core, Options(port=0, grpc_socket_path=str(tmp_path / "folder")))


def test_a_key_that_is_none_is_refused(core: Any, tmp_path: Path) -> None:
    from serving.server.config import read_proto

    (tmp_path / "tls").write_text('server_key: "no key" server_cert: "no certificate"')
    options = Options(port=free_port(), bind_address="127.0.0.1")
    with pytest.raises(StatusError, match="INVALID_ARGUMENT: Failed to use server_key and server_cert"):
        started(core, options, read_proto(str(tmp_path / "tls"), "SSLConfig"))
