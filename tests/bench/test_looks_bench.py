from __future__ import annotations

import numpy as np

from bench.looks import EQUAL, draw, passes


def test_of_equal_candidates_few_series_have_one_that_passes() -> None:
    right = draw(300, EQUAL, 10, np.random.default_rng(1))
    before, now = (passes(right, 300, spends=spends).any(axis=1).mean() for spends in (False, True))
    assert before > 0.2
    assert now < 0.07


def test_a_good_model_passes_on_its_tenth_run_as_on_its_first() -> None:
    now = passes(draw(300, 0.97, 10, np.random.default_rng(2)), 300, spends=True)
    assert now[:, 0].mean() > 0.98
    assert now[:, 9].mean() > 0.98
