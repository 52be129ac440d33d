from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from serving.server.run.batching import merge, rows_of, split
from serving.server.status import Code, StatusError


def texts(*values: bytes) -> Any:
    return np.array(values, dtype=object)


def test_requests_are_joined_in_order_input_by_input() -> None:
    numbers, words = merge([[np.arange(2), texts(b"a", b"b")], [np.arange(2, 3), texts(b"c")]], 0)
    assert numbers.tolist() == [0, 1, 2]
    assert words.tolist() == [b"a", b"b", b"c"]


def test_a_request_alone_is_not_copied() -> None:
    value = np.arange(3)
    assert merge([[value]], 0)[0] is value


def test_padding_repeats_a_row_that_is_valid() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert merge([[rows], [rows[:0]]], 2)[0].tolist() == [[1, 2], [3, 4], [1, 2], [1, 2]]


def test_shorter_inputs_are_filled_with_their_first_element_if_asked() -> None:
    parts = [[np.array([[1, 2, 3]])], [np.array([[7], [8]])]]
    assert merge(parts, 0, is_length_variable=True)[0].tolist() == [[1, 2, 3], [7, 7, 7], [8, 7, 7]]
    assert merge([[texts(b"a")], [texts(b"b")]], 0, is_length_variable=True)[0].tolist() == [b"a", b"b"]


@pytest.mark.parametrize(
    ("shapes", "is_length_variable", "code", "message"),
    [
        pytest.param([(1, 2), (1, 3)], False, Code.FAILED_PRECONDITION, "padding is turned off", id="no padding"),
        pytest.param([(1, 2), (1,)], True, Code.INVALID_ARGUMENT, "rank from 1 to 6", id="ranks differ"),
        pytest.param([(1,) * 7, (*(1,) * 6, 2)], True, Code.INVALID_ARGUMENT, "rank from 1 to 6", id="rank 7"),
        pytest.param([(1, 2), (1, 0)], True, Code.INVALID_ARGUMENT, "Got empty tensor", id="empty"),
    ],
)
def test_what_cannot_be_joined_is_refused(
    shapes: list[tuple[int, ...]], is_length_variable: bool, code: Code, message: str
) -> None:
    with pytest.raises(StatusError, match=message) as raised:
        merge([[np.zeros(shape)] for shape in shapes], 0, is_length_variable)
    assert raised.value.code is code


def test_outputs_are_cut_back_without_the_padding() -> None:
    whole = [np.arange(6), np.arange(12).reshape(6, 2)]
    first, empty, last = split(whole, [1, 0, 3], 2)
    assert [part.tolist() for part in first] == [[0], [[0, 1]]]
    assert [len(part) for part in empty] == [0, 0]
    assert [part.tolist() for part in last] == [[1, 2, 3], [[2, 3], [4, 5], [6, 7]]]


@pytest.mark.parametrize(
    ("output", "message"), [(np.float32(1), "has 0 dimensions"), (np.zeros(3), "does not equal the sum")]
)
def test_outputs_without_the_batchs_rows_are_refused(output: Any, message: str) -> None:
    with pytest.raises(StatusError, match=message) as raised:
        split([np.asarray(output)], [2], 0)
    assert raised.value.code is Code.FAILED_PRECONDITION


def test_rows_are_those_of_every_input() -> None:
    assert rows_of([np.zeros((3, 2)), np.zeros(3)]) == 3
    assert rows_of([np.zeros((0, 2))]) == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [([np.zeros(2), np.zeros(())], "at least one dimension"), ([np.zeros(2), np.zeros(3)], "equal 0th-dimension size")],
    ids=["scalar", "unequal"],
)
def test_inputs_without_common_rows_are_refused(values: list[Any], message: str) -> None:
    with pytest.raises(StatusError, match=message) as raised:
        rows_of(values)
    assert raised.value.code is Code.INVALID_ARGUMENT
