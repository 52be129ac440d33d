"""Answers as JSON: predictions by row or by column, classifications, regressions, errors; the model server's layout."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.server.core.status import invalid_argument
from serving.server.rest.json_numbers import FEW, decimal, decimals, nested
from serving.server.rest.json_text import quoted

_WHOLE_NUMBERS = frozenset(map(np.dtype, ("i1", "i2", "i4", "i8", "u1", "u4", "u8")))
_FLOATS = frozenset(map(np.dtype, ("f4", "f8")))
_TYPE_NAMES = {"float16": "half"}
_INDENT = "    "
_LONG = 64
_MARK = "\0"  # between rows that are taken apart again; no JSON text holds one
Signs = tuple[str, str, str]


def write_predictions(outputs: Mapping[str, NDArray[Any]], is_row: bool) -> bytes:
    """Return the answer of a Predict call; DT_STRING outputs are object arrays of bytes.

    Raise INVALID_ARGUMENT if the outputs have no common batch dimension (row form) or a type JSON cannot tell.
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    return _encoded(_rows(outputs) if is_row else _columns(outputs))


def write_classifications(results: Sequence[Sequence[tuple[bytes, float]]]) -> bytes:
    """Return the answer of a Classify call: for each example its (label, float32 score) pairs."""
    if not results:
        raise invalid_argument("Cannot convert empty ClassificationResults to JSON")
    scores = iter(decimals(np.array([score for pairs in results for _, score in pairs], np.float32)))
    lists = [", ".join(f"[{_text(label)}, {next(scores)}]" for label, _ in pairs) for pairs in results]
    return _encoded(f'{{\n    "results": [[{"], [".join(lists)}]\n    ]\n}}')


def write_regressions(values: NDArray[np.float32]) -> bytes:
    """Return the answer of a Regress call, [n] float32."""
    if not len(values):
        raise invalid_argument("Cannot convert empty RegressionResults to JSON")
    return _encoded(f'{{\n    "results": [{", ".join(decimals(values))}]\n}}')


def write_error(message: str) -> bytes:
    """Return an error's answer."""
    return b'{\n    "error": ' + quoted(message.encode("utf-8", "replace")) + b"\n}"


def _encoded(text: str) -> bytes:
    # Strings may hold any bytes: they travelled as lone surrogates and leave as they came.
    return text.encode("utf-8", "surrogateescape")


def _text(value: bytes) -> str:
    return quoted(value).decode("utf-8", "surrogateescape")


def _rows(outputs: Mapping[str, NDArray[Any]]) -> str:
    size = _batch_size(outputs)
    if not size:
        return '{\n    "predictions": []\n}'
    if size == 1 and len(outputs) > 1 and all(map(_is_small, outputs, outputs.values())):
        members = [f"\n            {_label(name.encode())}: {_element(array)}" for name, array in outputs.items()]
        return f'{{\n    "predictions": [\n        {{{",".join(members)}\n        }}\n    ]\n}}'
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        items = _listed(name, array, array.ndim + 1, _one_line(", "))
    else:
        names = [f"\n            {_text(name.encode())}: " for name in outputs]
        columns = [
            _listed(name, array, array.ndim + 2, _one_line(_MARK)).split(_MARK) for name, array in outputs.items()
        ]
        objects = (",".join(map(str.__add__, names, row)) for row in zip(*columns, strict=True))
        items = ",".join(f"\n        {{{members}\n        }}" for members in objects)
    return f'{{\n    "predictions": [{items}\n    ]\n}}'


def _is_small(name: str, array: NDArray[Any]) -> bool:
    is_plain = array.dtype == np.float32 or (array.dtype == np.object_ and not name.endswith("_bytes"))
    return is_plain and array.ndim <= 2 and 0 < array.size <= FEW


def _element(array: NDArray[Any]) -> str:
    """Return the one row of a small array: the online case, where whole-array steps cost more than they save."""
    (row,) = array.tolist()
    write = _label if array.dtype == np.object_ else decimal
    return f"[{', '.join(map(write, row))}]" if type(row) is list else write(row)


