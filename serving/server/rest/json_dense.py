"""From one parsed JSON value to a dense array of a DataType: quickly if all is well, else exactly, with its error."""

from __future__ import annotations

import base64
import binascii
from array import array
from collections.abc import Callable
from itertools import chain
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from serving.server.core.status import invalid_argument, unimplemented
from serving.server.rest.json_text import as_bytes, data_type_name, type_name, value_text

MAX_DIMENSIONS = 31  # numpy's limit of 32, less the batch's
_FLOAT, _DOUBLE, _STRING, _BOOL = 1, 2, 7, 10
_NUMPY: dict[int, Any] = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    6: np.int8,
    7: np.object_,
}
_NUMPY |= {8: np.complex64, 9: np.int64, 10: np.bool_, 17: np.uint16, 18: np.complex128, 19: np.float16, 22: np.uint32}
_NUMPY |= {23: np.uint64}
_INT32 = (-(1 << 31), (1 << 31) - 1)
# Eight and sixteen bits take any int32 and wrap around, as the server's own copy from its protocol buffer does.
_RANGES = {3: _INT32, 4: _INT32, 5: _INT32, 6: _INT32, 9: (-(1 << 63), (1 << 63) - 1), 22: (0, (1 << 32) - 1)}
_RANGES |= {23: (0, (1 << 64) - 1)}
_NUMBERS = frozenset((int, float))


def is_base64(value: Any) -> bool:
    """Say whether a value is {"b64": text}, that key alone."""
    return type(value) is dict and len(value) == 1 and type(value.get("b64")) in (str, bytes)


def from_base64(value: dict[Any, Any]) -> bytes:
    """Return the bytes of a {"b64": text}; padding may be left out but not be wrong, white space is passed over."""
    text = b"".join(as_bytes(value["b64"]).split())
    padding = len(text) - len(text.rstrip(b"=."))
    text = text[: len(text) - padding]
    fits = padding == 0 or (padding < 3 and (padding + len(text)) % 4 == 0)
    try:
        if not fits or len(text) % 4 == 1:
            raise binascii.Error
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise invalid_argument("Unable to base64 decode") from None


def dense(value: Any, data_type: int) -> NDArray[Any] | None:
    """Return a value as an array if lists agree in length and leaves fit, else None: `exact` knows the error."""
    level: list[Any] = [value]
    shape: list[int] = []
    while level and type(level[0]) is list:
        if len(shape) == MAX_DIMENSIONS or set(map(type, level)) != {list}:
            return None
        lengths = set(map(len, level))
        if len(lengths) > 1:
            return None
        shape.append(lengths.pop())
        level = level[0] if len(level) == 1 else list(chain.from_iterable(level))
    flat = flat_array(level, data_type)
    return None if flat is None else flat.reshape(shape)


def flat_array(values: list[Any], data_type: int) -> NDArray[Any] | None:
    """Return a list of scalars as an array [n], None if one of them is not of the type."""
    kinds = set(map(type, values))
    if data_type == _FLOAT:
        # Through array: numpy would warn of every number that is infinity as float32.
        return np.frombuffer(array("f", values), np.float32) if kinds <= _NUMBERS else None
    if data_type == _DOUBLE:
        return np.array(values, np.float64) if kinds <= _NUMBERS else None
    if data_type in _RANGES:
        return _whole_numbers(values, data_type) if kinds <= {int} else None
    if data_type == _STRING:
        return _texts(values) if kinds <= {str, bytes} else None
    if data_type == _BOOL:
        return np.array(values, np.bool_) if kinds <= {bool} else None
    return None


def _whole_numbers(values: list[int], data_type: int) -> NDArray[Any] | None:
    low, high = _RANGES[data_type]
    if values and (min(values) < low or max(values) > high):
        return None
    wide = np.array(values, np.uint64 if data_type == 23 else np.int64)
    return wide.astype(_NUMPY[data_type], copy=False)


def _texts(values: list[str | bytes]) -> NDArray[np.object_]:
    texts = np.empty(len(values), np.object_)
    texts[:] = [as_bytes(value) for value in values]
    return texts


def exact(value: Any, data_type: int) -> NDArray[Any]:
    """Return a value as an array, leaf by leaf; its shape is that of its first elements.

    Raise INVALID_ARGUMENT or UNIMPLEMENTED with the model server's words for the first leaf or list that does not fit.
    """
    shape = shape_of(value)
    leaves: list[Any] = []
    stack = [iter((value,))]
    while stack:
        for item in stack[-1]:
            level = len(stack) - 1
            if type(item) is list:
                _check_list(item, level, shape)
                stack.append(iter(item))
                break
            if level != len(shape):
                raise invalid_argument(
                    f"JSON Value: {value_text(item)} found at incorrect level: {level + 1}"
                    f" in the JSON DOM. Expected at level: {len(shape)}"
                )
            leaves.append(_leaf(item, data_type))
        else:
            stack.pop()
    if len(shape) > MAX_DIMENSIONS:
        raise invalid_argument(f"Lists are nested {len(shape)} deep; at most {MAX_DIMENSIONS} dimensions are supported")
    return _assembled(leaves, data_type).reshape(shape)


def shape_of(value: Any) -> list[int]:
    """Return the shape a value claims by its first elements."""
    shape = []
    while type(value) is list:
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _check_list(item: list[Any], level: int, shape: list[int]) -> None:
    if level >= len(shape):
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(item) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {shape[level]}"
        )


def _assembled(leaves: list[Any], data_type: int) -> NDArray[Any]:
    flat = flat_array(leaves, data_type) if leaves else np.empty(0, _NUMPY.get(data_type, np.float32))
    assert flat is not None  # every leaf was checked
    return flat


def _leaf(value: Any, data_type: int) -> Any:
    """Return one scalar, checked; {"b64": ...} becomes its bytes."""
    if type(value) is dict:
        if data_type != _STRING:
            _refuse(value, data_type)
        if not is_base64(value):
            raise invalid_argument(f"JSON Value: {value_text(value)} not formatted correctly for base64 data")
        return from_base64(value)
    fits = _FITS.get(data_type)
    if data_type in _RANGES:
        low, high = _RANGES[data_type]
        if type(value) is not int or not low <= value <= high:
            _refuse(value, data_type)
    elif fits is None:
        raise unimplemented(f"Conversion of JSON Value: {value_text(value)} to type: {data_type_name(data_type)}")
    elif not fits(value):
        _refuse(value, data_type)
    return value


_FITS: dict[int, Callable[[Any], bool]] = {
    _FLOAT: lambda value: type(value) in _NUMBERS,
    _DOUBLE: lambda value: type(value) in _NUMBERS,
    _STRING: lambda value: type(value) in (str, bytes),
    _BOOL: lambda value: type(value) is bool,
}


def _refuse(value: Any, data_type: int) -> NoReturn:
    raise invalid_argument(
        f"JSON Value: {value_text(value)} Type: {type_name(value)} is not of expected type: {data_type_name(data_type)}"
    )
