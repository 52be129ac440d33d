"""Predict, Classify, Regress, MultiInference and metadata, free of any protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from serving.server.core.classify import Classes, examples_call, plan_examples, plan_multi
from serving.server.core.predict import CLASSIFY, DEFAULT_SIGNATURE, REGRESS, Call, plan_predict, signature_plan
from serving.server.core.status import invalid_argument

if TYPE_CHECKING:
    from serving.server.core.servable import Servable
    from serving.server.run.runner import Runner

Array = NDArray[Any]


@dataclass(frozen=True)
class ModelSpec:
    """Which model, version and signature: as asked, or as used."""

    name: str
    version: int | None = None
    label: str | None = None
    signature_name: str = ""


@dataclass(frozen=True)
class Task:
    """One part of a MultiInference."""

    spec: ModelSpec
    method_name: str


@dataclass(frozen=True)
class Predicted:
    """Outputs by alias."""

    spec: ModelSpec
    outputs: Mapping[str, Array]


@dataclass(frozen=True)
class Classified:
    """Label and float32 score of each class of each example."""

    spec: ModelSpec
    results: Classes


@dataclass(frozen=True)
class Regressed:
    """A value for each example, [examples] float32."""

    spec: ModelSpec
    values: Array


@dataclass(frozen=True)
class Metadata:
    """Every signature of a version by name."""

    spec: ModelSpec
    signature_defs: Mapping[str, Any]


class Handle(Protocol):
    """A version that stays loaded until the context it comes from is left."""

    @property
    def name(self) -> str:
        """The model."""

    @property
    def version(self) -> int:
        """The version."""

    @property
    def servable(self) -> Servable:
        """What was loaded."""


Acquire = Callable[[ModelSpec], AbstractContextManager[Handle]]


class Inference:
    """The calls of PredictionService on arrays and serialized examples.

    All raise StatusError, with the codes and words of TensorFlow Serving. `observe_runtime` gets the model, the API's
    name and the microseconds of every run that succeeded.
    """

    def __init__(
        self,
        acquire: Acquire,
        runner: Runner,
        check_method_name: bool = False,
        observe_runtime: Callable[[str, str, float], None] = lambda model, api, microseconds: None,
    ) -> None:
        self._acquire = acquire
        self._runner = runner
        self._check_method_name = check_method_name
        self._observe_runtime = observe_runtime

    async def predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, Array],
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Predicted:
        """Run a signature on inputs by alias; `output_filter` narrows the outputs."""
        signature = spec.signature_name or DEFAULT_SIGNATURE
        with _Held(self._acquire(spec)) as held:
            servable = held.handle.servable
            call, fetch = plan_predict(servable, signature, inputs, output_filter, self._check_method_name)
            arrays = await self._run(held, "Predict", call, timeout_s)
            return Predicted(_used(held.handle, signature), fetch.outputs(arrays))

    async def classify(self, spec: ModelSpec, examples: Sequence[bytes], timeout_s: float | None = None) -> Classified:
        """Classify serialized tf.Examples."""
        used, results = await self._on_examples(spec, CLASSIFY, examples, timeout_s)
        return Classified(used, results)

    async def regress(self, spec: ModelSpec, examples: Sequence[bytes], timeout_s: float | None = None) -> Regressed:
        """Regress serialized tf.Examples."""
        used, values = await self._on_examples(spec, REGRESS, examples, timeout_s)
        return Regressed(used, values)

    async def multi_inference(
        self, tasks: Sequence[Task], examples: Sequence[bytes], timeout_s: float | None = None
    ) -> list[Classified | Regressed]:
        """Evaluate several signatures of one model over the same examples in one run."""
        first = tasks[0].spec if tasks else ModelSpec("")
        with _Held(self._acquire(first)) as held:
            _check_tasks(tasks)
            pairs = [(task.spec.signature_name or DEFAULT_SIGNATURE, task.method_name) for task in tasks]
            plans = plan_multi(held.handle.servable, pairs, self._check_method_name)
            call = examples_call(plans, examples)
            arrays = await self._run(held, "MultiInference", call, timeout_s)
            tensors = dict(zip(call.fetches, arrays, strict=True))
            results: list[Classified | Regressed] = []
            for (signature, method), plan in zip(pairs, plans, strict=True):
                used, read = _used(held.handle, signature), plan.read(tensors, len(examples))
                results.append(_RESULTS[method](used, read))
            return results

    def metadata(self, spec: ModelSpec) -> Metadata:
        """Return the signatures of a version."""
        with self._acquire(spec) as handle:
            return Metadata(ModelSpec(handle.name, handle.version), handle.servable.signatures)

    def input_types(self, spec: ModelSpec, signature_name: str) -> Mapping[str, int]:
        """Return the DataType of each input of a signature, by alias; REST's words for an unknown one."""
        signature = signature_name or DEFAULT_SIGNATURE
        with self._acquire(spec) as handle:
            plan = signature_plan(handle.servable, signature)
        if plan is None:
            raise invalid_argument(f'Serving signature name: "{signature}" not found in signature def')
        return plan.input_types

    async def _on_examples(
        self, spec: ModelSpec, method: str, examples: Sequence[bytes], timeout_s: float | None
    ) -> tuple[ModelSpec, Any]:
        signature = spec.signature_name or DEFAULT_SIGNATURE
        with _Held(self._acquire(spec)) as held:
            plan = plan_examples(held.handle.servable, method, signature, self._check_method_name)
            call = examples_call([plan], examples)
            arrays = await self._run(held, "Classify" if method == CLASSIFY else "Regress", call, timeout_s)
            tensors = dict(zip(call.fetches, arrays, strict=True))
            return _used(held.handle, signature), plan.read(tensors, len(examples))

    async def _run(self, held: _Held, api: str, call: Call, timeout_s: float | None) -> list[Array]:
        started = time.perf_counter()
        arrays = await self._runner.run(held.handle.servable, call, timeout_s, held.until_ended())
        self._observe_runtime(held.handle.name, api, (time.perf_counter() - started) * 1e6)
        return arrays


class _Held:
    """A handle, released when its context is left, or, once a run was begun, when that has really ended."""

    __slots__ = ("_context", "_is_running", "handle")

    def __init__(self, context: AbstractContextManager[Handle]) -> None:
        self._context = context
        self._is_running = False

    def __enter__(self) -> _Held:
        self.handle = self._context.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        if not self._is_running:
            self._release()

    def until_ended(self) -> Callable[[], None]:
        """Leave the release to whoever calls what this returns."""
        self._is_running = True
        return self._release

    def _release(self) -> None:
        self._context.__exit__(None, None, None)


_RESULTS: dict[str, Callable[[ModelSpec, Any], Classified | Regressed]] = {CLASSIFY: Classified, REGRESS: Regressed}


def _check_tasks(tasks: Sequence[Task]) -> None:
    """Raise INVALID_ARGUMENT unless all tasks name one model."""
    for task in tasks:
        if not task.spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if task.spec.name != tasks[0].spec.name:
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")


def _used(handle: Handle, signature: str) -> ModelSpec:
    return ModelSpec(handle.name, handle.version, None, signature)
