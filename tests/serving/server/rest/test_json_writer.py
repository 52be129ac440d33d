from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.server.rest.json_writer import write_classifications, write_error, write_predictions, write_regressions
from serving.server.status import Code, StatusError

_INTS = np.array([[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]], np.int32)
_TEXTS = np.array([[b"foo", b"bar"], [b"baz", b"bat"]], object)


def _refusal(outputs: dict[str, Any], is_row: bool = True) -> str:
    with pytest.raises(StatusError) as raised:
        write_predictions(outputs, is_row)
    assert raised.value.code == Code.INVALID_ARGUMENT
    return raised.value.message


def test_one_output_is_the_values_themselves() -> None:
    for values in (np.array([2.5, 3.0, 4.5], np.float32), np.array([[1.0], [2.0]]), _INTS):
        assert json.loads(write_predictions({"y": values}, is_row=True)) == {"predictions": values.tolist()}
        assert json.loads(write_predictions({"y": values}, is_row=False)) == {"outputs": values.tolist()}


def test_several_outputs_by_row_are_objects() -> None:
    outputs = {"a": np.array([8.0, 9.0]), "n": _INTS, "t": _TEXTS, "t_bytes": _TEXTS[:, :1]}
    assert json.loads(write_predictions(outputs, is_row=True)) == {
        "predictions": [
            {"a": 8.0, "n": _INTS[0].tolist(), "t": ["foo", "bar"], "t_bytes": [{"b64": "Zm9v"}]},
            {"a": 9.0, "n": _INTS[1].tolist(), "t": ["baz", "bat"], "t_bytes": [{"b64": "YmF6"}]},
        ]
    }


def test_several_outputs_by_column_keep_their_shapes() -> None:
    outputs = {"a": np.float32(2.0).reshape(()), "n": _INTS, "t_bytes": _TEXTS}
    assert json.loads(write_predictions(outputs, is_row=False)) == {
        "outputs": {
            "a": 2.0,
            "n": _INTS.tolist(),
            "t_bytes": [[{"b64": "Zm9v"}, {"b64": "YmFy"}], [{"b64": "YmF6"}, {"b64": "YmF0"}]],
        }
    }


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.array([-5], np.int8), "-5"),
        (np.array([65000], np.uint32), "65000"),
        (np.array([2**64 - 1], np.uint64), "18446744073709551615"),
        (np.array([-(2**63)], np.int64), "-9223372036854775808"),
        (np.array([True]), "true"),
        (np.array([np.nan], np.float32), "NaN"),
        (np.array([b'a"\\\n\x01/\xc3\xa9\x7f'], object), '"a\\"\\\\\\n\\u0001/é\x7f"'),
    ],
    ids=lambda value: str(value)[:20],
)
def test_each_type_by_itself(values: Any, text: str) -> None:
    assert write_predictions({"y": values}, is_row=True) == f'{{"predictions": [{text}]}}'.encode()
    assert write_predictions({"y": values.reshape(())}, is_row=False) == f'{{"outputs": {text}}}'.encode()


def test_text_that_is_not_utf8_leaves_as_it_came() -> None:
    answer = write_predictions({"y": np.array([b"\xff\x80"], object), "x": np.array([1])}, is_row=True)
    assert b'"y": "\xff\x80"' in answer


@pytest.mark.parametrize("shape", [(2, 0), (2, 3, 0), (2, 0, 3)], ids=str)
def test_empty_lists_stay(shape: tuple[int, ...]) -> None:
    empty = np.zeros(shape, np.float32)
    for is_row, key in [(True, "predictions"), (False, "outputs")]:
        assert json.loads(write_predictions({"y": empty}, is_row)) == {key: empty.tolist()}


def test_a_batch_of_none_is_an_empty_list() -> None:
    none = {"a": np.zeros((0, 3), np.float32), "b": np.zeros((0, 1, 2), object)}
    assert json.loads(write_predictions(none, is_row=True)) == {"predictions": []}
    assert json.loads(write_predictions(none, is_row=False)) == {"outputs": {"a": [], "b": []}}


def test_rows_need_one_batch() -> None:
    assert _refusal({"y": np.array(1)}) == "The output 'y' is a scalar, which has no rows: ask by 'inputs'"
    uneven = {"a": np.zeros(2), "b": np.zeros(1)}
    assert _refusal(uneven) == "The output 'b' has 1 rows, but another has 2: ask by 'inputs'"
    assert json.loads(write_predictions(uneven, is_row=False)) == {"outputs": {"a": [0.0, 0.0], "b": [0.0]}}


