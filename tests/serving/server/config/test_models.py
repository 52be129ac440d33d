from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format

from serving.server.config.models import All, Latest, ModelConfig, Policy, Specific, from_proto, single_model
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
PLATFORM = "ModelServerConfig::model_type (deprecated)"
REFUSED = {
    "twice": ([GOOD, GOOD], "Illegal to list model m multiple times in config list"),
    "relative": (['name: "m" base_path: "models/m" model_platform: "tensorflow"'], RELATIVE + "models/m"),
    "no path": (['name: "m" model_platform: "tensorflow"'], RELATIVE),
    "no platform": (['name: "m" base_path: "/m"'], f"Illegal setting neither {PLATFORM} nor"),
    "both": ([GOOD + "model_type: TENSORFLOW"], f"Illegal setting both {PLATFORM} and"),
    "other type": (['name: "m" base_path: "/m" model_type: OTHER'], "model_type choice 2 not supported."),
    "other platform": (
        ['name: "n" base_path: "/n" model_platform: "onnx"'],
        "Model n requests unsupported platform onnx",
    ),
    "changed platform": (
        ['name: "known" base_path: "/k" model_platform: "onnx"'],
        "Illegal to change a model's platform. For model known platform was tensorflow and new platform requested "
        "is onnx",
    ),
    "logging": ([GOOD + "logging_config { }"], "No request-logger-creator provided."),
}


@pytest.mark.parametrize(("models", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_served_is_refused(models: list[str], words: str) -> None:
    with pytest.raises(StatusError) as refused:
        from_proto(config(*models), {"known"})
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
