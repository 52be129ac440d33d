from __future__ import annotations

import socket

import pytest

from serving.release.context import resolve


@pytest.mark.parametrize(
    ("addresses", "wanted"),
    [
        ("127.0.0.1:8500", ("127.0.0.1:8500",)),
        ("localhost:8500", ("localhost:8500",)),
        ("127.0.0.1:1, 127.0.0.1:2,127.0.0.1:1,", ("127.0.0.1:1", "127.0.0.1:2")),
        ("unix:/run/model.sock", ("unix:/run/model.sock",)),
        ("[::1]:8500", ("[::1]:8500",)),
        ("no-such-host.invalid:8500", ("no-such-host.invalid:8500",)),
    ],
)
def test_each_server_has_an_address(addresses: str, wanted: tuple[str, ...]) -> None:
    assert resolve(addresses) == wanted


@pytest.mark.parametrize(
    ("family", "hosts", "wanted"),
    [
        (socket.AF_INET, ("10.0.0.2", "10.0.0.1"), ("10.0.0.1:8500", "10.0.0.2:8500")),
        (socket.AF_INET6, ("fd00::1", "fd00::2"), ("[fd00::1]:8500", "[fd00::2]:8500")),
    ],
)
def test_the_name_of_a_headless_service_is_all_its_servers(
    monkeypatch: pytest.MonkeyPatch, family: int, hosts: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    def name_service(host: str, port: int, asked: int, kind: int) -> list[tuple[object, ...]]:
        if asked != family:
            raise socket.gaierror("no address of this family")
        return [(family, kind, 6, "", (address, port)) for address in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", name_service)
    assert resolve("models-headless:8500") == wanted
