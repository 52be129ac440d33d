from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import DataError
from components.tasks import task_of
from components.tasks.classification import Classification

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reader(transform_output: Any, breast_cancer: Any) -> Any:
    from components.training.dataset import SplitReader

    return SplitReader(transform_output, breast_cancer.data.label, task_of(breast_cancer.data))


def test_a_split_that_fits_is_read_into_memory(reader: Any, pipeline_run: Any) -> None:
    split = reader.read(pipeline_run.split("eval"), limit_mb=1)
    assert split.features["numeric"].shape == (split.rows, 30)
    assert np.bincount(split.targets).tolist() == list(split.described.counts)


def test_beyond_the_limit_the_same_rows_are_streamed(reader: Any, pipeline_run: Any) -> None:
    whole = reader.read(pipeline_run.split("train"), limit_mb=1)
    streamed = reader.read(pipeline_run.split("train"), limit_mb=0)
    assert (streamed.features, streamed.targets) == (None, None)
    assert (streamed.rows, streamed.described) == (whole.rows, whole.described)
    batches = list(streamed.stream.as_numpy_iterator())
    np.testing.assert_array_equal(np.concatenate([f["numeric"] for f, _ in batches]), whole.features["numeric"])
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), whole.targets)


def test_rows_are_those_that_were_written(reader: Any, pipeline_run: Any) -> None:
    found = pipeline_run.run.step("FileBasedExampleGen").outputs["examples"][0].custom_properties
    for name in ("train", "eval", "test"):
        assert reader.read(pipeline_run.split(name), 1).rows == found[f"rows_{name}"].int_value


def test_training_rows_are_standardized(reader: Any, pipeline_run: Any) -> None:
    numbers = reader.read(pipeline_run.split("train"), 1).features["numeric"]
    np.testing.assert_allclose(numbers.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(numbers.std(axis=0), 1, atol=1e-4)


def test_an_unknown_label_is_refused(transform_output: Any, pipeline_run: Any) -> None:
    from components.training.dataset import SplitReader

    with pytest.raises(DataError, match="no known label"):
        SplitReader(transform_output, "diagnosis", Classification(("B", "X"), 1)).read(pipeline_run.split("eval"), 1)


def test_a_few_rows_are_transformed_as_the_split_is(reader: Any, pipeline_run: Any) -> None:
    from components.splits import some_rows

    rows = some_rows(pipeline_run.split("eval"), 10_000)
    whole = reader.read(pipeline_run.split("eval"), 1).features["numeric"]
    np.testing.assert_array_equal(reader.transform(rows)["numeric"], whole)


def test_an_empty_file_has_no_rows(reader: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(tmp_path / "empty.gz"), "GZIP"):
        pass
    split = reader.read([str(tmp_path / "empty.gz")], 1)
    assert (split.rows, split.described.counts) == (0, (0, 0))
