from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.server.status import Code, StatusError
from tests.support.serving import models

pytestmark = pytest.mark.slow

X, Y = ("x:0",), ("y:0",)


@pytest.fixture(scope="module")
def servable(pipeline_run: Any) -> Iterator[Any]:
    from serving.server.core.servable import Servable

    loaded = Servable.load(pipeline_run.serving / "1")
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from serving.server.core.servable import Servable

    loaded = Servable.load(models.half_plus(tmp_path_factory.mktemp("half") / "1"))
    yield loaded
    loaded.close()


def test_three_signatures_are_loaded(servable: Any) -> None:
    assert {"serving_default", "serving_examples", "serving_packed"} <= set(servable.signatures)
    assert "__saved_model_init_op" in servable.signatures
    assert len(servable.signatures["serving_default"].inputs) == 30
    assert np.dtype(servable.dtype("serving_packed", "features")) == np.float32
    assert np.dtype(servable.dtype("serving_examples", "examples")) == np.object_


def test_text_goes_in_as_bytes(servable: Any) -> None:
    from serving.server.core.servable import as_array

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


@pytest.mark.parametrize("example", [b"no example", b"\xff\xfe"], ids=["text", "no text"])
def test_bytes_that_are_no_example_are_refused(servable: Any, example: bytes) -> None:
    with pytest.raises(StatusError) as raised:
        servable.run("serving_examples", {"examples": np.array([example], dtype=object)})
    assert raised.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (2, 2), (0,)], ids=str)
