import pytest

from components.data_gate.checks.overlap import row_overlaps
from components.data_gate.scan import Columns, survey

pytestmark = pytest.mark.slow


@pytest.fixture
def read_blocks():
    from components.data_gate.examples_reader import read_blocks

    return read_blocks


def example(**values) -> bytes:
    import tensorflow as tf

    kinds = {int: "int64_list", float: "float_list", bytes: "bytes_list"}
    features = {}
    for name, value in values.items():
        feature = tf.train.Feature()
        getattr(feature, kinds[type(value)]).value.append(value)
        features[name] = feature
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture
def write(tmp_path):
    import tensorflow as tf

    def _write(split: str, *examples: bytes) -> list[str]:
        file = str(tmp_path / f"{split}.gz")
        with tf.io.TFRecordWriter(file, tf.io.TFRecordOptions("GZIP")) as writer:
            for one in examples:
                writer.write(one)
        return [file]

    return _write


def test_rows_come_back_as_one_value_a_column(read_blocks, write):
    files = {"train": write("train", example(a=1, b=2.5, c=b"x"), example(a=2, c="ä".encode()), example(b=0.5))}
    (block,) = read_blocks(files)
    assert (block.split, block.first_row) == ("train", 0)
    assert {name: block.column(name).to_pylist() for name in "abcd"} == {
        "a": [1, 2, None],
        "b": [2.5, None, 0.5],
        "c": ["x", "ä", None],
        "d": [None, None, None],
    }


def test_a_copy_across_splits_is_found_on_disk(read_blocks, write):
    row = example(a=1.5, c=b"x", y=b"0")
    files = {"train": write("train", example(a=0.5, y=b"1"), row), "test": write("test", row)}
    found = survey(read_blocks(files), Columns(label="y"), ["a", "c"], {"train": 2, "test": 1}, seed=0)
    assert [s.kind for s in row_overlaps(found.content, ["a", "c"], False)] == ["SPLIT_OVERLAP"]


def test_an_empty_split_has_no_blocks(read_blocks, write):
    assert [*read_blocks({"eval": write("eval"), "test": []})] == []
