from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.server.rest.json_numbers import FEW, as_float32, decimal, decimals, nested


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9000000.0, "9e+06"),
        (999999.0, "999999.0"),
        (0.5, "0.5"),
        (0.0003, "0.0003"),
        (0.00003, "3e-05"),
        (555557.5, "555557.5"),
        (0.1, "0.1"),
        (16777216.0, "16777216.0"),
        (1 / 3, "0.333333343"),
        (3.0, "3.0"),
        (-0.0, "-0.0"),
        (1e-45, "1.4013e-45"),
        (3.4028234663852886e38, "3.40282347e+38"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
    ],
    ids=str,
)
def test_a_float32(value: float, text: str) -> None:
    assert decimal(as_float32(value), single=True) == text
    assert decimals(np.full(100, value, np.float32)) == [text] * 100


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1 / 3, "0.33333333333333331"),
        (1e17, "1e+17"),
        (123456789.0, "123456789.0"),
        (1e300, "1e+300"),
        (5e-324, "4.94066e-324"),
    ],
    ids=str,
)
def test_a_float64(value: float, text: str) -> None:
    assert decimal(value, single=False) == text
    assert decimals(np.full(100, value)) == [text] * 100


def _numbers() -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    powers = 10.0 ** np.arange(-44, 39)
    digits = rng.integers(-(10**7), 10**7, len(powers))
    short = np.array([float(f"{digit}e{power}") for digit, power in zip(digits, range(-44, 39), strict=True)])
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf] * 20)
    bits = rng.integers(0, 2**63, 3000).view(np.float64)
    beside = np.concatenate([np.nextafter(powers, 0), np.nextafter(powers, np.inf)])
    whole = np.concatenate(
        [2.0 ** np.arange(-90, 90), np.arange(999_950, 1_000_050), np.arange(1e17 - 1600, 1e17 + 1600, 16)]
    )
    return [
        powers,
        short,
        digits * powers,
        special,
        bits,
        beside,
        whole,
        -rng.random(3000),
        np.round(rng.random(500), 3),
        rng.integers(1, 2**24, 3000) / 2.0 ** rng.integers(0, 24, 3000),  # half of a last digit, often
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_numbers_are_written_as_each_by_itself(dtype: type) -> None:
    for values in _numbers():
        with np.errstate(all="ignore"):
            array = values.astype(dtype)
        assert decimals(array) == [decimal(value, dtype is np.float32) for value in array.tolist()]


def test_six_digits_only_if_they_read_back() -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(0, 2**32, 5000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    for value, text in zip(values.tolist(), decimals(values), strict=True):
        assert as_float32(float(text)) == value
        assert len(text.lstrip("-").split("e")[0].replace(".", "").strip("0")) <= 9


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_any_float32_is_written_as_by_itself(values: list[float]) -> None:
    many = np.resize(np.array(values, np.float32), FEW + 20)
    assert decimals(many) == [decimal(value) for value in many.tolist()]


@pytest.mark.parametrize("shape", [(120,), (60, 2), (4, 5, 6), (1, 1, 120), (2,) * 14], ids=str)
def test_lists_within_lists_are_joined_axis_by_axis(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(6)
    array = np.where(rng.random(shape) < 0.2, rng.choice([np.nan, -np.inf, 1e-9, 3e8], shape), rng.normal(size=shape))
    array = np.asfortranarray(array.astype(np.float32))
    between = [f"\n{axis}],[null" for axis in range(len(shape))]

    def joined(part: np.ndarray, axis: int) -> str:
        items = [joined(item, axis + 1) if item.ndim else decimal(float(item)) for item in part]
        return between[axis].join(items)

    assert nested(array, between) == joined(array, 0)
