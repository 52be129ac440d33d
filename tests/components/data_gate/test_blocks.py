import pyarrow as pa
import pytest

from components.data_gate.blocks import flat


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        (pa.array([[1], None, [], [2]], pa.large_list(pa.int64())), [1, None, None, 2]),
        (pa.array([[1, 2], None], pa.large_list(pa.int64())), ["[1, 2]", None]),
        (pa.array([[b"\xff"], [b"a"]], pa.large_list(pa.large_binary())), ["\\xff", "a"]),
        (pa.nulls(2), [None, None]),
    ],
    ids=["missing", "several-values", "not-utf-8", "nothing"],
)
def test_lists_become_values(lists, expected):
    assert flat(lists).to_pylist() == expected
