from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from serving.server import config as server_config
from serving.server.config import All, Latest, ModelConfig, Policy, Specific, from_proto, single_model
from serving.server.status import StatusError
from serving.wire.messages import message


def config(*models: str) -> Any:
    text = " ".join(f"config {{ {model} }}" for model in models)
    return text_format.Parse(f"model_config_list {{ {text} }}", message("ModelServerConfig")())


GOOD = 'name: "m" base_path: "/models/m" model_platform: "tensorflow" '


def test_a_model_is_read_with_its_labels() -> None:
    labelled = GOOD + 'version_labels { key: "stable" value: 7 } version_labels { key: "canary" value: 8 }'
    assert from_proto(config(labelled)) == (ModelConfig("m", "/models/m", Latest(1), {"stable": 7, "canary": 8}),)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", Latest(1)),
        ("model_version_policy { latest { num_versions: 3 } }", Latest(3)),
        ("model_version_policy { latest { } }", Latest(1)),
        ("model_version_policy { all { } }", All()),
        ("model_version_policy { specific { versions: 4 versions: 2 } }", Specific(frozenset({2, 4}))),
    ],
)
def test_the_version_policy(policy: str, expected: Policy) -> None:
    found = from_proto(config(GOOD + policy))
    assert found is not None
    assert found[0].policy == expected


def test_a_list_may_be_empty_and_a_missing_one_is_none() -> None:
    assert from_proto(config()) == ()
    assert from_proto(message("ModelServerConfig")()) is None


def test_the_deprecated_type_stands_for_the_platform() -> None:
    assert from_proto(config('name: "m" base_path: "/m" model_type: TENSORFLOW')) == (ModelConfig("m", "/m"),)


RELATIVE = "Expected model m to have an absolute path or URI; got base_path()="
REFUSED = {
    "twice": ([GOOD, GOOD], "Illegal to list model m multiple times in config list"),
    "relative": (['name: "m" base_path: "models/m" model_platform: "tensorflow"'], RELATIVE + "models/m"),
    "no path": (['name: "m" model_platform: "tensorflow"'], RELATIVE),
    "no platform": (
        ['name: "m" base_path: "/m"'],
        "Model m has neither of model_platform and the deprecated model_type",
    ),
    "both": ([GOOD + "model_type: TENSORFLOW"], "Model m has both of model_platform and the deprecated model_type"),
    "other type": (
        ['name: "m" base_path: "/m" model_type: OTHER'],
        "Model m requests unsupported platform model_type 2; wanted tensorflow",
    ),
    "other platform": (
        ['name: "n" base_path: "/n" model_platform: "onnx"'],
        "Model n requests unsupported platform onnx",
    ),
    "logging": ([GOOD + "logging_config { }"], "No request-logger-creator provided."),
}


