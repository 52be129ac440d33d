"""Predict, Classify, Regress, MultiInference and metadata, free of any protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from serving.server.core.plans import (
    CLASSIFY,
    DEFAULT_SIGNATURE,
    REGRESS,
    Classes,
    examples_call,
    plan_examples,
    plan_multi,
    plan_predict,
    signature_plan,
)
from serving.server.core.servable import Call, Servable
from serving.server.run.runner import Runner
from serving.server.status import invalid_argument

Array = NDArray[Any]
R = TypeVar("R")


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
    """A version that stays loaded until it is released."""

    @property
    def name(self) -> str:
        """The model."""

    @property
    def version(self) -> int:
        """The version."""

    @property
    def servable(self) -> Servable:
        """What was loaded."""

    def release(self) -> None:
        """Let the version go; in any thread."""


Acquire = Callable[[ModelSpec], Handle]


@dataclass(frozen=True)
class Work(Generic[R]):
    """A call that is ready to be run. `plan` gives the session's run and what makes the result of it."""

    spec: ModelSpec
    api: str
    plan: Callable[[Handle], tuple[Call, Callable[[Sequence[Array]], R]]]


class Inference:
    """The calls of PredictionService on arrays and serialized examples: each gives Work, which `run` does.

    All raise StatusError, with the codes of TensorFlow Serving. `observe_runtime` gets the model, the API's name and
    the microseconds of every run that succeeded, in any thread.
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

    def predict(
        self, spec: ModelSpec, inputs: Mapping[str, Array], output_filter: Sequence[str] = ()
    ) -> Work[Predicted]:
        """Run a signature on inputs by alias; `output_filter` narrows the outputs."""
        signature = spec.signature_name or DEFAULT_SIGNATURE

        def plan(handle: Handle) -> tuple[Call, Callable[[Sequence[Array]], Predicted]]:
            call, fetch = plan_predict(handle.servable, signature, inputs, output_filter, self._check_method_name)
            return call, lambda arrays: Predicted(_used(handle, signature), fetch.outputs(arrays))

        return Work(spec, "Predict", plan)

    def classify(self, spec: ModelSpec, examples: Sequence[bytes]) -> Work[Classified]:
        return self._on_examples(spec, CLASSIFY, "Classify", examples, Classified)

    def regress(self, spec: ModelSpec, examples: Sequence[bytes]) -> Work[Regressed]:
        return self._on_examples(spec, REGRESS, "Regress", examples, Regressed)

    def multi_inference(self, tasks: Sequence[Task], examples: Sequence[bytes]) -> Work[list[Classified | Regressed]]:
        """Evaluate several signatures of one model over the same examples in one run."""

        def plan(handle: Handle) -> tuple[Call, Callable[[Sequence[Array]], list[Classified | Regressed]]]:
            _check_tasks(tasks)
            pairs = [(task.spec.signature_name or DEFAULT_SIGNATURE, task.method_name) for task in tasks]
            plans = plan_multi(handle.servable, pairs, self._check_method_name)
            call = examples_call(plans, examples)

            def read(arrays: Sequence[Array]) -> list[Classified | Regressed]:
                tensors = dict(zip(call.fetches, arrays, strict=True))
                return [
                    _RESULTS[method](_used(handle, signature), plan.read(tensors, len(examples)))
                    for (signature, method), plan in zip(pairs, plans, strict=True)
                ]

            return call, read

        return Work(tasks[0].spec if tasks else ModelSpec(""), "MultiInference", plan)

    def run(self, work: Work[R], timeout_s: float | None = None) -> R:
        """Return the result; the calling thread waits."""
        handle, call, read = self._begin(work)
        started = time.perf_counter()
        arrays = self._runner.run(handle.servable, call, timeout_s, handle.release)
        self._observe_runtime(handle.name, work.api, (time.perf_counter() - started) * 1e6)
        return read(arrays)

    async def run_async(self, work: Work[R], timeout_s: float | None = None) -> R:
        """Return the result; the event loop goes on meanwhile."""
        handle, call, read = self._begin(work)
        started = time.perf_counter()
        arrays = await self._runner.run_async(handle.servable, call, timeout_s, handle.release)
        self._observe_runtime(handle.name, work.api, (time.perf_counter() - started) * 1e6)
        return read(arrays)

    def metadata(self, spec: ModelSpec) -> Metadata:
        handle = self._acquire(spec)
        try:
            return Metadata(ModelSpec(handle.name, handle.version), handle.servable.signatures)
        finally:
            handle.release()

    def input_types(self, spec: ModelSpec, signature_name: str) -> Mapping[str, int]:
        """Return the DataType of each input of a signature, by alias; REST's words for an unknown one."""
        signature = signature_name or DEFAULT_SIGNATURE
        handle = self._acquire(spec)
        try:
            plan = signature_plan(handle.servable, signature)
        finally:
            handle.release()
        if plan is None:
            raise invalid_argument(f'Serving signature name: "{signature}" not found in signature def')
        return plan.input_types

    def _on_examples(
        self, spec: ModelSpec, method: str, api: str, examples: Sequence[bytes], result: Callable[[ModelSpec, Any], R]
    ) -> Work[R]:
        signature = spec.signature_name or DEFAULT_SIGNATURE

        def plan(handle: Handle) -> tuple[Call, Callable[[Sequence[Array]], R]]:
            examples_plan = plan_examples(handle.servable, method, signature, self._check_method_name)
            call = examples_call([examples_plan], examples)

            def read(arrays: Sequence[Array]) -> R:
                tensors = dict(zip(call.fetches, arrays, strict=True))
                return result(_used(handle, signature), examples_plan.read(tensors, len(examples)))

            return call, read

        return Work(spec, api, plan)

    def _begin(self, work: Work[R]) -> tuple[Handle, Call, Callable[[Sequence[Array]], R]]:
        """Acquire what the work needs: whoever runs the call releases it."""
        handle = self._acquire(work.spec)
        try:
            call, read = work.plan(handle)
        except BaseException:
            handle.release()
            raise
        return handle, call, read


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
