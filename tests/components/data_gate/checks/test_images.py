from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from components.data_gate.checks.images import header_leaks, picture_files
from components.examples.seen import Alike, Seen, Skipped
from config.data_settings import IMAGE_HEADER
from config.gate_settings import DATA_CHECKS


def sample(rows: int = 200, **columns: Any) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    labels = np.where(np.arange(rows) % 2, "rose", "tulip")
    values = {name: rng.normal(size=rows).astype(np.float32) for name in IMAGE_HEADER}
    values |= {name: column(labels == "rose").astype(np.float32) for name, column in columns.items()}
    return {name: pa.array(column) for name, column in values.items()} | {"label": pa.array(labels)}


def test_a_size_that_tells_the_class_is_a_leak():
    [finding] = header_leaks(sample(width=lambda is_rose: np.where(is_rose, 640, 800)), "label", 0.995, 1)
    assert finding.kind == "IMAGE_LEAK"
    assert DATA_CHECKS[finding.kind] == "error"
    assert finding.details["most"] == "width"


def test_a_border_that_tells_nearly_all_is_told_of():
    rng = np.random.default_rng(2)
    [finding] = header_leaks(
        sample(border_green=lambda is_rose: np.where(rng.random(200) < 0.95, is_rose, ~is_rose)), "label", 0.995, 1
    )
    assert finding.kind == "IMAGE_POSSIBLE_LEAK"


def test_honest_pictures_have_no_leak():
    assert header_leaks(sample(), "label", 0.995, 1) == []


@pytest.mark.parametrize("rows", [0, 1, 12])
def test_too_few_pictures_say_nothing(rows):
    assert header_leaks(sample(rows, width=lambda is_rose: is_rose), "label", 0.995, 1) == []


def test_files_that_were_left_out_and_copies_are_findings():
    seen = Seen(
        100, (Skipped("a.txt", "NOT_AN_IMAGE", "no picture"),), 1, {"unsorted": 4}, (Alike(9, ("b", "c"), ()),), 9, 9
    )
    kinds = {finding.kind: finding.details["files"] for finding in picture_files(seen)}
    assert kinds == {
        "IMAGE_UNREADABLE": 1,
        "IMAGE_OUTSIDE_CLASSES": 4,
        "IMAGE_NEAR_DUPLICATES": 9,
        "IMAGE_LARGE_GROUP": 9,
    }
    assert picture_files(Seen(100)) == []
