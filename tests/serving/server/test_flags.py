from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields

import pytest

from serving.server.flags import BadFlag, Options, from_command_line, parse, usage, validate
from serving.server.status import StatusError
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("--port=0", "port", 0),
        ("--port=+7", "port", 7),
        ("--file_system_poll_wait_seconds=-1", "file_system_poll_wait_seconds", -1),
        ("--load_retry_interval_micros=9223372036854775807", "load_retry_interval_micros", 2**63 - 1),
        ("--per_process_gpu_memory_fraction=.5", "per_process_gpu_memory_fraction", 0.5),
        ("--per_process_gpu_memory_fraction=1e-3", "per_process_gpu_memory_fraction", 0.001),
        ("--model_name=", "model_name", ""),
        ("--grpc_channel_arguments=a=1,b=x=y", "grpc_channel_arguments", "a=1,b=x=y"),
        ("--enable_batching", "enable_batching", True),
        ("--enable_batching=true", "enable_batching", True),
        ("--enable_model_warmup=FALSE", "enable_model_warmup", False),
    ],
)
def test_a_flag_is_read(argument: str, name: str, value: object) -> None:
    options, unknown = parse([argument])
    assert getattr(options, name) == value
    assert unknown == []
    for other in fields(Options):
        if other.name != name:
            assert getattr(options, other.name) == getattr(Options(), other.name)


@pytest.mark.parametrize(
    "argument",
    [
        "--port=",
        "--port=x",
        "--port=8500x",
        "--port=85 ",
        "--port=1.0",
        "--port=2147483648",
        "--port=1_0",
        "--load_retry_interval_micros=9223372036854775808",
        "--per_process_gpu_memory_fraction=much",
        "--enable_batching=1",
        "--enable_batching=yes",
        "--enable_batchingx",
        "--help",
    ],
)
def test_a_value_that_cannot_be_read_ends_with_the_usage(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadFlag):
        parse([argument])
    with pytest.raises(SystemExit) as ended:
        from_command_line("server", [argument])
    assert ended.value.code == 255
    assert capsys.readouterr().out == usage("server")


def test_unknown_arguments_are_told_and_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--port", "8500", "--modelname=x", "--model_name=m", "--help", "--", "--port=1"]
    options, unknown = parse(arguments)
    assert unknown == ["--port", "8500", "--modelname=x", "--help", "--", "--port=1"]
    assert (options.port, options.model_name) == (8500, "m")
    assert from_command_line("server", arguments) == options
    assert capsys.readouterr().out == "unknown argument: --port\n" + usage("server")


def test_the_last_of_a_flag_counts() -> None:
    assert parse(["--port=1", "--port=2"])[0].port == 2


def test_the_usage_has_every_flag_with_its_default() -> None:
    lines = usage("server").splitlines()
    assert lines[:2] == ["usage: server", "Flags:"]
    assert len(lines) == 2 + len(fields(Options))
    assert lines[2].startswith("\t--port=8500                      \tint32\t")
    shown = [line.split("\t")[1].rstrip() for line in lines[2:]]
    for expected in (
        '--model_name="default"',
        "--enable_model_warmup=true",
        "--per_process_gpu_memory_fraction=0.000000",
    ):
        assert expected in shown


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        from_command_line("server", ["--version"])
    assert ended.value.code == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("TensorFlow ModelServer: 2.")
    assert second.startswith("TensorFlow Library: 2.")


BASE = "--model_base_path=/m"
REFUSED = {
    "no model": ([], "Both server_options.model_base_path and server_options.model_config_file are empty!"),
    "no port": (
        [BASE, "--port=0"],
        "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.",
    ),
    "batching file alone": (
        [BASE, "--batching_parameters_file=b"],
        "server_options.batching_parameters_file is set without setting server_options.enable_batching to true.",
    ),
    "all threads": (
        [BASE, *(f"--tensorflow_{kind}_parallelism=2" for kind in ("session", "intra_op", "inter_op"))],
        "Either configure server_options.tensorflow_session_parallelism or",
    ),
    "alts": ([BASE, "--use_alts_credentials"], "--use_alts_credentials is not supported"),
    "platforms": ([BASE, "--platform_config_file=p"], "--platform_config_file is not supported"),
    "lite": ([BASE, "--prefer_tflite_model"], "--prefer_tflite_model is not supported"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_the_server_cannot_start_with_is_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(StatusError) as refused:
        validate(parse(arguments)[0])
    assert str(refused.value).startswith(f"INVALID_ARGUMENT: {words}")


@pytest.mark.parametrize(
    "arguments",
    [
        [BASE],
        ["--model_config_file=c"],
        [BASE, "--port=0", "--grpc_socket_path=s"],
        [BASE, "--enable_batching", "--batching_parameters_file=b"],
        [BASE, "--tensorflow_intra_op_parallelism=2", "--tensorflow_inter_op_parallelism=2"],
        [BASE, "--enable_profiler=false", "--mixed_precision=x", "--num_tflite_pools=3", "--skip_initialize_tpu"],
    ],
)
def test_what_the_server_can_start_with_is_not(arguments: list[str]) -> None:
    validate(parse(arguments)[0])


def test_flags_and_manager_need_no_tensorflow() -> None:
    code = (
        "import sys, serving.server.flags, serving.server.core.manager, serving.server.config as c; c._pool(); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_serving_guide_names_flags_that_exist() -> None:
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    section = text.partition("## The embedded server")[2].partition("\n## ")[0]
    named = set(re.findall(r"--(\w+)", section)) - {"name", "help"}
    assert named <= {flag.name for flag in fields(Options)}
    assert len(named) > 30
