from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from serving.server.rest.json_tensors import PredictBody, read_predict
from serving.server.status import Code, StatusError, failed_precondition

FLOAT, DOUBLE, INT32, UINT8, INT16, INT8, STRING, INT64, BOOL = 1, 2, 3, 4, 5, 6, 7, 9, 10
UINT16, HALF, UINT32, UINT64 = 17, 19, 22, 23


def _body(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def _read(document: Any, types: Mapping[str, int]) -> PredictBody:
    return read_predict(_body(document), lambda _: types)


def _fault(document: Any, types: Mapping[str, int], code: Code = Code.INVALID_ARGUMENT) -> str:
    with pytest.raises(StatusError) as raised:
        _read(document, types)
    assert raised.value.code == code
    return raised.value.message


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
    assert _fault({"inputs": {"b64": text}}, {"x": STRING}) == "inputs is not valid base64"
    rows = [{"x": "a"}, {"x": {"b64": text}}]
    assert _fault({"instances": rows}, {"x": STRING}) == "instances[1]['x'] is not valid base64"


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
        (FLOAT, "x", 'of type float, but it is the string "x"'),
        (FLOAT, True, "of type float, but it is true"),
        (DOUBLE, None, "of type double, but it is null"),
        (INT32, 1.0, "of type int32 from -2147483648 to 2147483647, but it is 1.0"),
        (INT32, 2**31, "but it is 2147483648"),
        (INT8, 2**31, "of type int8"),
        (UINT8, False, "of type uint8"),
        (INT16, "1", "of type int16"),
        (INT64, 2**63, "of type int64"),
        (UINT32, -1, "of type uint32 from 0 to 4294967295, but it is -1"),
        (UINT64, 2**64, "of type uint64"),
        (BOOL, 1, "of type bool, but it is 1"),
        (STRING, 1, "of type string, but it is 1"),
        (STRING, {"b64": 1}, "of type string, but it is an object"),
        (FLOAT, {"b64": "QQ=="}, "of type float, but it is an object"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_and_its_place_named(data_type: int, value: Any, words: str) -> None:
    for document, where in (
        ({"inputs": {"x": [value]}}, "inputs['x'][0]"),
        ({"instances": [[value]]}, "instances[0][0]"),
        ({"instances": [{"x": value}]}, "instances[0]['x']"),
    ):
        fault = _fault(document, {"x": data_type})
        assert fault.startswith(f"{where} must be ")
        assert words in fault


@pytest.mark.parametrize(("good", "bad"), [(1, "a"), ([1, 2], [1, "a"])], ids=["scalar", "list"])
def test_the_row_and_key_of_many_that_are_wrong_are_named(good: Any, bad: Any) -> None:
    inner = "[1]" if isinstance(bad, list) else ""
    types = {"x": FLOAT, "y": FLOAT}
    rows = [{"x": good, "y": good} for _ in range(7)]
    rows[4]["y"] = bad
    assert _fault({"instances": rows}, types).startswith(f"instances[4]['y']{inner} must be of type float")
    columns = {name: [row[name] for row in rows] for name in types}
    assert _fault({"inputs": columns}, types).startswith(f"inputs['y'][4]{inner} must be of type float")


@pytest.mark.parametrize("data_type", [HALF, UINT16, 8, 14], ids=["half", "uint16", "complex64", "bfloat16"])
def test_other_types_are_not_implemented(data_type: int) -> None:
    assert f"DataType {data_type}" in _fault({"inputs": [1]}, {"x": data_type}, Code.UNIMPLEMENTED)
    assert f"DataType {data_type}" in _fault({"instances": [1]}, {"x": data_type})


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        ([[1, 2], [3, 4], [5, 6, 7]], "instances[2] must be a list of 2 as the first one, but it has 3"),
        ([[1, 2], [3, 4], [[5, 6]]], "instances[2] must be a list of 2 as the first one, but it has 1"),
        ([1, [1]], "instances[1] must be of type int32"),
        ([[1, [2]]], "instances[0][1] must be of type int32"),
        ([[[1], [2, 3]]], "instances[0][1] must be a list of 1 as the first one, but it has 2"),
        ([[[1], 2]], "instances[0][1] must be a list of 1, but it is 2"),
        ([{"x": 1}, {"x": [1, 2]}], "instances[1]['x'] must be of type int32"),
        ([{"x": [1]}, {"x": [1, 2]}], "instances[1]['x'] must be a list of 1 as the first one, but it has 2"),
        ([{"x": 1, "z": 2}], "instances[0] must have the keys 'x', but it has 'x', 'z'"),
        ([{"x": 1}, [2]], "instances[1] must be an object as instances[0] is, but it is a list"),
        ([[2], {"x": 1}], "instances[1] must be a list of 1, but it is an object"),
        ([{"x": 1}, {}], "instances[1] must have the keys 'x', but it has none"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_instances_must_agree(instances: list[Any], words: str) -> None:
    assert words in _fault({"instances": instances}, {"x": INT32})


def test_several_inputs_need_objects_with_all_their_names() -> None:
    types = {"b": INT32, "a": INT32}
    object_ = "must be an object with the keys 'a', 'b', but it is"
    assert _fault({"instances": [1]}, types) == f"instances[0] {object_} 1"
    assert _fault({"inputs": [1]}, types) == f"'inputs' {object_} a list"
    assert _fault({"inputs": {"b": 1}}, types) == "'inputs' lacks the key 'a'"
    assert _fault({"instances": [{"a": 1}]}, types) == "instances[0] must have the keys 'a', 'b', but it has 'a'"


@pytest.mark.parametrize(
    ("document", "ending"),
    [
        ({}, "either 'inputs' or 'instances', but it has neither"),
        ({"instances": [1], "inputs": [1]}, "either 'inputs' or 'instances', but it has both"),
        ({"instances": []}, "'instances' must be a list of one row or more, but it is empty"),
        ({"instances": {"x": 1}}, "'instances' must be a list of one row or more, but it is an object"),
    ],
    ids=str,
)
def test_just_one_form_is_wanted(document: dict[str, Any], ending: str) -> None:
    assert _fault(document, {"x": FLOAT}).endswith(ending)


def test_a_signature_without_inputs_cannot_be_asked_for() -> None:
    assert _fault({"inputs": 1}, {}) == "The signature by default has no inputs"
    assert _fault({"signature_name": "s", "inputs": 1}, {}) == "The signature s has no inputs"


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_flat_columns_are_read_as_each_by_itself(rows: int) -> None:
    names = [f"feature {index}" for index in range(30)]
    values = np.random.default_rng(1).random((30, rows))
    document = {"inputs": dict(zip(names, values.tolist(), strict=True))}
    types = dict.fromkeys(reversed(names), FLOAT)
    inputs = _read(document, types).inputs
    document["inputs"]["feature 3"] = [[value] for value in document["inputs"]["feature 3"]]  # so it is not flat
    mixed = _read(document, types).inputs
    for index, name in enumerate(names):
        assert inputs[name].dtype == np.float32
        np.testing.assert_array_equal(inputs[name], values[index].astype(np.float32))
        np.testing.assert_array_equal(inputs[name], mixed[name].reshape(-1))


def test_columns_may_differ_in_length_and_be_empty() -> None:
    types = {"a": FLOAT, "b": FLOAT}
    inputs = _read({"inputs": {"a": [1, 2], "b": [3]}}, types).inputs
    assert {name: array.tolist() for name, array in inputs.items()} == {"a": [1, 2], "b": [3]}
    inputs = _read({"inputs": {"a": [], "b": []}}, types).inputs
    assert {name: array.shape for name, array in inputs.items()} == {"a": (0,), "b": (0,)}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"inputs": ', "JSON Parse error"),
        (b'{"signature_name": 5, "inputs": "x"}', "'signature_name' must be a string"),
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


@pytest.mark.parametrize(("form", "depth"), [(b'{"inputs":', 33), (b'{"instances":', 33)], ids=str)
def test_depth_beyond_any_tensor_is_an_error_and_no_crash(form: bytes, depth: int) -> None:
    assert "32 are supported at most" in _fault(_deep(form, depth), {"x": FLOAT})
    assert "32 are supported at most" in _fault(_deep(form, 5_000), {"x": FLOAT})
    assert "must be of type float, but it is a list" in _fault(_deep(form + b"[[1,", 5_000)[:-1] + b"]]}", {"x": FLOAT})


def test_32_dimensions_are_taken() -> None:
    assert _read(_deep(b'{"inputs":', 32), {"x": FLOAT}).inputs["x"].shape == (1,) * 32
    assert _read(_deep(b'{"instances":', 32), {"x": FLOAT}).inputs["x"].shape == (1,) * 32
