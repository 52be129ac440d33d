from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from serving.server.rest import json_tensors
from serving.server.rest.json_reader import read_matrices
from serving.server.rest.json_tensors import PredictBody, read_predict
from serving.server.status import StatusError

_ROWS = np.round(np.random.default_rng(3).random((200, 12)) * 1000, 3)
_ROWS[:5, :5] = [[0.1, -0.0, 1e-60, 1e300, 3]] * 5
_VALUES = _ROWS.tolist()
_WHOLE = np.arange(4000).reshape(400, 10).tolist()
_TYPES = {"x": 1}
_TAKEN = [
    ({"signature_name": "s", "inputs": _VALUES}, _TYPES),
    ({"inputs": {"x": _VALUES, "y": _WHOLE}}, {"x": 1, "y": 2}),
    ({"inputs": {f"c{i}": _ROWS[:, i].tolist() for i in range(12)}}, {f"c{i}": 1 + i % 2 for i in range(12)}),
    ({"instances": _VALUES}, _TYPES),
    ({"inputs": _WHOLE}, {"x": 2}),
]
_LEFT: list[tuple[str, Any, dict[str, int]]] = [
    ("small", {"inputs": [[1.5]]}, _TYPES),
    ("whole numbers wanted", {"inputs": _WHOLE}, {"x": 3}),
    ("ragged", {"inputs": [*_VALUES, [1.0]]}, _TYPES),
    ("ragged, same size", {"inputs": [*_VALUES, [1.0] * 11, [1.0] * 13]}, _TYPES),
    ("deeper", {"inputs": [_VALUES]}, _TYPES),
    ("deeper by chance", {"inputs": [[[1.0, 2.0], 3.0], *([[1.0, 2.0]] * 3000)]}, _TYPES),
    ("text among numbers", {"inputs": [*_VALUES, ["x"] * 12]}, _TYPES),
    ("bool among numbers", {"inputs": [*_VALUES, [True] * 12]}, _TYPES),
    ("a scalar among rows", {"inputs": [*_VALUES, 1.0]}, _TYPES),
    ("a missing input", {"inputs": {"y": _VALUES}}, _TYPES),
    ("a nameless input", {"inputs": {"": _VALUES}}, _TYPES),
    ("another key", {"inputs": _VALUES, "comment": "[:"}, _TYPES),
    ("both forms", {"inputs": _VALUES, "instances": _VALUES}, _TYPES),
    ("objects", {"instances": [{"x": row} for row in _VALUES]}, _TYPES),
    ("no rows", {"instances": [], "signature_name": "s" * 9000}, _TYPES),
    ("a signature that is no text", {"signature_name": 5, "inputs": _VALUES}, _TYPES),
    ("duplicate keys", b'{"inputs": 5, "inputs": %b}' % json.dumps(_VALUES).encode(), _TYPES),
    ("not a number", b'{"inputs": [NaN, %b]}' % b",".join([b"1.5"] * 4000), _TYPES),
    ("text after the document", b"%b rest" % json.dumps({"inputs": _VALUES}).encode(), _TYPES),
    ("a number too big", b'{"inputs": [1e400, %b]}' % b",".join([b"1.5"] * 4000), _TYPES),
    ("cut off", json.dumps({"inputs": _VALUES}).encode()[:-1], _TYPES),
    ("two inputs wanted", {"inputs": _VALUES}, {"x": 1, "y": 1}),
]


def _body(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def _outcome(body: bytes, types: dict[str, int]) -> Any:
    try:
        read: PredictBody = read_predict(body, lambda _: types)
    except StatusError as error:
        return error.message
    inputs = {name: (array.dtype, array.shape, array.tobytes()) for name, array in sorted(read.inputs.items())}
    return read.signature_name, read.is_row, inputs


@pytest.mark.parametrize(("document", "types"), _TAKEN, ids=["unnamed", "named", "columns", "rows", "whole"])
def test_matrices_are_read_as_number_by_number(
    document: Any, types: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = _body(document)
    assert read_matrices(body) is not None
    whole = _outcome(body, types)
    monkeypatch.setattr(json_tensors, "read_matrices", lambda _: None)
    assert whole == _outcome(body, types)


@pytest.mark.parametrize(("document", "types"), [case[1:] for case in _LEFT], ids=[case[0] for case in _LEFT])
def test_all_else_ends_as_if_there_were_no_short_cut(
    document: Any, types: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = _body(document)
    whole = _outcome(body, types)
    monkeypatch.setattr(json_tensors, "read_matrices", lambda _: None)
    assert whole == _outcome(body, types)


def test_one_request_leaves_nothing_behind_for_the_next() -> None:
    for document in (_VALUES, [[1.0], [2.0, 3.0]] * 3000, _WHOLE):
        body = _body({"inputs": document})
        assert (read_matrices(body) is None) == (len(document) == 6000)
