"""What the files named by flags say, read before TensorFlow is imported, and the model config's file followed later."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serving.server.config.models import ModelConfig, from_proto, single_model
from serving.server.config.protos import read_batching, read_model_config, read_monitoring_config, read_ssl_config
from serving.server.periodic import Periodic
from serving.server.status import StatusError

if TYPE_CHECKING:
    from serving.server.flags import Options
    from serving.server.run.options import BatchingOptions

LOG = logging.getLogger("serving")
METRICS_PATH = "/monitoring/prometheus/metrics"


@dataclass(frozen=True)
class Files:
    """The contents, as the server uses them."""

    models: tuple[ModelConfig, ...] | None  # None: nothing yet
    batching: BatchingOptions | None  # None: no batching
    metrics_path: str  # empty: no metrics page
    tls: Any  # SSLConfig, or None

    @staticmethod
    def read(options: Options) -> Files:
        """Read them all. Raises StatusError for a file that is no good."""
        return Files(
            models=_models(options),
            batching=read_batching(options.batching_parameters_file) if options.enable_batching else None,
            metrics_path=_metrics_path(options),
            tls=read_ssl_config(options.ssl_config_file) if options.ssl_config_file else None,
        )


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


def _models(options: Options) -> tuple[ModelConfig, ...] | None:
    if options.model_config_file:
        return from_proto(read_model_config(options.model_config_file))
    return single_model(options.model_name, options.model_base_path)


def _metrics_path(options: Options) -> str:
    if not options.monitoring_config_file:
        return ""
    config = read_monitoring_config(options.monitoring_config_file).prometheus_config
    return (config.path or METRICS_PATH) if config.enable else ""
