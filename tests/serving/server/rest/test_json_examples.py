from __future__ import annotations

import json
from typing import Any

import pytest

from serving.server.rest.json_tensors import read_examples
from serving.server.status import Code, StatusError

pytestmark = pytest.mark.slow


def _features(serialized: bytes) -> dict[str, Any]:
    from tensorflow.core.example.example_pb2 import Example

    feature = Example.FromString(serialized).features.feature
    lists = {name: getattr(value, value.WhichOneof("kind") or "", None) for name, value in feature.items()}
    return {name: values and list(values.value) for name, values in lists.items()}


def _fault(document: Any) -> str:
    with pytest.raises(StatusError) as raised:
        read_examples(json.dumps(document).encode())
    assert raised.value.code == Code.INVALID_ARGUMENT
    return raised.value.message


def test_kinds_follow_the_way_values_are_written() -> None:
    body = b"""{"signature_name": "s", "examples": [
        {"names": ["foo", {"b64": "aGVsbG8="}], "ratings": [8.0, NaN, 1e39], "age": 20, "mix": [1, true, false]},
        {"names": "\xff", "ratings": -Infinity, "none": [], "age": -9223372036854775808}]}"""
    read = read_examples(body)
    assert read.signature_name == "s"
    first, second = map(_features, read.examples)
    assert repr(first.pop("ratings")) == "[8.0, nan, inf]"
    assert first == {"names": [b"foo", b"hello"], "age": [20], "mix": [1, 1, 0]}
    assert second == {"names": [b"\xff"], "ratings": [float("-inf")], "none": None, "age": [-(2**63)]}


def test_whole_numbers_and_decimals_differ() -> None:
    from tensorflow.core.example.example_pb2 import Example

    for value, kind in [(2, "int64_list"), (2.0, "float_list"), ("2", "bytes_list"), (True, "int64_list")]:
        (serialized,) = read_examples(json.dumps({"examples": [{"x": value}]}).encode()).examples
        assert Example.FromString(serialized).features.feature["x"].WhichOneof("kind") == kind


def test_the_context_is_merged_into_every_example() -> None:
    document = {"context": {"query": "pizza", "x": 1.0}, "examples": [{"x": 2.0}, {"y": 3}]}
    first, second = map(_features, read_examples(json.dumps(document).encode()).examples)
    assert first == {"query": [b"pizza"], "x": [2.0]}
    assert second == {"query": [b"pizza"], "x": [1.0], "y": [3]}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"signature_name": ["s"], "examples": [{}]}, "'signature_name' must be a string, but it is a list"),
        ({"context": [{}]}, "context must be an object, but it is a list"),
        ({"context": {}}, "'examples' must be a list of one example or more, but it is missing"),
        ({"examples": {"x": 1}}, "'examples' must be a list of one example or more, but it is an object"),
        ({"examples": []}, "'examples' must be a list of one example or more, but it is empty"),
        ({"examples": [{}, [{}]]}, "examples[1] must be an object, but it is a list"),
        ({"examples": [{}, {"n": [10, None]}]}, "[1]['n'] must hold numbers, booleans or strings, but it holds null"),
        ({"examples": [{"n": [10, 10.0]}]}, "[0]['n'] must hold values of one kind, but it holds int64 and float"),
        ({"examples": [{"n": ["a", True]}]}, "but it holds bytes and int64"),
        ({"examples": [{"n": [1.5, "a"]}]}, "but it holds float and bytes"),
        ({"examples": [{"n": [10, {"test": 10}]}]}, "but it holds an object"),
        ({"examples": [{"n": [[10], 20]}]}, "but it holds a list"),
        ({"examples": [{"n": [20, 2**63]}]}, "examples[0]['n'] holds 9223372036854775808, which is beyond int64"),
        ({"examples": [{"n": {"b64": "!"}}]}, "examples[0]['n'] is not valid base64"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_makes_no_example_is_refused(document: Any, words: str) -> None:
    assert _fault(document).endswith(words)
