"""The command line of `tensorflow_model_server`: which flags there are, and how they are read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from serving.server.status import invalid_argument

FAILED = 255  # the exit code of TensorFlow Serving's `return -1`
_IGNORED = "ignored: "
_REFUSED = "refused: "


class BadFlag(Exception):
    """A flag's value cannot be read, or help was asked for: the usage is all there is to say."""


def _cpus_times_four() -> int:
    return 4 * len(os.sched_getaffinity(0))


def _flag(kind: str, default: Any, help_text: str) -> Any:
    metadata = {"kind": kind, "help": help_text}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    port: int = _flag("int32", 8500, "TCP port for gRPC; 0: off")
    grpc_socket_path: str = _flag("string", "", "UNIX socket for gRPC, as well or with --port=0 alone")
    rest_api_port: int = _flag("int32", 0, "TCP port for REST, another than --port; 0: off")
    rest_api_num_threads: int = _flag("int32", _cpus_times_four, "threads for REST requests")
    rest_api_timeout_in_ms: int = _flag("int32", 30000, "limit of a REST request's session run, in milliseconds")
    rest_api_enable_cors_support: bool = _flag("bool", False, "send CORS headers with REST answers")
    enable_batching: bool = _flag("bool", False, "run requests in batches")
    allow_version_labels_for_unavailable_models: bool = _flag(
        "bool", False, "let a new version label point to a version not available yet"
    )
    batching_parameters_file: str = _flag("string", "", "file with a BatchingParameters text proto")
    enable_per_model_batching_parameters: bool = _flag(
        "bool", False, "read batching_params.pbtxt from each version's folder; threads stay those of the server"
    )
    model_config_file: str = _flag(
        "string", "", "file with a ModelServerConfig text proto; --model_name and --model_base_path are ignored then"
    )
    model_config_file_poll_wait_seconds: int = _flag(
        "int32", 0, "seconds between two readings of --model_config_file; 0: read once"
    )
    model_name: str = _flag("string", "default", "name of the model, without --model_config_file")
    model_base_path: str = _flag("string", "", "folder of the model's versions, without --model_config_file")
    num_load_threads: int = _flag("int32", 0, "threads that load versions once the server has started; 0: one")
    num_unload_threads: int = _flag("int32", 0, "threads that unload versions; 0: one")
    max_num_load_retries: int = _flag("int32", 5, "attempts after the first before a version is given up")
    load_retry_interval_micros: int = _flag(
        "int64", 60_000_000, "microseconds between two attempts to load; negative: none"
    )
    file_system_poll_wait_seconds: int = _flag(
        "int32", 1, "seconds between two looks for versions; 0: look once; negative: never, for tests"
    )
    flush_filesystem_caches: bool = _flag("bool", True, _IGNORED + "the caches are the kernel's")
    tensorflow_session_parallelism: int = _flag("int64", 0, "threads of a session; 0: chosen by TensorFlow")
    tensorflow_session_config_file: str = _flag("string", "", "file with a ConfigProto text proto")
    tensorflow_intra_op_parallelism: int = _flag("int64", 0, "threads within an operation; 0: chosen by TensorFlow")
    tensorflow_inter_op_parallelism: int = _flag("int64", 0, "operations of a run at the same time; 0: one")
    use_alts_credentials: bool = _flag("bool", False, _REFUSED + "Google's ALTS")
    ssl_config_file: str = _flag("string", "", "file with an SSLConfig text proto; gRPC is then encrypted")
    platform_config_file: str = _flag("string", "", _REFUSED + "other platforms than TensorFlow's")
    per_process_gpu_memory_fraction: float = _flag("float", 0.0, _IGNORED + "share of the GPU's memory")
    saved_model_tags: str = _flag("string", "serve", "comma-separated tags of the graph to load")
    grpc_channel_arguments: str = _flag("string", "", "comma-separated key=value arguments of the gRPC server")
    grpc_max_threads: int = _flag("int32", _cpus_times_four, "threads for gRPC requests")
    enable_model_warmup: bool = _flag("bool", True, "replay a version's warm-up requests before it is available")
    num_request_iterations_for_warmup: int = _flag(
        "int32", 0, "times each warm-up request is replayed; used if more than 0"
    )
    version: bool = _flag("bool", False, "print the versions and end")
    monitoring_config_file: str = _flag("string", "", "file with a MonitoringConfig text proto")
    remove_unused_fields_from_bundle_metagraph: bool = _flag("bool", True, _IGNORED + "nothing is kept of them")
    prefer_tflite_model: bool = _flag("bool", False, _REFUSED + "TensorFlow Lite")
    num_tflite_pools: int = _flag("int32", 0, _IGNORED + "TensorFlow Lite")
    num_tflite_interpreters_per_pool: int = _flag("int32", 1, _IGNORED + "TensorFlow Lite")
    enable_signature_method_name_check: bool = _flag(
        "bool", False, "let a signature serve only the method it was exported for"
    )
    xla_cpu_compilation_enabled: bool = _flag("bool", False, _IGNORED + "XLA on the CPU")
    xla_gpu_compilation_enabled: bool = _flag("bool", False, _IGNORED + "XLA on the GPU")
    enable_profiler: bool = _flag("bool", True, _IGNORED + "the profiler service")
    thread_pool_factory_config_file: str = _flag("string", "", _IGNORED + "thread pools of one's own")
    mixed_precision: str = _flag("string", "", _IGNORED + "mixed precision")
    skip_initialize_tpu: bool = _flag("bool", False, _IGNORED + "TPU")
    enable_grpc_healthcheck_service: bool = _flag("bool", False, "serve grpc.health.v1")
    enable_serialization_as_tensor_content: bool = _flag(
        "bool", False, "answer gRPC Predict in tensor_content instead of the typed fields"
    )

    # beyond TensorFlow Serving, which listens everywhere and reads without bounds
    bind_address: str = _flag("string", "", "address for gRPC and REST; empty: all (not a flag of TensorFlow Serving)")
    rest_api_max_body_bytes: int = _flag(
        "int64", 64 << 20, "largest REST request, unpacked (not a flag of TensorFlow Serving)"
    )
    rest_api_read_timeout_in_ms: int = _flag(
        "int32", 30000, "time for a client to send a whole REST request (not a flag of TensorFlow Serving)"
    )


