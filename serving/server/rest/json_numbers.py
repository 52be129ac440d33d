"""Floats as the model server writes them: six digits if they read back as the same number, else all that are needed.

`%g` if that reads back as the same float32 or float64, else 9 or 17 digits; `.0` where there is neither point nor
exponent; NaN, Infinity and -Infinity bare.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

_FLOAT32 = struct.Struct("f")
_EXACT_POWER = 22  # powers of ten up to here are exact in float64, so one division rounds as a parser does
_POWERS = np.array([float(f"1e{power}") for power in range(-50, 51)])
FEW = 72  # below, one number after the other is quicker than whole-array steps
_LEAST, _LIMIT = 1e-4, 1e6  # between, a float32 is written without an exponent, be it with six digits or with nine
_TENS = np.array([float(f"1e{power}") for power in range(-3, 6)])
_SIX = np.array([float(f"1e{power}") for power in range(9, -1, -1)])  # what makes six digits left of the point
_NINE = _SIX * 1000
_MARKS = 0x80  # bytes from here on are in no ASCII text


def decimal(value: float, single: bool = True) -> str:
    """Return one float as JSON; `single` if it is a float32."""
    text = f"{value:g}"
    back = float(text)
    if back != value and not (single and as_float32(back) == value):
        if value != value:
            return "NaN"
        text = f"{value:.9g}" if single else f"{value:.17g}"
    elif text[-1] == "f":
        return text.replace("inf", "Infinity")
    return text if "." in text or "e" in text else text + ".0"


def as_float32(value: float) -> float:
    """Return the nearest float32, infinity if it is too big for one."""
    try:
        return float(_FLOAT32.unpack(_FLOAT32.pack(value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def decimals(values: NDArray[np.floating[Any]]) -> list[str]:
    """Return the floats of a flat float32 or float64 array as JSON, each exactly as `decimal` writes it."""
    if values.dtype == np.float32 and len(values) > FEW:
        return nested(values, "\n").split("\n")
    return _printed(values)


def nested(values: NDArray[np.floating[Any]], between: Sequence[str]) -> str:
    """Return a filled float32 array as JSON without its outer brackets, `between[axis]` between an axis's items.

    Nine digits of a float32 are those of the float64 nearest to them, which the quickest of writers knows how to find.
    """
    with np.errstate(invalid="ignore"):  # NaN, of whatever bits
        numbers = values.astype(np.float64, order="C")
        exact = np.abs(numbers)
        others = ~((exact >= _LEAST) & (exact < _LIMIT) | (exact == 0))
    exact[others] = 0
    # Exact products: 24 bits by a power of ten up to 12. Ties go to even, as in printf.
    size = np.searchsorted(_TENS, exact, "right")
    six, nine = _SIX[size], _NINE[size]
    short = np.rint(exact * six) / six
    digits = np.where(short.astype(np.float32) == exact, short, np.rint(exact * nine) / nine)
    digits = np.copysign(digits, numbers)
    digits[others] = np.nan  # written as null
    text = orjson.dumps(digits, option=orjson.OPT_SERIALIZE_NUMPY)[values.ndim : -values.ndim].decode()
    gaps = values[others]
    pieces = [""] * (2 * len(gaps) + 1)
    pieces[::2], pieces[1::2] = text.split("null"), _printed(gaps)
    json = "".join(pieces).encode()  # bytes are searched faster than text
    for depth in range(values.ndim - 1, 0, -1):
        json = json.replace(b"]" * depth + b"," + b"[" * depth, bytes([_MARKS + depth]))
    json = json.replace(b",", between[-1].encode())
    for depth in range(1, values.ndim):
        json = json.replace(bytes([_MARKS + depth]), between[-1 - depth].encode())
    return json.decode()


def _printed(values: NDArray[np.floating[Any]]) -> list[str]:
    """Return the floats of a flat array as JSON: one `%` for all is faster than one each."""
    single = values.dtype == np.float32
    if len(values) <= FEW:
        return [decimal(number, single) for number in values.tolist()]
    with np.errstate(invalid="ignore"):
        formats = _formats(values, single)
    return ("\n".join(formats) % tuple(values.tolist())).split("\n")


def _formats(values: NDArray[np.floating[Any]], single: bool) -> list[str]:
    """Return the printf format of every value."""
    short, doubtful = _reads_back(values)
    whole = np.isfinite(values) & (values == np.rint(values))
    plain = np.abs(values) < np.where(short, 1e6, 1e9 if single else 1e17)
    kind = 2 * (whole & plain) + ~short
    digits = 9 if single else 17
    table = np.array(
        ["%g", f"%.{digits}g", "%g.0", f"%.{digits}g.0", "%.0sNaN", "%.0sInfinity", "%.0s-Infinity"], object
    )
    kind = np.where(np.isnan(values), 4, np.where(np.isposinf(values), 5, np.where(np.isneginf(values), 6, kind)))
    formats: list[str] = table[kind].tolist()
    for index in np.flatnonzero(doubtful).tolist():
        formats[index] = "%.0s" + decimal(float(values[index]), single)
    return formats


def _reads_back(values: NDArray[np.floating[Any]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where six digits read back as the same number, and where whole-array arithmetic cannot tell."""
    exact = np.abs(values.astype(np.float64))
    known = (exact > 1e-16) & (exact < 1e27)  # false for zero, NaN and infinity
    exact = np.where(known, exact, 1.0)
    power = np.floor(np.log10(exact)).astype(np.int64)
    power += exact >= _POWERS[power + 51]
    power -= exact < _POWERS[power + 50]
    shift = 5 - power
    up, down = _POWERS[50 + np.maximum(shift, 0)], _POWERS[50 + np.maximum(-shift, 0)]
    rounded = np.rint(exact * up / down) * down / up
    if values.dtype == np.float32:
        rounded = rounded.astype(np.float32)
    same = rounded == np.where(known, np.abs(values), 1.0).astype(values.dtype)
    return np.where(known, same, values == 0), ~known & np.isfinite(values) & (values != 0)
