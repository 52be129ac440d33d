"""PredictRequests, read by what is known of earlier ones.

A client sends the same bytes again and again but for its numbers. To parse 30 inputs of one float each takes ten times
as long as to see that all else equals a request parsed before, and to take the floats from where they lie.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorflow_serving.apis import model_pb2, predict_pb2

from serving.server.core.inference import ModelSpec
from serving.server.core.status import StatusError, invalid_argument
from serving.server.core.tensors import from_protos, read_varint

Array = NDArray[Any]

MAX_BYTES = 1 << 16  # of a request whose layout is learned
MAX_LENGTHS, MAX_ALIKE = 64, 4  # layouts kept: requests of so many lengths, so many of one length
TRIES = 64  # layouts learned and never used: some clients write a map in another order each time
MISSES_A_TRY = 256  # after these, one more
_FLOAT = np.dtype("<f4")  # as it lies in the message
_VARINT, _BYTES, _FIXED = 0, 2, {1: 8, 5: 4}  # wire types
_INPUTS, _VALUE = 2, 2  # fields of PredictRequest and of a map's entry
_TENSOR_CONTENT, _FLOAT_VAL = 4, 5  # fields of TensorProto: clients write a float into either


class Predict(NamedTuple):
    """What a PredictRequest asks for."""

    model_spec: ModelSpec
    inputs: Mapping[str, Array]
    output_filter: tuple[str, ...]


@dataclass(eq=False, slots=True)
class _Layout:
    """What requests have in common that differ in the values of their floats alone."""

    mask: Array  # [bytes]: 0 where a float lies, else 255
    fixed: bytes  # a request under the mask
    places: Array  # [inputs, 4]: where the bytes of each float lie
    aliases: tuple[str, ...]
    like: Predict
    is_used: bool = False

    def read(self, raw: Array) -> Predict:
        """Return what a request of this layout asks for: inputs of one float each."""
        values = raw[self.places].view(_FLOAT)
        return self.like._replace(inputs=dict(zip(self.aliases, values, strict=True)))


class PredictReader:
    """Reads PredictRequests. It remembers layouts of bytes and nothing of models, which may come and go."""

    def __init__(self) -> None:
        self._layouts: dict[int, list[_Layout]] = {}  # by length; of one length the last used first
        self._tries = TRIES
        self._misses = 0

    def read(self, data: bytes) -> Any:
        """Return a Predict, or a PredictRequest, which `content_of` reads. Raises DecodeError."""
        alike = self._layouts.get(len(data))
        if alike:
            raw = np.frombuffer(data, np.uint8)
            for layout in alike:
                if (raw & layout.mask).tobytes() == layout.fixed:
                    self._mark_used(layout, alike)
                    return layout.read(raw)
        message = predict_pb2.PredictRequest.FromString(data)
        if message.inputs and len(data) <= MAX_BYTES and self._may_try():
            found = _layout_of(data, message)
            if found:
                self._keep(len(data), found)
        return message

    def _mark_used(self, layout: _Layout, alike: list[_Layout]) -> None:
        if not layout.is_used:
            layout.is_used = True
            self._tries += 1
        if layout is not alike[0]:
            alike.remove(layout)
            alike.insert(0, layout)

    def _may_try(self) -> bool:
        self._misses += 1
        if self._misses % MISSES_A_TRY == 0:
            self._tries += 1
        if not self._tries:
            return False
        self._tries -= 1
        return True

    def _keep(self, length: int, layout: _Layout) -> None:
        if length not in self._layouts and len(self._layouts) >= MAX_LENGTHS:
            del self._layouts[next(iter(self._layouts))]
        self._layouts[length] = [layout, *self._layouts.get(length, ())][:MAX_ALIKE]


def content_of(request: Any) -> Predict:
    """Return what a request asks for. Raises StatusError, INVALID_ARGUMENT, for no model_spec or no tensor."""
    if isinstance(request, Predict):
        return request
    return Predict(spec_of(request), from_protos(request.inputs), tuple(request.output_filter))


def spec_of(message: Any) -> ModelSpec:
    """Return the model_spec of a request or a task. Raises StatusError if there is none."""
    if not message.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    return as_spec(message.model_spec)


def as_spec(spec: model_pb2.ModelSpec) -> ModelSpec:
    """Return a ModelSpec message as the core takes it."""
    version = spec.version.value if spec.HasField("version") else None
    return ModelSpec(spec.name, version, spec.version_label or None, spec.signature_name)


def _layout_of(data: bytes, message: Any) -> _Layout | None:
    """Return the layout of a request that was parsed, None unless its inputs are [1] of a float each.

    Which float is whose is told by the parser: it gets the same bytes with a number of its own in each place.
    """
    probe = bytearray(data)
    try:
        starts = list(_floats(data))
        for index, start in enumerate(starts, 1):  # a missing value reads as 0
            struct.pack_into("<f", probe, start, index)
        like = content_of(predict_pb2.PredictRequest.FromString(bytes(probe)))
    except (StatusError, ValueError, DecodeError):
        return None
    owners = {float(value[0]): alias for alias, value in like.inputs.items() if _is_single(value)}
    numbers = range(1, len(starts) + 1)
    if len(starts) != len(message.inputs) or sorted(owners) != list(numbers):
        return None
    places = np.array(starts)[:, np.newaxis] + np.arange(_FLOAT.itemsize)
    mask = np.full(len(data), 255, np.uint8)
    mask[places] = 0
    fixed = (np.frombuffer(data, np.uint8) & mask).tobytes()
    return _Layout(mask, fixed, places, tuple(owners[number] for number in numbers), like)


def _is_single(value: Array) -> bool:
    return value.dtype == _FLOAT and value.shape == (1,)


def _floats(data: bytes) -> Iterator[int]:
    """Yield where each float lies that is alone in an input's values. Raises ValueError for groups."""
    for entry in _fields(data, 0, len(data), _INPUTS):
        for tensor in _fields(data, *entry, _VALUE):
            for start, end in chain.from_iterable(_fields(data, *tensor, f) for f in (_TENSOR_CONTENT, _FLOAT_VAL)):
                if end - start == _FLOAT.itemsize:
                    yield start


def _fields(data: bytes, position: int, stop: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each value of a field, in a message that was parsed. Raises ValueError for groups."""
    while position < stop:
        tag, start = read_varint(data, position)
        wire_type = tag & 7
        if wire_type == _VARINT:
            _, position = read_varint(data, start)
        elif wire_type == _BYTES:
            size, start = read_varint(data, start)
            position = start + size
        elif wire_type in _FIXED:
            position = start + _FIXED[wire_type]
        else:
            raise ValueError("a group")
        if tag >> 3 == wanted and wire_type != _VARINT:
            yield start, position
