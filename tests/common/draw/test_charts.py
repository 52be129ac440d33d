from __future__ import annotations

import math
import re

import numpy as np
import pytest

from common.draw.charts import STYLE, Axis, Bars, Chart, Line, Mark
from common.draw.svg import PALETTE, Scale, clipped, ticks

UNIT = Axis()


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (1, 100, [25, 50, 75, 100]),
        (0, math.inf, [0]),
        (-3, 7, [-2.5, 0, 2.5, 5]),
        (0, 0.003, [0, 0.001, 0.002, 0.003]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, wanted: list[float]) -> None:
    np.testing.assert_allclose(ticks(low, high), wanted)


def test_a_place_off_the_scale_is_at_its_end() -> None:
    scale = Scale(0, 10, 100, 200)
    assert [scale(value) for value in (-5, 0, 5, 99)] == [100, 100, 150, 200]
    assert Scale(3, 3, 100, 200)(3) == 100


def test_a_long_name_is_cut() -> None:
    assert (clipped("abcdef", 6), clipped("abcdefg", 6)) == ("abcdef", "abcde…")


def test_the_palette_is_that_of_the_style_sheet() -> None:
    fills = re.findall(r"\.chart-fill--\d \{ fill: var\(--s\d, (#\w+)\); \}", STYLE.read_text(encoding="utf-8"))
    assert tuple(fills) == PALETTE


def test_undefined_values_are_gaps() -> None:
    drawing = Chart("t", "d", UNIT, UNIT, [Line("l", [(0, 0.5), (0.2, math.nan), (0.5, math.inf), (1, 1)])]).svg()
    assert "nan" not in drawing
    assert "inf" not in drawing
    assert drawing.count('class="chart-line chart-line--0"') == 2 + 1, "two stretches and the legend"


def test_an_undefined_mark_and_rule_are_left_out() -> None:
    chart = Chart("t", "d", UNIT, UNIT, marks=[Mark("m", math.nan, 0.5)], rules={"r": math.nan})
    assert "chart-mark" not in chart.svg()
    assert "chart-rule" not in chart.svg()


def test_series_share_the_width_of_a_bin() -> None:
    drawing = Chart("t", "d", UNIT, Axis(high=4), bars=[Bars("a", [(0, 1, 4)]), Bars("b", [(0, 1, 2)])]).svg()
    rects = re.findall(r'<rect class="chart-bar chart-fill--(\d)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawing)
    [(first, left, width), (second, right, _)] = rects
    assert (first, second) == ("0", "1")
    assert float(left) + float(width) < float(right)
    assert "a, 0 – 1: 4" in drawing


def test_dots_are_as_large_as_the_rows_behind_them() -> None:
    drawing = Chart("t", "d", UNIT, UNIT, [Line("l", [(0.2, 0.2), (0.8, 0.8)], rows=[1, 100])]).svg()
    small, large = (float(r) for r in re.findall(r'<circle class="chart-dot chart-fill--0" .*? r="([\d.]+)"', drawing))
    assert small < large / 2


def test_nothing_to_draw_is_said() -> None:
    chart = Chart("t", "d", UNIT, UNIT, [Line("l", [])], nothing="nothing yet")
    assert chart.is_empty
    assert "nothing yet" in chart.svg()
