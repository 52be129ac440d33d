"""Rows stay in their split whatever happens around them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from common.tables.splitting import Digest, RowSplitter, Splitter, TimeSplitter, row_hashes

WEIGHTS = (64, 16, 20)


def batch(rows: int = 2000, seed: int = 0) -> pa.RecordBatch:
    random = np.random.default_rng(seed)
    return pa.RecordBatch.from_pydict(
        {
            "x": pa.array(random.normal(size=rows).astype(np.float32)),
            "n": pa.array(random.integers(-5, 5, rows)),
            "t": pa.array(random.choice(["red", "größer", ""], rows)),
            "g": pa.array(random.choice([f"patient {i}" for i in range(200)], rows)),
            "y": pa.array(random.choice(["a", "b"], rows)),
        }
    )


def splitter(group_by: str | None = None, seed: int = 1) -> Splitter:
    return Splitter(WEIGHTS, "y", group_by, seed)


def test_hashes_are_the_same_for_ever() -> None:
    rows = pa.RecordBatch.from_pydict(
        {"x": pa.array([1.5, None], pa.float32()), "n": pa.array([3, -7]), "t": pa.array(["größer", None])}
    )
    assert row_hashes(rows, ["x", "n", "t"]).tolist() == [13394446200313756463, 5268293520037621800]


def test_weights_are_kept_about() -> None:
    shares = np.bincount(splitter().assign(batch(20_000)), minlength=3) / 20_000
    assert shares == pytest.approx(np.array(WEIGHTS) / 100, abs=0.015)


def test_old_rows_stay_when_rows_are_added_or_shuffled() -> None:
    rows = batch()
    before = splitter().assign(rows)
    order = np.random.default_rng(5).permutation(rows.num_rows)
    shuffled = pa.Table.from_batches([rows]).take(order).combine_chunks().to_batches()[0]
    assert (splitter().assign(shuffled) == before[order]).all()
    assert (splitter().assign(rows.slice(500, 100)) == before[500:600]).all()


def test_order_of_columns_does_not_matter() -> None:
    rows = batch()
    turned = pa.RecordBatch.from_arrays(rows.columns[::-1], rows.schema.names[::-1])
    assert (splitter().assign(rows) == splitter().assign(turned)).all()


def test_whole_numbers_hash_alike_as_int_and_float() -> None:
    ints = pa.RecordBatch.from_pydict({"n": pa.array([0, 3, -7, 2**24])})
    floats = pa.RecordBatch.from_pydict({"n": pa.array([-0.0, 3, -7, 2**24], pa.float32())})
    assert (row_hashes(ints, ["n"]) == row_hashes(floats, ["n"])).all()


def test_a_column_of_nulls_is_as_no_column() -> None:
    rows = batch()
    more = pa.RecordBatch.from_arrays(
        [*rows.columns, pa.nulls(rows.num_rows, pa.string())], [*rows.schema.names, "new"]
    )
    assert (splitter().assign(rows) == splitter().assign(more)).all()


def test_zero_is_not_missing_and_columns_are_told_apart() -> None:
    rows = pa.RecordBatch.from_pydict({"p": pa.array([0, None, 1]), "q": pa.array([None, 0, None], pa.int64())})
    assert len(set(row_hashes(rows, ["p", "q"]).tolist())) == 3


def test_rows_that_contradict_each_other_stay_together() -> None:
    rows = batch()
    flipped = [*rows.columns[:-1], pa.array(["b" if y == "a" else "a" for y in rows.column("y").to_pylist()])]
    contrary = pa.RecordBatch.from_arrays(flipped, rows.schema.names)
    assert (splitter().assign(rows) == splitter().assign(contrary)).all()


def test_groups_stay_together() -> None:
    rows = batch()
    groups = np.array(rows.column("g").to_pylist())
    assigned = splitter("g").assign(rows)
    assert all(len(set(assigned[groups == group])) == 1 for group in set(groups))
    assert set(assigned) == {0, 1, 2}


def test_without_group_by_the_same_groups_are_torn() -> None:
    rows = batch()
    groups = np.array(rows.column("g").to_pylist())
    assigned = splitter().assign(rows)
    assert any(len(set(assigned[groups == group])) > 1 for group in set(groups))


def test_another_seed_shares_out_otherwise() -> None:
    assert (splitter(seed=1).assign(batch()) != splitter(seed=2).assign(batch())).any()


def digest(*parts: pa.RecordBatch) -> str:
    total = Digest()
    for part in parts:
        total.add(part)
    return total.hexdigest()


def test_digest_is_the_same_in_any_order_and_blocks() -> None:
    rows = batch()
    assert digest(rows) == digest(rows.slice(700), rows.slice(0, 700))


def test_digest_sees_one_label_changed() -> None:
    rows = batch()
    labels = rows.column("y").to_pylist()
    labels[17] = "b" if labels[17] == "a" else "a"
    assert digest(rows) != digest(pa.RecordBatch.from_arrays([*rows.columns[:-1], pa.array(labels)], rows.schema.names))


def copies(rows: int = 1300, seed: int = 3) -> pa.RecordBatch:
    """Rows of twelve kinds, as titanic has them."""
    random = np.random.default_rng(seed)
    kinds = random.choice(12, rows, p=random.dirichlet(np.ones(12)))
    labels = random.choice(["no", "yes"], rows)
    return pa.RecordBatch.from_pydict({"x": pa.array(kinds), "y": pa.array(labels)})


def test_row_by_row_few_different_rows_keep_the_weights() -> None:
    shares = np.bincount(RowSplitter(WEIGHTS, 1).assign(copies(20_000)), minlength=3) / 20_000
    assert shares == pytest.approx(np.array(WEIGHTS) / 100, abs=0.015)
    whole = np.bincount(Splitter(WEIGHTS, "y", None, 1).assign(copies(20_000)), minlength=3) / 20_000
    assert np.abs(whole - np.array(WEIGHTS) / 100).max() > 0.05, "by content they cannot"


def dealt(rows: list[pa.RecordBatch]) -> dict[tuple[int, str, int], int]:
    """Return how many rows of each kind went to each split."""
    splitter, counts = RowSplitter(WEIGHTS, 1), {}
    for part in rows:
        for x, y, split in zip(*part.to_pydict().values(), splitter.assign(part).tolist(), strict=True):
            counts[x, y, split] = counts.get((x, y, split), 0) + 1
    return counts


def test_row_by_row_the_order_and_the_blocks_do_not_matter_and_rows_added_move_none() -> None:
    rows = copies()
    order = np.random.default_rng(5).permutation(rows.num_rows)
    shuffled = pa.Table.from_batches([rows]).take(order).combine_chunks().to_batches()[0]
    before = dealt([rows])
    assert dealt([shuffled]) == before
    assert dealt([rows.slice(0, 10), rows.slice(10, 700), rows.slice(710)]) == before
    after = dealt([copies(300, seed=9), rows])
    assert all(after.get(kind, 0) >= count for kind, count in before.items())


def test_by_time_the_latest_rows_test_and_rows_of_one_time_stay_together() -> None:
    times = np.random.default_rng(2).permutation(np.repeat(np.arange(100.0), 3))
    splitter = TimeSplitter(WEIGHTS, times)
    splits = splitter.assign(times)
    assert [times[splits == i].max() for i in (0, 1)] < [times[splits == i].min() for i in (1, 2)]
    assert times[splits == 2].min() == splitter.test_from == 80
    assert np.bincount(splits).tolist() == [192, 48, 60]
