"""A version's recorded requests, replayed before it becomes available."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.python.lib.io._pywrap_record_io import RecordIterator
from tensorflow_serving.apis import prediction_log_pb2

from serving.server.core.classify import ExamplesPlan, examples_call, examples_of, plan_examples, plan_multi
from serving.server.core.predict import CLASSIFY, DEFAULT_SIGNATURE, REGRESS, plan_predict
from serving.server.core.servable import Servable
from serving.server.core.tensors import from_proto
from serving.server.status import Code, StatusError, as_status, invalid_argument, unimplemented

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000

_QUOTED_BYTES = 256


def replay(servable: Servable, folder: Path, iterations: int = 1, check_method_name: bool = False) -> int:
    """Run each PredictionLog of the version in `folder` so many times; return how many there are, 0 without a file.

    Raises StatusError: a request's own, DATA_LOSS for a file that holds no TFRecords, INVALID_ARGUMENT for records
    that are no PredictionLog or too many, UNIMPLEMENTED for kinds that cannot be replayed.
    """
    path = folder / WARMUP_FILE
    if not path.exists():
        return 0
    records = 0
    for record in _records(path):
        log = _parsed(record, path)
        for _ in range(iterations):
            _run(servable, log, check_method_name)
        records += 1
        if records > MAX_RECORDS:
            raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
    return records


def _records(path: Path) -> Iterator[bytes]:
    # the iterator below TensorFlow's public ones, which are deprecated (and say so) or start tf.data for a few records
    try:
        yield from RecordIterator(str(path), "")
    except Exception as error:
        status = as_status(error)
        if status.code is Code.DATA_LOSS:
            hint = ". Please verify your warmup data is in TFRecord format."
            raise StatusError(Code.DATA_LOSS, status.message + hint) from error
        raise status from error


def _parsed(record: bytes, path: Path) -> Any:
    try:
        return prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        quoted = record[:_QUOTED_BYTES].decode("utf-8", "replace")
        raise invalid_argument(f"Failed to parse warmup record: {quoted} from {path}") from error


def _run(servable: Servable, log: Any, check_method_name: bool) -> None:
    kind = log.WhichOneof("log_type")
    if kind is None:
        return
    if kind not in ("predict_log", "classify_log", "regress_log", "multi_inference_log"):
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise unimplemented(f"Unsupported log_type for warmup: {number} ({kind})")
    request = getattr(log, kind).request
    if kind == "predict_log":
        inputs = {alias: from_proto(tensor, alias) for alias, tensor in request.inputs.items()}
        signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
        call, _ = plan_predict(servable, signature, inputs, tuple(request.output_filter), check_method_name)
        servable.call(*call)
        return
    plans = _plans(servable, kind, request, check_method_name)
    examples = examples_of(request.input)
    call = examples_call(plans, examples)
    tensors = dict(zip(call.fetches, servable.call(*call), strict=True))
    for plan in plans:
        plan.read(tensors, len(examples))


def _plans(servable: Servable, kind: str, request: Any, check_method_name: bool) -> list[ExamplesPlan]:
    if kind == "multi_inference_log":
        pairs = [(task.model_spec.signature_name or DEFAULT_SIGNATURE, task.method_name) for task in request.tasks]
        return plan_multi(servable, pairs, check_method_name)
    method = CLASSIFY if kind == "classify_log" else REGRESS
    signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
    return [plan_examples(servable, method, signature, check_method_name)]
