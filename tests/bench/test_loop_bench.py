from __future__ import annotations

import numpy as np
import pytest

from bench.loop import Story


@pytest.mark.parametrize(("model", "rows"), [("heart_disease", 303), ("diabetes", 442)])
def test_moved_rows_come_on_top_of_the_real_ones_and_never_to_test(model: str, rows: int) -> None:
    story = Story(model)
    assert sum(len(y) for _, y in story.real) == rows
    seeds = (np.random.default_rng(1) for _ in range(2))
    (train, tuned, test), (_, _, lies) = (story.collected(400, rng, is_lying=bool(i)) for i, rng in enumerate(seeds))
    assert (len(train[1]) + len(tuned[1]), len(test[1]), len(lies[1])) == (400, 0, 0)
    assert train[0].shape[1] == story.real[0][0].shape[1]
    assert train[0][:, 0].mean() > story.real[0][0][:, 0].mean(), "the first number has moved"
