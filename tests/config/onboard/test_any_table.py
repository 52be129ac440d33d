"""Whatever table comes, `init` describes it so that a run can read it, or says in words why not."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import ConfigError, DataError
from components.examples.component import count_rows
from config.load import load_settings
from config.onboard.init import Wishes, onboard

ROWS = st.integers(50, 90)
NULLS = st.sampled_from(["", "NA", "?", "-", "n/a", " ", "-999", "unknown"])
NAMES = st.one_of(
    st.sampled_from(["age", "Age", "id", "first name", "self", "label ", "a,b", 'say "x"', "дата", "1.5", "#x", "_x"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8),
)
VALUES: dict[str, st.SearchStrategy[str]] = {
    "floats": st.floats(-1e6, 1e6).map(lambda x: f"{x:.3f}"),
    "any floats": st.floats().map(str),
    "integers": st.integers(-50, 50).map(str),
    "large integers": st.integers(0, 2**70).map(str),
    "codes as floats": st.integers(1, 4).map(lambda n: f"{n}.0"),
    "zips": st.integers(0, 99999).map(lambda n: f"{n:05d}"),
    "decimal commas": st.floats(0, 1e5).map(lambda x: f"{x:.2f}".replace(".", ",")),
    "thousands": st.integers(0, 10**7).map(lambda n: f"{n:,}"),
    "percent": st.floats(0, 100).map(lambda x: f"{x:.1f}%"),
    "lab values": st.one_of(st.just("<0.3"), st.floats(0, 9).map(lambda x: f"{x:.1f}")),
    "days": st.dates().map(str),
    "American days": st.dates().map(lambda day: day.strftime("%m/%d/%Y")),
    "days in one": st.dates().map(lambda day: day.strftime("%Y%m%d")),
    "categories": st.sampled_from(["a", "b", " b", "B", "ccc", "CCC "]),
    "sentences": st.sampled_from(["he is well today", "she said no to that"]),
    "texts": st.text(max_size=6),
    "nothing": st.just(""),
    "always the same": st.just("x"),
}
LABELS = [
    st.sampled_from(["yes", "no"]),
    st.sampled_from(["1", "2"]),
    st.sampled_from(["0", "1", "1.0"]),
    st.sampled_from(["yes ", "no", "Yes", ""]),
    st.sampled_from(["NA", "EU", "AS"]),
    st.sampled_from([*["a"] * 9, *["b"] * 9, "c", "d"]),
    st.integers(0, 200).map(str),
    st.text(max_size=2),
]
ROLES = st.sampled_from(["numeric", "category", "text", "date", "id", "drop", "feature"])


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[str]], Wishes]:
    """Draw a header with rows whose last column is the label, and what the person says of it."""
    rows = draw(ROWS)
    kinds = draw(st.lists(st.sampled_from([*VALUES]), min_size=1, max_size=5))
    names = draw(st.lists(NAMES, min_size=len(kinds), max_size=len(kinds)))
    columns = []
    for kind in kinds:
        gap = draw(st.sampled_from([0, 0, 0, 5, 2]))
        values = VALUES[kind] if not gap else st.one_of(NULLS, *[VALUES[kind]] * gap)
        columns.append(draw(st.lists(values, min_size=rows, max_size=rows)))
    columns.append(draw(st.lists(draw(st.sampled_from(LABELS)), min_size=rows, max_size=rows)))
    roles = {names[0]: draw(ROLES)} if draw(st.booleans()) else {}
    return [[*names, "target"], *(list(row) for row in zip(*columns, strict=True))], Wishes(roles=roles)


def written(table: list[list[str]], delimiter: str, encoding: str, ends: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=ends).writerows(table)
    return out.getvalue().encode(encoding, "replace")


@pytest.mark.exhaustive
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    tables(),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_table_is_described_or_refused_in_words(
    drawn: tuple[list[list[str]], Wishes], delimiter: str, encoding: str, ends: str
) -> None:
    described_and_read(written(drawn[0], delimiter, encoding, ends), drawn[1])


def described_and_read(content: bytes, wishes: Wishes) -> Any:
    """Let `init` describe a table and read it as a run does; None if it is refused in words."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "drawn.csv"
        file.write_bytes(content)
        try:
            result = onboard(file, label="target", wishes=wishes, out=Path(folder) / "config")
        except (DataError, ConfigError):
            return None
        try:
            _, classes = count_rows(load_settings(result.config))
        except DataError as refused:
            if "is empty" in str(refused):  # few rows may leave a split without any
                return None
            raise
        assert classes == dict(result.classes)
        assert str(result)
        return result


def test_an_ordinary_drawn_table_is_described() -> None:
    rows = [["age", "share", "target"], *([f"{n % 40 + 20}", f"{n % 50}%", "ny"[n % 2]] for n in range(80))]
    assert described_and_read(written(rows, ";", "utf-16", "\n"), Wishes()).features == ("age", "share")
