from __future__ import annotations

import pytest

from common.errors import ConfigError
from serving.launch.backends import free, take


def test_free_ports_are_all_different() -> None:
    # one after the other they were not: the kernel gave the port just let go to the next who asked
    assert all(len(set(free(50))) == 50 for _ in range(20))


def test_one_port_for_two_uses_is_refused() -> None:
    (port,) = free(1)
    with pytest.raises(ConfigError, match="REST, gRPC on a port each"):
        take({"REST": port, "gRPC": port})