@pytest.mark.parametrize(("kind", "name"), [("c8", "complex64"), ("f2", "half"), ("u2", "uint16")])
def test_types_json_cannot_tell_are_refused(kind: str, name: str) -> None:
    for is_row in (True, False):
        assert f"The output 'y' is of type {name}" in _refusal({"y": np.zeros(2, kind)}, is_row)


_FLOAT32 = st.floats(width=32)
_FLOAT64 = st.floats()


@pytest.mark.parametrize(("dtype", "values"), [(np.float32, _FLOAT32), (np.float64, _FLOAT64)], ids=["f4", "f8"])
def test_every_float_reads_back(dtype: Any, values: st.SearchStrategy[float]) -> None:
    @settings(max_examples=200, derandomize=True, deadline=None, database=None)
    @given(st.lists(values, min_size=1, max_size=9))
    def check(numbers: list[float]) -> None:
        array = np.array(numbers, dtype)
        for shaped in (array, array.reshape(-1, 1), array.reshape(1, -1, 1), np.stack([array, array], 1)):
            for outputs in ({"y": shaped}, {"y": shaped, "z": np.zeros(len(shaped))}):
                rows = json.loads(write_predictions(outputs, is_row=True))["predictions"]
                read = np.array([row["y"] for row in rows] if len(outputs) > 1 else rows, dtype)
                np.testing.assert_array_equal(read.reshape(shaped.shape), shaped)
                assert np.array_equal(np.signbit(read[~np.isnan(read)]), np.signbit(shaped[~np.isnan(shaped)]))

    check()


def test_float32_is_written_in_its_own_digits() -> None:
    assert (
        write_predictions({"y": np.array([0.1, 1 / 3], np.float32)}, is_row=True)
        == b'{"predictions": [0.1,0.33333334]}'
    )


def test_no_outputs_are_refused() -> None:
    assert _refusal({}) == "Cannot convert empty tensor map to JSON"


def test_classifications() -> None:
    third = np.float32(1 / 3)
    answer = write_classifications([[(b"car", np.float32(0.2)), (b"bike", np.float32(0.7))], [(b"", third)], []])
    assert json.loads(answer) == {"results": [[["car", 0.2], ["bike", 0.7]], [["", 0.33333334]], []]}
    with pytest.raises(StatusError, match="Cannot convert empty ClassificationResults to JSON"):
        write_classifications([])


def test_regressions() -> None:
    values = np.array([0.2, np.inf, 1.0, -np.inf, np.nan], np.float32)
    assert write_regressions(values) == b'{"results": [0.2,Infinity,1.0,-Infinity,NaN]}'
    with pytest.raises(StatusError, match="Cannot convert empty RegressionResults to JSON"):
        write_regressions(values[:0])


def test_an_error_is_valid_json_whatever_it_says() -> None:
    message = 'JSON Value: {\n    "a": "\\x00\t\udcff"\n} é'
    assert json.loads(write_error(message)) == {"error": message.replace("\udcff", "?")}
    assert write_error("no") == b'{\n    "error": "no"\n}'


def test_one_row_is_written_as_among_others() -> None:
    outputs = {
        "label": np.array([b"M", b'B\xff\n"'], object),
        "probabilities": np.array([[0.1, 0.9], [np.nan, -np.inf]], np.float32),
        "probability": np.array([0.0024638176, 3.0], np.float32),
        "raw_bytes": np.array([b"a", b"b"], object),
        "names": np.array([[b"x" * 100, b""], [b"y", b"z"]], object),
        "count": np.array([1, 2]),
        "none": np.zeros((2, 0), np.float32),
    }
    head, foot = b'{"predictions": [', b"]}"
    both = write_predictions(outputs, is_row=True)
    ones = [write_predictions({n: a[i : i + 1] for n, a in outputs.items()}, is_row=True) for i in range(2)]
    assert both == head + b", ".join(row[len(head) : -len(foot)] for row in ones) + foot


@pytest.mark.parametrize("order", ["C", "F"])
def test_any_layout_in_memory_is_written(order: Any) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4).copy(order)
    for array in (values, values[:, ::2], values.transpose(1, 0, 2)):
        assert json.loads(write_predictions({"y": array}, is_row=True)) == {"predictions": array.tolist()}