def _label(value: bytes) -> str:
    return _known(value) if len(value) < _LONG else _text(value)


@lru_cache(1024)
def _known(label: bytes) -> str:
    # labels and names of outputs come again and again; long texts would not, and would fill the memory
    return _text(label)


def _batch_size(outputs: Mapping[str, NDArray[Any]]) -> int:
    size = -1
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if size not in (-1, len(array)):
            raise invalid_argument(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}")
        size = len(array)
    return size


def _columns(outputs: Mapping[str, NDArray[Any]]) -> str:
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return f'{{\n    "outputs": {_pretty(name, array, 1)}\n}}'
    members = (f"\n        {_text(name.encode())}: {_pretty(name, array, 2)}" for name, array in outputs.items())
    return f'{{\n    "outputs": {{{",".join(members)}\n    }}\n}}'


def _pretty(name: str, array: NDArray[Any], depth: int) -> str:
    """Return the text of a whole array, each element on a line of its own; `depth` counts the objects around it."""

    def signs(axis: int) -> Signs:
        line = "\n" + _INDENT * (depth + axis)
        return f"[{line}{_INDENT}", f",{line}{_INDENT}", f"{line}]"

    return _listed(name, array, depth + array.ndim, signs)


def _one_line(between_rows: str) -> Callable[[int], Signs]:
    return lambda axis: ("[", ", ", "]") if axis else ("", between_rows, "")


def _listed(name: str, array: NDArray[Any], depth: int, signs: Callable[[int], Signs]) -> str:
    """Return an array as nested lists; `signs` gives each axis's opening, comma and closing."""
    if array.dtype == np.float32 and array.size > FEW:
        opening, between, closing = _frame(array.ndim, signs)
        return opening + nested(array, between) + closing
    return _joined(_scalars(name, array, depth), array.shape, signs)


def _frame(axes: int, signs: Callable[[int], Signs]) -> tuple[str, list[str], str]:
    """Return what is before all elements, between the items of each axis, and after all elements."""
    opening, between, closing = "", [""] * axes, ""
    for axis in reversed(range(axes)):
        start, comma, end = signs(axis)
        between[axis] = closing + comma + opening
        opening, closing = start + opening, closing + end
    return opening, between, closing


def _joined(texts: list[str], shape: tuple[int, ...], signs: Callable[[int], Signs]) -> str:
    """Return the elements as nested lists of a shape."""
    if 0 in shape:
        shape = shape[: shape.index(0)]
        texts = ["[]"] * math.prod(shape)
    opening, between, closing = _frame(len(shape), signs)
    count, size = len(texts), 1
    before = [""] * count
    for axis in reversed(range(len(shape))):
        before[::size] = [between[axis]] * (count // size)
        size *= shape[axis]
    before[0] = opening
    pieces = [closing] * (2 * count + 1)
    pieces[:-1:2], pieces[1::2] = before, texts
    return "".join(pieces)


def _scalars(name: str, array: NDArray[Any], depth: int) -> list[str]:
    """Return the text of every element; `depth` counts the lists and objects around it."""
    flat = array.reshape(-1)
    if array.dtype in _FLOATS:
        return decimals(flat)
    if array.dtype in _WHOLE_NUMBERS:
        return list(map(str, flat.tolist()))
    if array.dtype == np.bool_:
        return ["true" if value else "false" for value in flat.tolist()]
    if array.dtype != np.object_:
        if not array.size:
            return []
        type_name = _TYPE_NAMES.get(array.dtype.name, array.dtype.name)
        raise invalid_argument(f"Failed to write JSON value for tensor type: {type_name}")
    if not name.endswith("_bytes"):
        values = flat.tolist()
        texts = {value: _text(value) for value in set(values)}  # labels are few and rows are many
        return [texts[value] for value in values]
    line = "\n" + _INDENT * depth
    return [f'{{{line}{_INDENT}"b64": "{base64.b64encode(value).decode()}"{line}}}' for value in flat]