def parse(arguments: Sequence[str]) -> tuple[Options, list[str]]:
    """Return the options and the arguments nobody knows, which do not stop the server.

    Raises BadFlag for a value that cannot be read, and for `--help` unless an unknown argument comes first.
    """
    values: dict[str, Any] = {}
    unknown: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            unknown += arguments[position:]
            break
        for flag in fields(Options):
            value = _value(argument, flag.name, flag.metadata["kind"])
            if value is not None:
                values[flag.name] = value
                break
        else:
            unknown.append(argument)
    if unknown[:1] == ["--help"]:
        raise BadFlag
    return Options(**values), unknown


def from_command_line(program: str, arguments: Sequence[str]) -> Options:
    """Return the options, as `parse` does, saying on stdout what TensorFlow Serving says.

    Raises SystemExit: 255 after the usage, 0 after `--version`.
    """
    try:
        options, unknown = parse(arguments)
    except BadFlag:
        print(usage(program), end="")
        raise SystemExit(FAILED) from None
    if options.version:
        print(f"TensorFlow ModelServer: {_installed('tensorflow-serving-api')}")
        print(f"TensorFlow Library: {_installed('tensorflow')}")
        raise SystemExit(0)
    if unknown:
        print(f"unknown argument: {unknown[0]}\n{usage(program)}", end="", flush=True)
    return options


def usage(program: str) -> str:
    lines = [f"usage: {program}", "Flags:"]
    defaults = Options()
    for flag in fields(Options):
        kind, default = flag.metadata["kind"], getattr(defaults, flag.name)
        shown = f"{default:f}" if kind == "float" else json.dumps(default)
        lines.append(f"\t{f'--{flag.name}={shown}':<33}\t{kind}\t{flag.metadata['help']}")
    return "\n".join(lines) + "\n"


def validate(options: Options) -> None:
    """Refuse what the server cannot start with. Raises StatusError INVALID_ARGUMENT."""
    for flag in fields(Options):
        if flag.metadata["help"].startswith(_REFUSED) and getattr(options, flag.name):
            raise invalid_argument(f"--{flag.name} is not supported by this server.")
    for name in ("port", "rest_api_port"):
        if not 0 <= getattr(options, name) < 1 << 16:
            raise invalid_argument(f"--{name}={getattr(options, name)} is no TCP port")
    if options.rest_api_max_body_bytes <= 0:
        raise invalid_argument("--rest_api_max_body_bytes must be positive")
    if not options.port and not options.grpc_socket_path:
        raise invalid_argument(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
        )
    if not options.model_base_path and not options.model_config_file:
        raise invalid_argument("Both server_options.model_base_path and server_options.model_config_file are empty!")
    if options.batching_parameters_file and not options.enable_batching:
        raise invalid_argument(
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
        )
    within, between = options.tensorflow_intra_op_parallelism, options.tensorflow_inter_op_parallelism
    if within > 0 and between > 0 and options.tensorflow_session_parallelism > 0:
        raise invalid_argument(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all."
        )


def _value(argument: str, name: str, kind: str) -> Any:
    """Return the value an argument gives a flag, or None if it is not this flag's. Raises BadFlag."""
    start = f"--{name}"
    if not argument.startswith(start):
        return None
    rest = argument[len(start) :]
    if kind == "bool" and not rest:
        return True
    if not rest.startswith("=") and kind != "bool":
        return None
    value = _READ[kind](rest.removeprefix("="))
    if value is None:
        raise BadFlag
    return value


def _integer(bits: int) -> Callable[[str], int | None]:
    bound = 2 ** (bits - 1)

    def read(text: str) -> int | None:
        if not re.fullmatch(r"\s*[-+]?[0-9]{1,20}", text, re.ASCII):
            return None
        return int(text) if -bound <= int(text) < bound else None

    return read


def _float(text: str) -> float | None:
    pattern = r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
    return float(text) if re.fullmatch(pattern, text, re.ASCII) else None


def _boolean(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


_READ: dict[str, Callable[[str], Any]] = {
    "int32": _integer(32),
    "int64": _integer(64),
    "bool": _boolean,
    "float": _float,
    "string": str,
}


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
