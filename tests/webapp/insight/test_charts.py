from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from common.draw.svg import LETTER, WIDTH
from tests.support.paths import ROOT
from webapp.insight.cases import Projection, projection_of
from webapp.insight.charts import BARS, MOST_BARS, gauge, histogram, line, scatter, waterfall
from webapp.insight.explain import Effect, Explanation
from webapp.models.catalog import Catalog, Field
from webapp.models.statistics import Stats
from webapp.wording import short

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert("1")</script> & co'
NAMED = re.compile(r"\.(chart[-\w]*)")
STYLED = set(NAMED.findall((ROOT / "webapp" / "static" / "charts.css").read_text(encoding="utf-8")))


def effects(*values: float, title: str = "Radius") -> Explanation:
    field = Field("radius", "numeric", "float", True, (), title, "mm", "", "", Stats())
    return Explanation("M", 0.2, 0.2 + sum(values), tuple(Effect((field,), value, 14.13) for value in values), 16)


@pytest.fixture
def plane(webapp_root: Path, tmp_path: Path) -> Projection:
    found = projection_of(Catalog(webapp_root / "serving", tmp_path).model_version("flowers", 1))
    assert found
    return found


def as_they_are(plane: Projection) -> dict[str, str]:
    return {label: label for label in plane.labels}


