"""How often test rows have judged: which evaluations count, and what they cost."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

pytestmark = pytest.mark.slow  # importing TensorFlow takes seconds
RNG = np.random.default_rng(5)


class SomeRows:
    """Serialized test rows, as SplitTables yields them."""

    def __init__(self, names: Any) -> None:
        self._rows = np.array([f"row {name}".encode() for name in names], object)

    def batches(self, split: str) -> Any:
        assert split == "test"
        half = len(self._rows) // 2
        yield from ((part, None) for part in (self._rows[:half], self._rows[half:]))


def sketch_of(names: Any) -> str:
    from components.evaluation.looks import sketch

    return sketch(SomeRows(names))  # type: ignore[arg-type]


@cache
def today() -> str:
    return sketch_of(range(1000))


def evaluations(*judged: tuple[int, int], rows: str = "") -> list[mlmd.Artifact]:
    """Return what ML Metadata has of candidates by their ids, each with whether it passed."""
    from components.evaluation.looks import CANDIDATE, PASSED, ROWS

    artifacts = []
    for number, (candidate, passed) in enumerate(judged, 1):
        artifact = mlmd.Artifact(id=number)
        artifact.custom_properties[CANDIDATE].int_value = candidate
        artifact.custom_properties[PASSED].int_value = passed
        artifact.custom_properties[ROWS].string_value = rows or today()
        artifacts.append(artifact)
    return artifacts


@pytest.mark.parametrize(
    ("judged", "looks"),
    [
        ((), (0, 0)),
        (((7, 0), (8, 0)), (2, 2)),
        (((7, 0), (8, 1)), (2, 0)),
        (((7, 1), (8, 0), (9, 0)), (3, 2)),
        (((7, 0), (7, 0)), (1, 1)),
        (((9, 0), (12, 0)), (1, 1)),
    ],
    ids=["first", "all refused", "one passed last", "refused since", "one twice", "itself does not count"],
)
def test_refusals_since_one_passed_are_counted(judged: Any, looks: tuple[int, int]) -> None:
    from components.evaluation.looks import Looks, count

    assert count(evaluations(*judged), today(), candidate=12) == Looks(*looks)


def test_an_evaluation_of_an_earlier_release_does_not_count() -> None:
    from components.evaluation.looks import Looks, count

    assert count([mlmd.Artifact(id=1)], today(), candidate=12) == Looks()


@pytest.mark.parametrize(
    ("earlier", "judged"),
    [(range(1000), 1), (range(50, 1000), 1), (range(700, 2000), 0), (range(1000, 2000), 0)],
    ids=["the same rows", "rows were added", "most are new", "another span"],
)
def test_only_a_judge_of_the_same_rows_counts(earlier: range, judged: int) -> None:
    from components.evaluation.looks import count

    assert count(evaluations((7, 0), rows=sketch_of(earlier)), today(), candidate=12).judged == judged


def test_a_fresh_dealing_of_the_same_table_starts_anew() -> None:
    from components.evaluation.looks import Looks, count, shared

    dealt = [sketch_of(RNG.permutation(5000)[:1000]) for _ in range(2)]
    assert shared(*dealt) == pytest.approx(0.2, abs=0.1)
    assert count(evaluations((7, 0), rows=dealt[0]), dealt[1], candidate=12) == Looks()


def test_the_share_is_estimated_however_much_the_splits_differ_in_size() -> None:
    from components.evaluation.looks import SKETCHED, shared

    small, large = range(100), range(20_000)
    assert shared(sketch_of(small), sketch_of(large)) == 1
    assert shared(sketch_of(large), sketch_of(small)) < 0.05
    assert shared(sketch_of([]), today()) == 0
    assert len(sketch_of(large).split()) == SKETCHED


def test_the_first_candidate_is_judged_as_configured_and_so_is_one_after_a_pass() -> None:
    from components.evaluation.looks import Looks

    assert Looks().confidence(0.95) == pytest.approx(0.95)
    assert Looks(judged=30).confidence(0.95) == pytest.approx(0.95)


def test_a_series_of_refusals_spends_no_more_than_stated() -> None:
    from components.evaluation.looks import Looks

    spent = [1 - Looks(refused, refused).confidence(0.95) for refused in range(1000)]
    assert spent == sorted(spent, reverse=True)
    assert sum(spent) < 1.65 * 0.05


def test_worn_rows_are_told_with_the_cure() -> None:
    from components.evaluation.looks import WORN_FROM, Looks

    assert Looks().finding(0.95) is None
    few, many = Looks(3, 2).finding(0.95), Looks(WORN_FROM - 1, 0).finding(0.95)
    assert few is not None
    assert many is not None
    assert (few.kind, few.severity) == ("TEST_ROWS_JUDGED", "info")
    assert (
        "judged 4 candidates, 2 refused since one passed, so that thresholds ask for 99.444% confidence" in few.sentence
    )
    assert (many.kind, many.severity) == ("TEST_ROWS_WORN", "warn")
    assert "a new span of data" in many.sentence
    assert "split.seed" in many.sentence
