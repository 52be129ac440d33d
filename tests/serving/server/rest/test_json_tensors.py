from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from serving.server.core.status import Code, StatusError, failed_precondition
from serving.server.rest.json_tensors import PredictBody, read_predict

FLOAT, DOUBLE, INT32, UINT8, INT16, INT8, STRING, INT64, BOOL = 1, 2, 3, 4, 5, 6, 7, 9, 10
UINT16, HALF, UINT32, UINT64 = 17, 19, 22, 23
_ELEMENT = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "


def _body(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def _read(document: Any, types: Mapping[str, int]) -> PredictBody:
    return read_predict(_body(document), lambda _: types)


def _fault(document: Any, types: Mapping[str, int], code: Code = Code.INVALID_ARGUMENT) -> str:
    with pytest.raises(StatusError) as raised:
        _read(document, types)
    assert raised.value.code == code
    return raised.value.message


def _wanted(value: Any, kind: str, type_name: str = "Number") -> str:
    return f"JSON Value: {value} Type: {type_name} is not of expected type: {kind}"


def test_row_form_gains_a_batch_dimension() -> None:
    read = _read({"signature_name": "s", "instances": [[1, 2], [3, 4], [5, 6]]}, {"x": INT32})
    assert (read.signature_name, read.is_row) == ("s", True)
    assert read.inputs["x"].dtype == np.int32
    assert read.inputs["x"].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_rows_of_objects_name_their_inputs() -> None:
    document = b"""{"instances": [
        {"i": [[1, 2], [3, 4]], "s": ["foo", "bar"], "f": [1.0, NaN], "d": 5},
        {"d": 2.5, "i": [[5, 6], [7, 8]], "s": ["baz", {"b64": "aGVsbG8="}], "f": [2, Infinity]}]}"""
    inputs = _read(document, {"i": INT32, "s": STRING, "f": FLOAT, "d": DOUBLE}).inputs
    assert inputs["i"].tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert inputs["s"].tolist() == [[b"foo", b"bar"], [b"baz", b"hello"]]
    np.testing.assert_array_equal(inputs["f"], np.array([[1, np.nan], [2, np.inf]], np.float32))
    assert inputs["d"].dtype == np.float64
    assert inputs["d"].tolist() == [5.0, 2.5]


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_rows_of_many_floats_become_columns(rows: int) -> None:
    names = [f"feature {index}" for index in range(30)]
    values = np.random.default_rng(1).random((rows, 30))
    document = {"instances": [dict(zip(names, row, strict=True)) for row in values.tolist()]}
    inputs = _read(document, dict.fromkeys(reversed(names), FLOAT)).inputs
    for index, name in enumerate(names):
        assert inputs[name].flags.c_contiguous
        np.testing.assert_array_equal(inputs[name], values[:, index].astype(np.float32))


def test_rows_may_order_their_keys_as_they_like() -> None:
    inputs = _read({"instances": [{"a": 1, "b": 2}, {"b": 4, "a": 3}]}, {"a": FLOAT, "b": FLOAT}).inputs
    assert {name: array.tolist() for name, array in inputs.items()} == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


@pytest.mark.parametrize("named", [True, False])
def test_columnar_form_takes_values_as_they_are(named: bool) -> None:
    for value in ([[[1, 2], [3, 4]]], 7, [], [[], []]):
        read = _read({"inputs": {"x": value, "other": "ignored"} if named else value}, {"x": INT64})
        assert not read.is_row
        assert read.inputs["x"].dtype == np.int64
        assert read.inputs["x"].tolist() == value


def test_bytes_come_as_base64() -> None:
    assert _read({"inputs": {"b64": "aGVsbG8="}}, {"x": STRING}).inputs["x"].tolist() == b"hello"
    instances = [{"b64": "aGVsbG8="}, {"b64": "d29y\n bGQ"}, "a:b"]
    assert _read({"instances": instances}, {"x": STRING}).inputs["x"].tolist() == [b"hello", b"world", b"a:b"]
    assert _read(b'{"instances": ["\xff"]}', {"x": STRING}).inputs["x"].tolist() == [b"\xff"]


@pytest.mark.parametrize("text", ["!", "aGVsbG8==", "aGVsb", "AAAA=", "aGV-", "=", "AA=A"])
def test_bad_base64_is_refused(text: str) -> None:
    assert _fault({"inputs": {"b64": text}}, {"x": STRING}) == "Unable to base64 decode"


@pytest.mark.parametrize(
    ("data_type", "dtype", "values", "taken"),
    [
        (FLOAT, np.float32, [1, 2.5, 1e39, -1e39, 16777217, -1e-60], [1, 2.5, np.inf, -np.inf, 16777216, -0.0]),
        (DOUBLE, np.float64, [1, 0.1, 2**63, 1e300], [1, 0.1, 2.0**63, 1e300]),
        (INT8, np.int8, [300, -129], [44, 127]),
        (INT16, np.int16, [1, 65536], [1, 0]),
        (UINT8, np.uint8, [255, -1], [255, 255]),
        (INT32, np.int32, [2**31 - 1, -(2**31)], [2**31 - 1, -(2**31)]),
        (INT64, np.int64, [2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]),
        (UINT32, np.uint32, [2**32 - 1, 0], [2**32 - 1, 0]),
        (UINT64, np.uint64, [2**64 - 1, 0], [2**64 - 1, 0]),
        (BOOL, np.bool_, [True, False], [True, False]),
    ],
)
def test_every_type_takes_what_fits(data_type: int, dtype: Any, values: list[Any], taken: list[Any]) -> None:
    for document in ({"instances": values}, {"inputs": values}, {"instances": [{"x": value} for value in values]}):
        array = _read(document, {"x": data_type}).inputs["x"]
        assert array.dtype == dtype
        assert array.tobytes() == np.array(taken, dtype).tobytes()  # signs of zeros, too


@pytest.mark.parametrize(
    ("data_type", "value", "words"),
    [
        (FLOAT, "x", _wanted('"x"', "float", "String")),
        (FLOAT, True, _wanted("true", "float", "True")),
        (DOUBLE, None, _wanted("null", "double", "Null")),
        (INT32, 1.0, _wanted("1.0", "int32")),
        (INT32, 2**31, _wanted(2**31, "int32")),
        (INT8, 2**31, _wanted(2**31, "int8")),
        (UINT8, False, _wanted("false", "uint8", "False")),
        (INT16, "1", _wanted('"1"', "int16", "String")),
        (INT64, 2**63, _wanted(2**63, "int64")),
        (UINT32, -1, _wanted(-1, "uint32")),
        (UINT64, 2**64, _wanted("1.84467441e+19", "uint64")),
        (BOOL, 1, _wanted(1, "bool")),
        (STRING, 1, _wanted(1, "string")),
        (STRING, {"b64": 1}, 'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data'),
        (FLOAT, {"b64": "QQ=="}, _wanted('{\n    "b64": "QQ=="\n}', "float", "Object")),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(data_type: int, value: Any, words: str) -> None:
    assert _fault({"inputs": {"x": [value]}}, {"x": data_type}) == words
    assert _fault({"instances": [[value]]}, {"x": data_type}) == _ELEMENT.format(0) + words
    assert _fault({"instances": [{"x": value}]}, {"x": data_type}) == _ELEMENT.format("0 key: x") + words


@pytest.mark.parametrize(
    ("data_type", "name"), [(HALF, "half"), (UINT16, "uint16"), (8, "complex64"), (14, "bfloat16")]
)
def test_other_types_are_not_implemented(data_type: int, name: str) -> None:
    words = f"Conversion of JSON Value: 1 to type: {name}"
    assert _fault({"inputs": [1]}, {"x": data_type}, Code.UNIMPLEMENTED) == words
    wrapped = _fault({"instances": [1]}, {"x": data_type})
    assert wrapped == f"Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: {words}"


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        ([[1, 2], [3, 4], [5, 6, 7]], _ELEMENT.format(2) + "Expecting tensor size: 2 but got: 3"),
        ([[1, 2], [3, 4], [[5, 6]]], _ELEMENT.format(2) + "Expecting shape [2] but got: [1,2]"),
        ([1, [1]], _ELEMENT.format(1) + "Expecting shape [] but got: [1]"),
        ([[1, [2]]], _ELEMENT.format(0) + "Encountered list at unexpected level: 1 expected < 1"),
        ([[[1], [2, 3]]], _ELEMENT.format(0) + "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        (
            [[[1], 2]],
            _ELEMENT.format(0) + "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ([{"x": 1}, {"x": [1, 2]}], _ELEMENT.format("1 key: x") + "Expecting tensor size: 1 but got: 2"),
        ([{"x": 1, "z": 2}], _ELEMENT.format("0 key: z") + "JSON object: does not have named input: z"),
        ([{"x": 1}, [2]], "Expecting object but got list at item 1 of input list"),
        ([[2], {"x": 1}], "Expecting value/list but got object at item 1 of input list"),
        ([{"x": 1}, {}], "Failed to process element: 1 of 'instances' list. JSON object: {} keys must be equal to: x"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_instances_must_agree(instances: list[Any], words: str) -> None:
    assert _fault({"instances": instances}, {"x": INT32}) == words


def test_several_inputs_need_objects_with_all_their_names() -> None:
    types = {"b": INT32, "a": INT32}
    assert _fault({"instances": [1]}, types) == (
        "instances is a plain list, but expecting list of objects as multiple input tensors required as per"
        " tensorinfo_map"
    )
    assert _fault({"inputs": [1]}, types) == (
        "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map"
    )
    assert _fault({"inputs": {"b": 1}}, types) == "Missing named input: a in 'inputs' object."
    assert _fault({"instances": [{"a": 1}]}, types) == (
        "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"a\": 1\n} keys must be equal to: a,b"
    )


@pytest.mark.parametrize(
    ("document", "ending"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": {"x": 1}}, "Excepting 'instances' to be an list/array"),
        (
            {"instances": [1], "inputs": [1]},
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        ),
    ],
    ids=str,
)
def test_just_one_form_is_wanted(document: dict[str, Any], ending: str) -> None:
    assert _fault(document, {"x": FLOAT}).endswith(ending)


def test_a_signature_without_inputs_cannot_be_asked_for() -> None:
    assert _fault({"inputs": 1}, {}) == "Failed to get input map for signature: DEFAULT"
    assert _fault({"signature_name": "s", "inputs": 1}, {}) == "Failed to get input map for signature: s"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"inputs": ', "JSON Parse error"),
        (b'{"signature_name": 5, "inputs": "x"}', "'signature_name' key must be a string value."),
        (b'{"inputs": "x", "instances": 5}', "no such signature"),
    ],
    ids=["json first", "then the name", "then the signature, before the values"],
)
def test_the_order_of_errors(body: bytes, words: str) -> None:
    def refuse(name: str) -> Mapping[str, int]:
        raise failed_precondition("no such signature")

    with pytest.raises(StatusError, match=words):
        read_predict(body, refuse)


def _deep(form: bytes, depth: int) -> bytes:
    return form + b"[" * depth + b"1" + b"]" * depth + b"}"


@pytest.mark.parametrize(("form", "depth"), [(b'{"inputs":', 32), (b'{"instances":', 33)], ids=str)
def test_depth_beyond_any_tensor_is_an_error_and_no_crash(form: bytes, depth: int) -> None:
    assert "at most 31 dimensions" in _fault(_deep(form, depth), {"x": FLOAT})
    assert "at most 31 dimensions" in _fault(_deep(form, 5_000), {"x": FLOAT})
    assert "Encountered list at unexpected level" in _fault(_deep(form + b"[[1,", 5_000)[:-1] + b"]]}", {"x": FLOAT})


def test_31_dimensions_are_taken() -> None:
    assert _read(_deep(b'{"inputs":', 31), {"x": FLOAT}).inputs["x"].shape == (1,) * 31
    assert _read(_deep(b'{"instances":', 32), {"x": FLOAT}).inputs["x"].shape == (1,) * 32
