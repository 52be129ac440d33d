"""From a Predict request's JSON to arrays: `instances` (row form) and `inputs` (columnar form)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.server.core.status import StatusError, invalid_argument
from serving.server.rest.json_dense import dense, exact, flat_array, is_base64
from serving.server.rest.json_matrix import read_matrices
from serving.server.rest.json_reader import read_object, signature_of
from serving.server.rest.json_text import as_bytes, value_text

Arrays = dict[str, NDArray[Any]]
InputsOf = Callable[[str], Mapping[str, int]]
_MISSING = object()
_FLOAT = 1
_FLOATS = {1: np.float32, 2: np.float64}


@dataclass(frozen=True)
class PredictBody:
    """What a Predict request asks: the signature as named (maybe empty), arrays by input, the form of the answer."""

    signature_name: str
    inputs: Arrays
    is_row: bool


def read_predict(body: bytes, inputs_of: InputsOf) -> PredictBody:
    """Return a Predict request's arrays.

    `inputs_of` gives the DataType number of every input of a signature; it is asked after the JSON and the signature's
    name were checked, and before the values. Raise StatusError with the model server's words.
    """
    matrices = read_matrices(body)
    if matrices is not None:
        whole = _from_matrices(*matrices, inputs_of)
        if whole is not None:
            return whole
    document = read_object(body)
    name = signature_of(document)
    types = _input_types(name, inputs_of)
    instances, inputs = document.get("instances", _MISSING), document.get("inputs", _MISSING)
    if instances is _MISSING and inputs is _MISSING:
        raise invalid_argument("Missing 'inputs' or 'instances' key")
    if instances is _MISSING:
        return PredictBody(name, _from_inputs(inputs, types), is_row=False)
    _check_instances(document, instances, inputs)
    return PredictBody(name, _from_instances(instances, types), is_row=True)


def _input_types(name: str, inputs_of: InputsOf) -> Mapping[str, int]:
    types = inputs_of(name)
    if not types:
        raise invalid_argument(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    return types


def _check_instances(document: Any, instances: Any, inputs: Any) -> None:
    fault = ""
    if inputs is not _MISSING:
        fault = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    elif type(instances) is not list:
        fault = "Excepting 'instances' to be an list/array"
    elif not instances:
        fault = "No values in 'instances' array"
    if fault:
        raise invalid_argument(f"JSON Value: {value_text(document)} {fault}")


def _from_matrices(
    signature_name: str, key: str, columns: Mapping[str | None, NDArray[np.float64]], inputs_of: InputsOf
) -> PredictBody | None:
    """Return a request read as whole matrices, None unless its inputs are just those and of FLOAT or DOUBLE."""
    types = _input_types(signature_name, inputs_of)
    if None in columns:
        columns = {next(iter(types)): columns[None]}
    if not types.keys() <= columns.keys() or not set(types.values()) <= _FLOATS.keys():
        return None
    with np.errstate(over="ignore"):  # too big for float32 is infinity
        inputs = {name: columns[name].astype(_FLOATS[data_type]) for name, data_type in types.items()}
    return PredictBody(signature_name, inputs, is_row=key == "instances")


def _from_inputs(value: Any, types: Mapping[str, int]) -> Arrays:
    if type(value) is dict and not is_base64(value):
        return {name: _named(value, name, data_type) for name, data_type in types.items()}
    if len(types) > 1:
        raise invalid_argument(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required"
            " as per tensorinfo_map"
        )
    return {name: _array(value, data_type) for name, data_type in types.items()}


def _named(value: dict[Any, Any], name: str, data_type: int) -> NDArray[Any]:
    item = value.get(name, _MISSING)
    if item is _MISSING:
        raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
    return _array(item, data_type)


def _array(value: Any, data_type: int) -> NDArray[Any]:
    array = dense(value, data_type)
    return exact(value, data_type) if array is None else array


def _from_instances(instances: list[Any], types: Mapping[str, int]) -> Arrays:
    if type(instances[0]) is not dict and len(types) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required"
            " as per tensorinfo_map"
        )
    if not _is_object(instances[0]):
        name, data_type = next(iter(types.items()))
        array = dense(instances, data_type)
        return {name: array} if array is not None else _Batch(types).of_values(instances, name)
    return _columns(instances, types) or _Batch(types).of_objects(instances)


def _is_object(value: Any) -> bool:
    return type(value) is dict and not is_base64(value)


def _columns(rows: list[Any], types: Mapping[str, int]) -> Arrays | None:
    """Return a batch of objects as arrays if all have the same keys in the same order and all values fit, else None."""
    names = list(rows[0])
    if rows[0].keys() != types.keys() or set(map(type, rows)) != {dict}:
        return None
    if len(rows) > 1 and any(list(row) != names for row in rows):
        return None
    if set(types.values()) == {_FLOAT}:
        values = [value for row in rows for value in row.values()] if len(rows) > 1 else list(rows[0].values())
        matrix = flat_array(values, _FLOAT)
        if matrix is not None:
            # One contiguous row of memory for each input.
            return dict(zip(names, np.ascontiguousarray(matrix.reshape(len(rows), -1).T), strict=True))
    arrays: Arrays = {}
    for name in names:
        array = dense([row[name] for row in rows], types[name])
        if array is None:
            return None
        arrays[name] = array
    return arrays


class _Batch:
    """Instances taken one by one, for those with {"b64": ...} and for the exact error of those that do not fit."""

    def __init__(self, types: Mapping[str, int]) -> None:
        self.types = types
        self.items: dict[str, list[NDArray[Any]]] = {}

    def of_values(self, instances: list[Any], name: str) -> Arrays:
        for index, item in enumerate(instances):
            if _is_object(item):
                raise invalid_argument(f"Expecting value/list but got object at item {index} of input list")
            try:
                self._add(item, name)
            except StatusError as error:
                raise invalid_argument(
                    f"Failed to process element: {index} of 'instances' list. Error: {error}"
                ) from error
        return self._stacked()

    def of_objects(self, instances: list[Any]) -> Arrays:
        for index, item in enumerate(instances):
            if not _is_object(item):
                raise invalid_argument(f"Expecting object but got list at item {index} of input list")
            for key, value in item.items():
                name = as_bytes(key).decode("utf-8", "replace")
                try:
                    self._add(value, name)
                except StatusError as error:
                    raise invalid_argument(
                        f"Failed to process element: {index} key: {name} of 'instances' list. Error: {error}"
                    ) from error
            if item.keys() != self.types.keys():
                raise invalid_argument(
                    f"Failed to process element: {index} of 'instances' list. JSON object: {value_text(item)}"
                    f" keys must be equal to: {','.join(sorted(self.types))}"
                )
        return self._stacked()

    def _add(self, value: Any, name: str) -> None:
        if name not in self.types:
            raise invalid_argument(f"JSON object: does not have named input: {name}")
        array = _array(value, self.types[name])
        items = self.items.setdefault(name, [])
        if items and items[0].size != array.size:
            raise invalid_argument(f"Expecting tensor size: {items[0].size} but got: {array.size}")
        if items and items[0].shape != array.shape:
            raise invalid_argument(f"Expecting shape {_shown(items[0].shape)} but got: {_shown(array.shape)}")
        items.append(array)

    def _stacked(self) -> Arrays:
        return {name: np.stack(items) for name, items in self.items.items()}


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