def parsed(chart: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(str(chart).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def classed(chart: Markup, name: str) -> list[ElementTree.Element]:
    return [element for element in parsed(chart).iter() if name in element.get("class", "").split()]


def words(chart: Markup) -> str:
    return " ".join("".join(element.itertext()) for element in parsed(chart).iter(f"{SVG}text"))


def described(chart: Markup) -> str:
    found = parsed(chart).findtext(f"{SVG}desc")
    assert found
    return found


@pytest.fixture(params=["gauge", "waterfall", "scatter", "histogram", "line"])
def chart(request: pytest.FixtureRequest, plane: Projection) -> Markup:
    made = {
        "gauge": lambda: gauge(0.7, 0.4, HOSTILE),
        "waterfall": lambda: waterfall(effects(0.3, -0.2, title=HOSTILE), HOSTILE),
        "scatter": lambda: scatter(plane, (0.0, 0.0), as_they_are(plane) | {HOSTILE: HOSTILE}),
        "histogram": lambda: histogram(HOSTILE, HOSTILE, [(0, 1, 3), (1, 2, 0)], {HOSTILE: 1.5}),
        "line": lambda: line(HOSTILE, HOSTILE, ["a", HOSTILE], [1, 2]),
    }
    return made[request.param]()


def test_every_chart_fits_any_width_and_tells_what_it_shows(chart: Markup) -> None:
    svg = parsed(chart)
    assert svg.get("viewBox", "").startswith(f"0 0 {WIDTH:g} ")
    assert (svg.get("width"), svg.get("role")) == (None, "img")
    assert [child.tag for child in svg][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert svg.findtext(f"{SVG}title")
    assert described(chart)


def test_no_chart_has_a_style_or_a_script_of_its_own(chart: Markup) -> None:
    assert isinstance(chart, Markup)
    for element in parsed(chart).iter():
        assert element.tag not in (f"{SVG}script", f"{SVG}style")
        assert not {"style", "fill", "stroke", "onclick"} & set(element.attrib)


def test_every_class_has_its_style(chart: Markup) -> None:
    used = {name for element in parsed(chart).iter() for name in element.get("class", "").split()}
    plain = {"chart-tick", "chart--waterfall", "chart--scatter", "chart--histogram", "chart--lines", "chart-here"}
    assert used - STYLED - plain == set()


def test_nothing_lies_outside_of_the_chart(chart: Markup) -> None:
    height = float(parsed(chart).get("viewBox", "").split()[3])
    for element in parsed(chart).iter():
        for key, most in (("x", WIDTH), ("y", height), ("cx", WIDTH), ("cy", height)):
            assert 0 <= float(element.get(key, 0)) <= most


@pytest.mark.parametrize(
    ("threshold", "side"),
    [(0.4, "up"), (0.7, "up"), (0.71, "down"), (None, "down")],
    ids=["over", "at", "under", "no threshold"],
)
def test_the_gauge_says_on_which_side_of_the_threshold(threshold: float | None, side: str) -> None:
    drawn = gauge(0.7, threshold, "M")
    assert len(classed(drawn, f"chart-bar--{side}")) == 1
    assert len(classed(drawn, "chart-rule")) == (threshold is not None)
    assert "70.0%" in described(drawn)


def test_the_waterfall_leads_from_the_usual_case_to_this_one() -> None:
    drawn = waterfall(effects(0.3, -0.15), "malignant")
    [up], [down] = classed(drawn, "chart-bar--up"), classed(drawn, "chart-bar--down")
    first, last = classed(drawn, "chart-bar--level")
    assert float(up.attrib["width"]) == pytest.approx(2 * float(down.attrib["width"]), abs=0.2)
    assert ends(first)[1] == pytest.approx(ends(up)[0], abs=0.2), "begins where the usual case ends"
    assert ends(down)[1] == pytest.approx(ends(up)[1], abs=0.2), "goes back from there"
    assert ends(last)[1] == pytest.approx(ends(down)[0], abs=0.2), "and ends where this case does"
    for told in ("usual case", "20.0%", "+30.0", "−15.0", "this case", "35.0%", "Probability of malignant"):
        assert told in words(drawn)


def ends(bar: ElementTree.Element) -> tuple[float, float]:
    return float(bar.attrib["x"]), float(bar.attrib["x"]) + float(bar.attrib["width"])


def test_beyond_the_first_steps_there_is_one_for_all_others() -> None:
    drawn = waterfall(effects(*([0.05] * (MOST_BARS - 1)), 0.02, -0.05), "M")
    assert len(classed(drawn, "chart-bar")) == MOST_BARS + 2
    assert "2 others" in words(drawn)
    assert "−3.0" in words(drawn)


def test_a_group_of_values_is_a_step() -> None:
    field = effects(0.0).effects[0].field
    drawn = waterfall(Explanation("M", 0.2, 0.3, (Effect((field, field, field), 0.1),), 16), "M")
    assert "3 others" in words(drawn)


def test_a_long_name_of_a_step_does_not_reach_the_bars() -> None:
    drawn = waterfall(effects(-0.1, title="W" * 80), "long " * 20)
    name = next("".join(e.itertext()) for e in parsed(drawn).iter(f"{SVG}text") if "W" in "".join(e.itertext()))
    assert 6 + LETTER * len(name) <= BARS[0]
    assert max(float(box.attrib["x"]) + float(box.attrib["width"]) for box in classed(drawn, "chart-bar")) < WIDTH - 40


def test_small_contributions_are_told_with_two_digits() -> None:
    drawn = waterfall(effects(0.002, -0.0001), "M")
    assert "+0.20" in words(drawn)
    assert "−0.01" in words(drawn)


def test_contributions_of_nothing_are_a_chart_too() -> None:
    assert "0.00" in words(waterfall(effects(0.0), "M"))
    assert len(classed(waterfall(effects(), "M"), "chart-bar")) == 2


def test_every_training_row_is_a_point_of_its_class_and_the_case_is_marked(plane: Projection) -> None:
    names = {label: f"Iris {label}" for label in as_they_are(plane)}
    drawn = scatter(plane, (float(plane.points[0, 0]), float(plane.points[0, 1])), names)
    for number, name in enumerate(names):
        assert f"Iris {name}" in words(drawn)
        assert len(classed(drawn, f"chart-fill--{number}")) == plane.labels.count(name) + 1, "and one in the legend"
    assert len(classed(drawn, "chart-here--ring")) == 1
    assert "this case" in words(drawn)
    assert "Of the 10 nearest to this case: 10 Iris setosa." in described(drawn)


def test_a_case_far_away_is_said_to_be(plane: Projection) -> None:
    assert "this case lies beyond" in words(scatter(plane, (1e9, -1e9), as_they_are(plane)))


def test_a_flat_plane_can_be_drawn(plane: Projection) -> None:
    flat = Projection(
        plane.points * [1, 0],
        plane.labels,
        plane.kinds,
        (1.0, 0.0),
        plane.encoder,
        plane.encoded,
        plane.centre,
        plane.axes,
    )
    assert "nan" not in scatter(flat, (0.0, 0.0), as_they_are(plane))


def test_a_histogram_is_as_high_as_its_counts_and_reaches_its_rules() -> None:
    drawn = histogram("Ages", "years", [(0, 10, 4), (10, 20, 0), (20, 30, 2)], {"this case": 45.0})
    high, low = (float(bar.attrib["height"]) for bar in classed(drawn, "chart-bar"))
    assert high == pytest.approx(2 * low, abs=0.2)
    assert len(classed(drawn, "chart-rule")) == 1
    assert described(drawn) == "Most often from 0 to 10. this case: 45."
    assert "40" in words(drawn), "the axis reaches as far as the rule"


def test_a_line_tells_its_last_value_and_its_ends() -> None:
    drawn = line("Load", "rows", list("abcde"), [1, 2, 0, 3, 2])
    assert len(classed(drawn, "chart-line--0")) == 1
    assert described(drawn) == "rows: last 2, from 0 to 3."


@pytest.mark.parametrize(
    ("value", "wanted"), [(0.123456, "0.1235"), (1500, "1,500"), (15_000, "15k"), (2.5e6, "2.5M"), (1e12, "1e+12")]
)
def test_numbers_are_told_in_four_digits(value: float, wanted: str) -> None:
    assert short(value) == wanted
