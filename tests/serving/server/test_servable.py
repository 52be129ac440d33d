from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def servable(pipeline_run: Any) -> Any:
    from serving.server.servable import Servable

    loaded = Servable.load(pipeline_run.serving / "1")
    yield loaded
    loaded.close()


def test_three_signatures_are_loaded(servable: Any) -> None:
    assert {"serving_default", "serving_examples", "serving_packed"} <= set(servable.signatures)
    assert len(servable.signatures["serving_default"].inputs) == 30
    assert np.dtype(servable.dtype("serving_packed", "features")) == np.float32
    assert np.dtype(servable.dtype("serving_examples", "examples")) == np.object_


def test_text_goes_in_as_bytes(servable: Any) -> None:
    from serving.server.servable import as_array

    assert as_array(["Köln", b"Bern"], servable.dtype("serving_examples", "examples")).tolist() == [
        "Köln".encode(),
        b"Bern",
    ]
    assert as_array([1, 2.5], np.float32).dtype == np.float32


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_a_batch_of_any_size_is_answered(servable: Any, rows: int) -> None:
    out = servable.run("serving_packed", {"features": np.ones((rows, 30), np.float32)})
    assert out["probabilities"].shape == (rows, 2)
    assert out["probability"].shape == out["label"].shape == (rows,)


@pytest.mark.parametrize(
    ("signature", "inputs"), [("no_such", {}), ("serving_packed", {"fatures": np.ones((1, 30), np.float32)})]
)
def test_an_unknown_name_is_a_key_error(servable: Any, signature: str, inputs: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        servable.run(signature, inputs)


def test_bytes_that_are_no_example_are_refused(servable: Any) -> None:
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError):
        servable.run("serving_examples", {"examples": np.array([b"no example"], dtype=object)})


def test_what_cannot_be_loaded_is_refused(pipeline_run: Any, tmp_path: Path) -> None:
    from serving.server.servable import Servable

    with pytest.raises((OSError, RuntimeError)):
        Servable.load(tmp_path)
    with pytest.raises(RuntimeError, match="tag"):
        Servable.load(pipeline_run.serving / "1", tags=("gpu",))


def test_two_versions_do_not_share_a_graph(servable: Any, pipeline_run: Any) -> None:
    from serving.server.servable import Servable

    other = Servable.load(pipeline_run.serving / "1")
    other.close()
    out = servable.run("serving_packed", {"features": np.ones((1, 30), np.float32)})
    assert np.isfinite(out["probability"]).all()
