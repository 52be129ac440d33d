from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from serving.wire.messages import FILE, dtypes, message
from tests.support.serving.configs import parse_config

CONFIG = 'model_config_list { config { name: "m" base_path: "/m"; version_labels { key: "stable" value: 3 }, } }'


@pytest.mark.slow
def test_messages_are_made_without_tensorflow() -> None:
    code = (
        "import sys, serving.client.types, serving.client.rest, serving.client.grpc;"
        "import serving.release.commands, serving.launch.launcher;"
        "from serving.wire.messages import *; message('PredictRequest')(); message('tensorflow.SignatureDef')();"
        "print([name for name in sys.modules if name.partition('.')[0] in ('tensorflow', 'tensorflow_serving')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_message_is_an_error() -> None:
    with pytest.raises(KeyError):
        message("NoSuchRequest")


def test_types_have_tensorflows_numbers() -> None:
    assert [dtypes()[name] for name in ("DT_FLOAT", "DT_STRING", "DT_INT64")] == [1, 7, 9]


def test_a_config_is_read_from_its_text() -> None:
    [config] = parse_config(CONFIG).model_config_list.config
    assert dict(config.version_labels) == {"stable": 3}


def fields(files: Any) -> dict[tuple[str, str], tuple[int, int]]:
    """Number and type by message and field."""
    found = {}

    def walk(prefix: str, messages: Any) -> None:
        for one in messages:
            name = f"{prefix}.{one.name}"
            found.update({(name, field.name): (field.number, field.type) for field in one.field})
            walk(name, one.nested_type)

    for file in files.file:
        walk(file.package, file.message_type)
    return found


@pytest.mark.slow
def test_the_descriptors_are_those_of_the_installed_package() -> None:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    from serving.wire.messages import collect

    ours, theirs = fields(FileDescriptorSet.FromString(FILE.read_bytes())), fields(collect())
    assert {key: theirs.get(key) for key in ours if key in theirs} == {key: ours[key] for key in ours if key in theirs}
    assert {key[0].rpartition(".")[2] for key in ours} >= {"PredictRequest", "ReloadConfigRequest", "SignatureDefMap"}
    if sys.version_info < (3, 12):  # the line of TFX that the file is made on
        assert FILE.read_bytes() == collect().SerializeToString(deterministic=True)
