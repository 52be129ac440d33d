"""Follow the model config file: `--model_config_file_poll_wait_seconds`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from serving.server.config.protos import read_model_config
from serving.server.core.periodic import Periodic
from serving.server.core.status import StatusError

LOG = logging.getLogger("serving")


def follow(path: str, wait_s: float, apply: Callable[[Any], object]) -> Periodic:
    """Return a thread, not started, that reads a config file every so often and applies it, changed or not.

    A label that had to wait for its version is set by a later reading. A file that cannot be read or applied is logged
    and passed over: what is served stays.
    """

    def read() -> None:
        try:
            config = read_model_config(path)
        except StatusError as error:
            LOG.error("Failed to read ModelServerConfig file: %s", error.message)
            return
        try:
            apply(config)
        except StatusError as error:
            LOG.error("Failed to apply ModelServerConfig file %s: %s", path, error.message)

    return Periodic("serving-config", read, wait_s)
