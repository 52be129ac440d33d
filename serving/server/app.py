"""The model server put together: load the models, open the ports, answer, and leave cleanly."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from serving.server.config import from_proto, read_proto
from serving.server.core.loading import Core
from serving.server.core.metrics import Registry, ServingMetrics
from serving.server.core.transitions import Periodic
from serving.server.grpc_api import start_grpc
from serving.server.listen import listen
from serving.server.rest.http import HttpApp, HttpServer
from serving.server.rest.routes import RestApi
from serving.server.status import StatusError, invalid_argument
from serving.wire.garbage import spare_collections

if TYPE_CHECKING:
    from serving.server.config import Files
    from serving.server.flags import Options

LOG = logging.getLogger("serving")
SIGNALS = (signal.SIGTERM, signal.SIGINT)
DRAIN_S = 10.0  # for the requests under way once the end is asked for


async def serve(options: Options, files: Files) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises StatusError if the server cannot start."""
    ended = _on_signals()
    spare_collections()
    registry = Registry()
    core = Core.of(options, files, ServingMetrics(registry))
    polls: Periodic | None = None
    http: HttpServer | None = None
    rpc: grpc.Server | None = None
    try:
        core.manager.start(files.models)
        if await _first(asyncio.to_thread(core.manager.wait_until_available), ended.wait()):
            return  # asked to end before anything was served
        if options.model_config_file and options.model_config_file_poll_wait_seconds > 0:
            apply = partial(_apply, core)
            polls = follow(options.model_config_file, options.model_config_file_poll_wait_seconds, apply)
            polls.start()
        rpc = start_grpc(options, core, files.tls, partial(_reload, core))
        http = await _start_http(options, core, registry, files.metrics_path)
        await ended.wait()
        LOG.info("Finishing the requests under way")
    finally:
        if polls:
            polls.stop(0)
        is_drained = rpc.stop(DRAIN_S) if rpc else None
        if http:
            await http.stop(DRAIN_S)
        if is_drained:
            await asyncio.to_thread(is_drained.wait)
        await asyncio.to_thread(core.close)


async def _start_http(options: Options, core: Core, registry: Registry, metrics_path: str) -> HttpServer | None:
    if not options.rest_api_port or options.rest_api_port == options.port:
        if options.rest_api_port:
            LOG.error("--rest_api_port is the same as --port: REST is left out")
        return None
    pool = ThreadPoolExecutor(max(options.rest_api_num_threads, 1), thread_name_prefix="rest")
    timeout_s = options.rest_api_timeout_in_ms / 1000 if options.rest_api_timeout_in_ms > 0 else None
    api = RestApi(core, timeout_s, pool)
    server = HttpServer(HttpApp(api, registry, options, metrics_path), options)
    await server.start(listen(options.bind_address, options.rest_api_port))
    LOG.info("Exporting HTTP/REST API at:%s:%d ...", options.bind_address or "localhost", options.rest_api_port)
    return server


def follow(path: str, wait_s: float, apply: Callable[[Any], object]) -> Periodic:
    """Return a thread, not started, that reads a config file every so often and applies it, changed or not.

    A label that had to wait for its version is set by a later reading. A file that cannot be read or applied is logged
    and passed over: what is served stays.
    """

    def read() -> None:
        try:
            config = read_proto(path, "ModelServerConfig")
        except StatusError as error:
            LOG.error("Failed to read ModelServerConfig file: %s", error.message)
            return
        try:
            apply(config)
        except StatusError as error:
            LOG.error("Failed to apply ModelServerConfig file %s: %s", path, error.message)

    return Periodic("serving-config", read, wait_s)


def _apply(core: Core, config: Any) -> None:
    core.manager.apply(from_proto(config))


def _reload(core: Core, config: Any, timeout_s: float | None) -> None:
    if config.WhichOneof("config") != "model_config_list":
        raise invalid_argument(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        )
    core.manager.reload(from_proto(config), timeout_s)


def _on_signals() -> asyncio.Event:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        ended.set()
        for number in SIGNALS:  # who asks again will not wait
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in SIGNALS:
        loop.add_signal_handler(number, end)
    return ended


async def _first(work: Any, end: Any) -> bool:
    """Wait for the work, whose error is raised, or for the end; return whether the end came first."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(end)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    tasks[1].cancel()
    if not tasks[0].done():
        tasks[0].add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody is left to be told
        return True
    await tasks[0]
    return False
