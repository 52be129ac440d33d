"""From flags to the core: what loads a version and warms it up, what holds it and what runs it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from tensorflow.python.lib.io._pywrap_record_io import RecordIterator
from tensorflow_serving.apis import prediction_log_pb2

from serving.server.config import BatchingOptions, read_session_config, read_version_batching
from serving.server.core.inference import Inference
from serving.server.core.manager import Manager
from serving.server.core.metrics import ServingMetrics
from serving.server.core.plans import (
    CLASSIFY,
    DEFAULT_SIGNATURE,
    REGRESS,
    ExamplesPlan,
    examples_call,
    examples_of,
    plan_examples,
    plan_multi,
    plan_predict,
)
from serving.server.core.servable import Servable
from serving.server.core.tensors import from_proto
from serving.server.core.transitions import ManagerOptions
from serving.server.core.versions import VersionId
from serving.server.flags import Options
from serving.server.run.batching import BatchingRunner
from serving.server.run.runner import DirectRunner, Runner
from serving.server.status import Code, StatusError, as_status, invalid_argument, unimplemented

if TYPE_CHECKING:
    from serving.server.config import Files


MAX_WAITING = 5000  # runs; more would time out before their turn
RUNTIME = "TF1"
CALLERS_THREAD = -1  # ConfigProto: "all operations are performed in caller's thread"


@dataclass(frozen=True)
class Core:
    manager: Manager[Servable]
    inference: Inference
    runner: Runner
    metrics: ServingMetrics

    @staticmethod
    def of(options: Options, files: Files, metrics: ServingMetrics) -> Core:
        """Build the parts. Raises StatusError for a session config that is no good."""
        manager: Manager[Servable] = Manager(Loader(options, metrics, files.batching), ManagerOptions.of(options))
        runner: Runner = DirectRunner(max(options.grpc_max_threads, 1), MAX_WAITING)
        if files.batching:
            runner = BatchingRunner(files.batching, runner, metrics)
        inference = Inference(
            lambda spec: manager.acquire(spec.name, spec.version, spec.label),
            runner,
            options.enable_signature_method_name_check,
            lambda model, api, microseconds: metrics.runtime_latency.cell(model, api, RUNTIME).add(microseconds),
        )
        return Core(manager, inference, runner, metrics)

    def close(self) -> None:
        self.manager.stop(1.0)
        self.runner.close()


class Loader:
    """Loads a version as the flags say and replays its warm-up requests before anybody else uses it."""

    def __init__(self, options: Options, metrics: ServingMetrics, batching: BatchingOptions | None) -> None:
        self._options = options
        self._metrics = metrics
        self._batching = batching
        self._tags = tuple(filter(None, options.saved_model_tags.split(",")))
        self._session_config = _session_config(options)

    def __call__(self, version: VersionId, folder: Path) -> Servable:
        servable = Servable.load(folder, self._tags, self._session_config)
        try:
            servable.batching = self._batching_of(folder)
            if self._options.enable_model_warmup:
                self._warm_up(servable, folder)
        except Exception:
            servable.close()
            raise
        return servable

    def _batching_of(self, folder: Path) -> BatchingOptions | None:
        options = self._batching
        if options and self._options.enable_per_model_batching_parameters:
            options = read_version_batching(folder, options)
        if options:
            options.check()
        return options

    def _warm_up(self, servable: Servable, folder: Path) -> None:
        if not (folder / WARMUP_FILE).exists():
            return
        options, code, records, started = self._options, Code.OK, 0, time.perf_counter()
        iterations = max(options.num_request_iterations_for_warmup, 1)
        try:
            records = replay(servable, folder, iterations, options.enable_signature_method_name_check)
        except StatusError as error:
            code = error.code
            raise
        finally:
            elapsed_us = (time.perf_counter() - started) * 1e6
            self._metrics.warmup_latency.cell(str(folder), code.name).add(elapsed_us)
            self._metrics.warmup_records.cell(str(folder), code.name).add(records)


def _session_config(options: Options) -> Any:
    """Return the ConfigProto of all sessions.

    Unless told otherwise a run stays in the thread that asked for it. TensorFlow would hand each operation to a pool,
    which takes about as long as to run the small operations of one row.
    """
    from tensorflow.core.protobuf import config_pb2

    config = config_pb2.ConfigProto()
    if options.tensorflow_session_config_file:
        config = read_session_config(options.tensorflow_session_config_file)
    within = options.tensorflow_intra_op_parallelism or options.tensorflow_session_parallelism
    between = options.tensorflow_inter_op_parallelism or options.tensorflow_session_parallelism
    if within:
        config.intra_op_parallelism_threads = within
    config.inter_op_parallelism_threads = between or config.inter_op_parallelism_threads or CALLERS_THREAD
    return config


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