@pytest.mark.parametrize(("models", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_served_is_refused(models: list[str], words: str) -> None:
    with pytest.raises(StatusError) as refused:
        from_proto(config(*models))
    assert str(refused.value).startswith("INVALID_ARGUMENT: ")
    assert words in refused.value.message


def test_a_custom_config_is_refused() -> None:
    custom = message("ModelServerConfig")()
    custom.custom_model_config.type_url = "type.googleapis.com/x"
    with pytest.raises(StatusError, match="custom model config"):
        from_proto(custom)


@pytest.mark.parametrize("path", ["/models/m", "gs://bucket/m", "file:///models/m"])
def test_one_model_of_the_command_line(path: str) -> None:
    assert single_model("m", path) == (ModelConfig("m", path),)


@pytest.mark.parametrize("path", ["models/m", "./m", "", "gs:/bucket"])
def test_one_model_needs_an_absolute_path(path: str) -> None:
    with pytest.raises(StatusError, match="absolute path or URI"):
        single_model("m", path)


READERS = {
    **{
        name: partial(server_config.read_proto, name=name)
        for name in ("ModelServerConfig", "MonitoringConfig", "SSLConfig")
    },
    "BatchingParameters": server_config.read_batching,
}
by_reader = pytest.mark.parametrize(("name", "read"), READERS.items(), ids=READERS.keys())


def write(folder: Path, text: str, name: str = "config.txt") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize("separator", [" ", ", ", "; ", "\n"], ids=["space", "comma", "semicolon", "line"])
def test_fields_may_be_separated(separator: str, tmp_path: Path) -> None:
    model = separator.join(['name: "m"', 'base_path: "/m"', 'model_platform: "tensorflow"'])
    config = READERS["ModelServerConfig"](write(tmp_path, f"model_config_list {{ config: {{ {model} }} }}"))
    assert [(model.name, model.base_path) for model in config.model_config_list.config] == [("m", "/m")]


def test_an_empty_file_is_an_empty_config(tmp_path: Path) -> None:
    assert READERS["ModelServerConfig"](write(tmp_path, "# nothing yet\n")).WhichOneof("config") is None


def test_monitoring_and_ssl_are_read(tmp_path: Path) -> None:
    monitoring = READERS["MonitoringConfig"](write(tmp_path, 'prometheus_config { enable: true, path: "/metrics" }'))
    assert (monitoring.prometheus_config.enable, monitoring.prometheus_config.path) == (True, "/metrics")
    ssl = READERS["SSLConfig"](
        write(tmp_path, r'server_key: "a\nb" server_cert: "c" custom_ca: "" client_verify: true')
    )
    assert (ssl.server_key, ssl.server_cert, ssl.custom_ca, ssl.client_verify) == ("a\nb", "c", "", True)


def test_messages_are_numbered_as_the_real_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    parameters = server_config.read_proto(path, "BatchingParameters")
    parameters.max_batch_size.value = 8
    parameters.allowed_batch_sizes.append(4)
    parameters.pad_variable_length_inputs = True
    parameters.enable_large_batch_splitting.value = True
    assert parameters.SerializeToString() == b"\x0a\x02\x08\x08" + b"\x32\x01\x04" + b"\x38\x01" + b"\x42\x02\x08\x01"


@by_reader
@pytest.mark.parametrize("text", ["no_such_field: 1", "{", "prometheus_config { enable: maybe }", "{" * 5000])
def test_a_file_that_does_not_parse_is_refused_with_the_words_on_stderr(
    name: str, read: Callable[[str], Any], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(StatusError) as refused:
        read(path)
    assert str(refused.value) == f"INVALID_ARGUMENT: Invalid protobuf file: '{path}'"
    assert f"Error parsing text-format tensorflow.serving.{name}: " in capsys.readouterr().err


@by_reader
def test_a_file_that_is_not_text_is_refused(name: str, read: Callable[[str], Any], tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StatusError, match="Invalid protobuf file"):
        read(str(tmp_path / "binary"))


@by_reader
def test_a_file_that_is_not_there_is_not_found(name: str, read: Callable[[str], Any], tmp_path: Path) -> None:
    with pytest.raises(StatusError) as refused:
        read(str(tmp_path / "none"))
    assert str(refused.value) == f"NOT_FOUND: {tmp_path / 'none'}; No such file or directory"
    with pytest.raises(StatusError, match="FAILED_PRECONDITION"):
        read(str(tmp_path))


def test_batching_parameters_become_options(tmp_path: Path) -> None:
    from serving.server.config import BatchingOptions

    text = """max_batch_size { value: 8 } batch_timeout_micros { value: 2500 } allowed_batch_sizes: 4
    allowed_batch_sizes: 8 pad_variable_length_inputs: true, thread_pool_name { value: "mine" }"""
    assert server_config.read_batching(write(tmp_path, text)) == BatchingOptions(
        max_batch_size=8,
        batch_timeout_s=0.0025,
        allowed_batch_sizes=(4, 8),
        pad_variable_length_inputs=True,
        thread_pool_name="mine",
    )
    text = """max_enqueued_batches { value: 3 } num_batch_threads { value: 2 } max_execution_batch_size { value: 4 }
    enable_large_batch_splitting { value: true }"""
    assert server_config.read_batching(write(tmp_path, text)) == BatchingOptions(
        max_enqueued_batches=3, num_batch_threads=2, max_execution_batch_size=4, enable_large_batch_splitting=True
    )


def test_without_a_file_the_options_are_the_servers() -> None:
    from serving.server.config import BatchingOptions

    assert server_config.read_batching("") == BatchingOptions(thread_pool_name="model_server_batch_threads")


def test_a_versions_own_options_leave_the_threads_to_the_server(tmp_path: Path) -> None:
    from serving.server.config import BatchingOptions

    server = BatchingOptions(thread_pool_name="shared", num_batch_threads=3, max_batch_size=99)
    assert server_config.read_version_batching(tmp_path, server) is None
    write(tmp_path, "max_batch_size { value: 8 } num_batch_threads { value: 50 }", server_config.PER_MODEL_BATCHING)
    own = server_config.read_version_batching(tmp_path, server)
    assert own == BatchingOptions(thread_pool_name="shared", num_batch_threads=3, max_batch_size=8)


@pytest.mark.slow
def test_a_session_config_is_tensorflows_own(tmp_path: Path) -> None:
    config = server_config.read_session_config(write(tmp_path, "intra_op_parallelism_threads: 2"))
    assert type(config).__module__ == "tensorflow.core.protobuf.config_pb2"
    assert config.intra_op_parallelism_threads == 2