def test_values_are_fed_whatever_shape_the_placeholder_declares(half: Any, shape: tuple[int, ...]) -> None:
    value = np.full(shape, 3, np.float32)
    (y,) = half.call(X, Y, [value])
    assert type(y) is np.ndarray
    assert y.dtype == np.float32
    assert y.tolist() == (value / 2 + 2).tolist()


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (np.array([True]), "bool"),
        (np.array([1.0]), "double"),
        (np.array([b"1"], dtype=object), "string"),
        (np.array([1], np.uint8), "uint8"),
        (np.array([1], np.float16), "half"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_type_is_refused_and_never_cast(half: Any, value: Any, type_: str) -> None:
    with pytest.raises(StatusError) as raised:
        half.call(X, Y, [value])
    assert str(raised.value) == f"INVALID_ARGUMENT: Expects arg[0] to be float but {type_} is provided"


@pytest.mark.parametrize(("feeds", "fetches"), [(("no:0",), Y), (X, ("no:0",)), (("x",), Y)], ids=str)
def test_a_signature_of_tensors_that_are_not_there_is_refused(half: Any, feeds: Any, fetches: Any) -> None:
    with pytest.raises(StatusError) as raised:
        half.call(feeds, fetches, [np.ones(1, np.float32)])
    assert raised.value.code is Code.INVALID_ARGUMENT


def test_state_in_the_graph_persists_and_a_call_may_have_no_input(tmp_path: Path) -> None:
    from serving.server.core.servable import Servable

    counter = Servable.load(models.counter(tmp_path / "1"))
    assert [counter.run("incr_counter", {})["output"].tolist() for _ in range(2)] == [1.0, 2.0]
    assert counter.run("incr_counter_by", {"delta": np.array(3, np.float32)})["output"] == 5
    assert counter.run("get_counter", {})["output"].shape == ()
    counter.close()


def test_calls_of_functions_are_loaded_whatever_ties_them_to_other_nodes(tmp_path: Path) -> None:
    import tensorflow as tf

    from serving.server.core.servable import Servable

    def build(v1: Any) -> dict[str, Any]:
        pair = tf.function(lambda x: (2 * x, -x), input_signature=[tf.TensorSpec([None], tf.float32)])
        function = pair.get_concrete_function()
        function.add_to_graph()
        v1.Variable(0.0, name="weight")  # a SavedModel needs something to restore
        x = v1.placeholder(v1.float32, [None], name="x")

        def call(value: Any) -> Any:
            return tf.raw_ops.PartitionedCall(args=[value], Tout=[tf.float32] * 2, f=function)

        outputs = {"free": call(x)[0]}
        with v1.control_dependencies([v1.no_op()]):
            outputs["after"] = call(x)[0]
        with v1.colocate_with(x.op):
            outputs["beside"] = call(x)[0]
        outputs["of_second"] = call(call(x)[1])[0]
        return {"s": models.signature(models.PREDICT, {"x": x}, outputs)}

    servable = Servable.load(models.save(tmp_path / "calls", build))
    outputs = servable.run("s", {"x": np.array([1.5], np.float32)})
    assert {name: value.tolist() for name, value in outputs.items()} == {
        "free": [3.0],
        "after": [3.0],
        "beside": [3.0],
        "of_second": [-3.0],
    }
    servable.close()


def test_text_comes_back_whole_as_bytes(tmp_path: Path) -> None:
    from serving.server.core.servable import Servable

    text = Servable.load(models.text(tmp_path / "1"))
    for value in (np.array(b"A\x00\xff\x00", dtype=object), np.array([[b"A", b""]], dtype=object)):
        lower = text.run("serving_default", {"text": value})["text_bytes"]
        assert lower.dtype == np.object_
        assert lower.tolist() == np.vectorize(bytes.lower, otypes=[object])(value).tolist()
    text.close()


def test_threads_may_call_at_once(half: Any) -> None:
    answers: dict[int, list[float]] = {}

    def call(index: int) -> None:
        answers[index] = [half.call(X, Y, [np.float32([index])])[0].item() for _ in range(50)]

    threads = [threading.Thread(target=call, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {index: [index / 2 + 2] * 50 for index in range(8)}


def test_the_sets_of_outputs_kept_ready_are_bounded(half: Any) -> None:
    from serving.server.core import servable

    for _ in range(2):
        for count in range(1, servable._MAX_CALLABLES + 5):
            assert len(half.call(X, Y * count, [np.float32([1])])) == count
    assert len(half._callables) == servable._MAX_CALLABLES


def test_tags_match_one_graph_exactly(tmp_path: Path) -> None:
    from serving.server.core.servable import Servable

    folder = models.save(
        tmp_path / "1", lambda v1: {"s": models.signature("", {}, {"c": v1.constant(1.0)})}, ("a", "b")
    )
    for tags in (("a",), ("serve",), ("a", "b", "c")):
        words = f"NOT_FOUND: Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. To inspect"
        with pytest.raises(StatusError) as raised:
            Servable.load(folder, tags)
        assert str(raised.value).startswith(words)
    loaded = Servable.load(folder, ("b", "a"))
    assert loaded.run("s", {})["c"] == 1
    loaded.close()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        pytest.param(lambda folder: (folder / "saved_model.pb").unlink(), Code.NOT_FOUND, id="no SavedModel"),
        pytest.param(lambda folder: _cut(folder / "saved_model.pb", 100), Code.DATA_LOSS, id="SavedModel cut"),
        pytest.param(lambda folder: _cut(_weights(folder), 4), Code.OUT_OF_RANGE, id="weights cut"),
    ],
)
def test_a_broken_folder_is_refused(tmp_path: Path, spoil: Any, code: Code) -> None:
    from serving.server.core.servable import Servable

    folder = models.half_plus(tmp_path / "1")
    spoil(folder)
    with pytest.raises(StatusError) as raised:
        Servable.load(folder)
    assert raised.value.code is code


def _weights(folder: Path) -> Path:
    return next((folder / "variables").glob("*.data-*"))


def _cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def test_nothing_is_said_of_deprecation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import tensorflow as tf

    from serving.server.core.servable import Servable

    folder = models.half_plus(tmp_path / "1")
    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    caplog.clear()
    Servable.load(folder).close()
    logger.removeHandler(caplog.handler)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_session_takes_its_configuration(tmp_path: Path) -> None:
    from tensorflow.core.protobuf import config_pb2

    from serving.server.core.servable import Servable

    config = config_pb2.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    loaded = Servable.load(models.half_plus(tmp_path / "1"), session_config=config)
    assert loaded.session._config == config
    loaded.close()


def test_two_versions_do_not_share_a_graph(tmp_path: Path, half: Any) -> None:
    from serving.server.core.servable import Servable

    other = Servable.load(models.half_plus(tmp_path / "2", 3.0))
    value = np.float32([2])
    assert other.call(X, Y, [value])[0] == 4
    other.close()
    assert half.call(X, Y, [value])[0] == 3


@pytest.mark.exhaustive
def test_memory_is_given_back(tmp_path: Path) -> None:
    from serving.server.core.servable import Servable

    folder = models.half_plus(tmp_path / "1")

    def reload(times: int) -> int:
        for _ in range(times):
            loaded = Servable.load(folder)
            loaded.run("serving_default", {"x": np.ones(1000, np.float32)})
            loaded.close()
        return int(Path("/proc/self/statm").read_text().split()[1])

    early = reload(3)
    assert reload(10) <= 1.1 * early
