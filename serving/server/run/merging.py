"""Arrays of several requests as those of one run, and its outputs as those of several."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.server.status import failed_precondition, invalid_argument

Array = NDArray[Any]


def rows_of(values: Sequence[Array]) -> int:
    """Return the size of dimension 0, which all inputs of a request share. Raises INVALID_ARGUMENT if they do not."""
    try:
        sizes = set(map(len, values))
    except TypeError:  # a scalar has no length
        raise invalid_argument("Batching Run() input tensors must have at least one dimension") from None
    if len(sizes) > 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def merge(requests: Sequence[Sequence[Array]], padding: int, is_length_variable: bool = False) -> list[Array]:
    """Join requests input by input, in order, and repeat a row `padding` times.

    With `is_length_variable` shorter inputs are filled up with their first element. Raises StatusError,
    INVALID_ARGUMENT or FAILED_PRECONDITION, if their shapes cannot be joined.
    """
    if len(requests) == 1 and not padding:
        return list(requests[0])
    merged = []
    for parts in zip(*requests, strict=True):
        if is_length_variable:
            parts = tuple(_filled_up(parts))
        if padding:
            valid = next(part for part in reversed(parts) if len(part))
            parts = (*parts, np.repeat(valid[:1], padding, axis=0))
        try:
            merged.append(np.concatenate(parts))
        except ValueError as error:
            raise failed_precondition(
                "Tensors from different tasks have different shapes and padding is turned off. Set "
                "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal "
                "dimensions starting with the first dim."
            ) from error
    return merged


def split(outputs: Sequence[Array], rows: Sequence[int], padding: int) -> list[list[Array]]:
    """Return each request's share of the outputs. Raises FAILED_PRECONDITION if an output does not have their rows."""
    ends = list(accumulate(rows))
    for output in outputs:
        if output.ndim == 0:
            raise failed_precondition("Batched output tensor has 0 dimensions")
        if len(output) != ends[-1] + padding:
            raise failed_precondition(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors"
            )
    if len(rows) == 1 and not padding:
        return [list(outputs)]
    return [[output[end - size : end] for output in outputs] for size, end in zip(rows, ends, strict=True)]


def _filled_up(parts: Sequence[Array]) -> list[Array]:
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) == 1:
        return list(parts)
    if len({len(shape) for shape in shapes}) > 1 or parts[0].ndim > 6:
        raise invalid_argument("Only tensors with rank from 1 to 6 can be padded.")
    widest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    filled = []
    for part in parts:
        if part.shape[1:] != widest and not part.size:
            raise invalid_argument("Got empty tensor in batch of non-empty tensors.")
        whole = np.full((len(part), *widest), part.flat[0] if part.size else 0, part.dtype)
        whole[tuple(slice(size) for size in part.shape)] = part
        filled.append(whole)
    return filled
