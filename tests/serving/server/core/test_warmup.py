from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.server.core.plans import CLASSIFY, REGRESS
from serving.server.status import Code, StatusError
from tests.support.serving import models

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = models.half_plus(tmp_path_factory.mktemp("warm") / "1")
    (made / "assets.extra").mkdir()
    return made


@pytest.fixture(scope="module")
def half(folder: Path) -> Iterator[Any]:
    from serving.server.core.servable import Servable

    loaded = Servable.load(folder)
    yield loaded
    loaded.close()


def write(folder: Path, *records: bytes) -> Path:
    import tensorflow as tf

    from serving.server.core.loading import WARMUP_FILE

    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for record in records:
            writer.write(record)
    return folder / WARMUP_FILE


def log(kind: str, signature: str, value: Any = None) -> bytes:
    """Return a serialized PredictionLog whose model_spec names another model and version."""
    from tensorflow_serving.apis import prediction_log_pb2

    from serving.server.core.tensors import to_proto

    made = prediction_log_pb2.PredictionLog()
    request = getattr(made, kind).request
    if kind == "multi_inference_log":
        for method, name in ((CLASSIFY, "classify_both"), (REGRESS, signature)):
            task = request.tasks.add(method_name=method)
            task.model_spec.signature_name = name
    else:
        request.model_spec.name, request.model_spec.version.value = "another", 99
        request.model_spec.signature_name = signature
    if kind == "predict_log":
        to_proto(np.float32([1]) if value is None else value, request.inputs["x"])
    else:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(1)
    return bytes(made.SerializeToString())


def refusal(servable: Any, folder: Path) -> StatusError:
    from serving.server.core.loading import replay

    with pytest.raises(StatusError) as raised:
        replay(servable, folder)
    return raised.value


def test_every_kind_of_call_is_replayed(half: Any, folder: Path) -> None:
    from serving.server.core.loading import replay

    write(
        folder,
        log("predict_log", ""),
        log("classify_log", "classify_both"),
        log("regress_log", "regress_x_to_y"),
        log("multi_inference_log", "regress_x_to_y2"),
        b"",  # a log of no kind
    )
    half._callables.clear()
    assert replay(half, folder) == 5
    assert len(half._callables) == 4


def test_no_file_is_fine(half: Any, tmp_path: Path) -> None:
    from serving.server.core.loading import replay

    assert replay(half, tmp_path) == 0


def test_each_record_runs_as_often_as_asked(tmp_path: Path) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    from serving.server.core.loading import replay
    from serving.server.core.servable import Servable

    folder = models.counter(tmp_path / "1")
    (folder / "assets.extra").mkdir()

    made = prediction_log_pb2.PredictionLog()
    made.predict_log.request.model_spec.signature_name = "incr_counter"
    write(folder, made.SerializeToString())
    counter = Servable.load(folder)
    assert replay(counter, folder, 3) == 1
    assert counter.run("get_counter", {})["output"] == 3
    counter.close()


@pytest.mark.parametrize(
    ("record", "code", "message"),
    [
        (lambda: log("predict_log", "no"), Code.FAILED_PRECONDITION, 'Serving signature key "no" not found.'),
        (lambda: log("predict_log", "", np.array([True])), Code.INVALID_ARGUMENT, "Expects arg[0] to be float but"),
        (lambda: log("regress_log", "no"), Code.INVALID_ARGUMENT, "No signature was found with the name: no"),
        (lambda: log("regress_log", "wrong_batch"), Code.INVALID_ARGUMENT, "Input batch size did not match"),
        (lambda: b"\x2a\x00", Code.UNIMPLEMENTED, "Unsupported log_type for warmup: 5"),
        (lambda: b"\xff no log", Code.INVALID_ARGUMENT, "Failed to parse warmup record: \ufffd no log from "),
    ],
    ids=["signature", "type", "classify", "result", "session run", "no log"],
)
def test_a_request_that_fails_fails_the_load(half: Any, folder: Path, record: Any, code: Code, message: str) -> None:
    write(folder, log("predict_log", ""), record())
    failed = refusal(half, folder)
    assert failed.code is code
    assert failed.message.startswith(message)


def test_more_records_than_allowed_are_refused(half: Any, folder: Path) -> None:
    path = write(folder, *[log("predict_log", "")] * 1001)
    failed = refusal(half, folder)
    assert str(failed) == f"INVALID_ARGUMENT: Number of warmup records exceeds the maximum (1000) at {path}"


@pytest.mark.parametrize("spoil", [lambda whole: b"no records at all", lambda whole: whole[:-3]], ids=["other", "cut"])
def test_a_file_of_no_records_is_refused(half: Any, folder: Path, spoil: Any) -> None:
    path = write(folder, log("predict_log", ""))
    path.write_bytes(spoil(path.read_bytes()))
    failed = refusal(half, folder)
    assert failed.code is Code.DATA_LOSS
    assert failed.message.endswith(". Please verify your warmup data is in TFRecord format.")


def test_what_the_pipeline_wrote_replays(pipeline_run: Any) -> None:
    from serving.server.core.loading import replay
    from serving.server.core.servable import Servable

    version = pipeline_run.serving / "1"
    loaded = Servable.load(version)
    assert replay(loaded, version) > 0
    loaded.close()
