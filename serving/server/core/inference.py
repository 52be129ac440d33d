"""Predict, Classify, Regress, MultiInference and metadata, free of any protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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
from serving.server.core.versions import Handle
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
    spec: ModelSpec
    method_name: str


@dataclass(frozen=True)
class Result(Generic[R]):
    """What a call gave, and the model, version and signature that gave it."""

    spec: ModelSpec
    value: R


Held = Handle[Servable]
Outputs = Mapping[str, Array]  # by alias
Read = Callable[[Sequence[Array]], R]  # from the arrays of the run


@dataclass(frozen=True)
class Work(Generic[R]):
    """A call that is ready to be run. `plan` gives the session's run and what makes the result of it."""

    spec: ModelSpec
    api: str
    plan: Callable[[Held], tuple[Call, Read[R]]]


class Inference:
    """The calls of PredictionService on arrays and serialized examples: each gives Work, which `run` does.

    All raise StatusError, with the codes of TensorFlow Serving. `observe_runtime` gets the model, the API's name and
    the microseconds of every run that succeeded, in any thread.
    """

    def __init__(
        self,
        acquire: Callable[[ModelSpec], Held],
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
    ) -> Work[Result[Outputs]]:
        signature = spec.signature_name or DEFAULT_SIGNATURE

        def plan(handle: Held) -> tuple[Call, Read[Result[Outputs]]]:
            call, fetch = plan_predict(handle.servable, signature, inputs, output_filter, self._check_method_name)
            return call, lambda arrays: Result(_used(handle, signature), fetch.outputs(arrays))

        return Work(spec, "Predict", plan)

    def classify(self, spec: ModelSpec, examples: Sequence[bytes]) -> Work[Result[Classes]]:
        return self._on_examples(spec, CLASSIFY, "Classify", examples)

    def regress(self, spec: ModelSpec, examples: Sequence[bytes]) -> Work[Result[Array]]:
        return self._on_examples(spec, REGRESS, "Regress", examples)

    def multi_inference(self, tasks: Sequence[Task], examples: Sequence[bytes]) -> Work[list[Result[Any]]]:
        def plan(handle: Held) -> tuple[Call, Read[list[Result[Any]]]]:
            _check_tasks(tasks)
            pairs = [(task.spec.signature_name or DEFAULT_SIGNATURE, task.method_name) for task in tasks]
            plans = plan_multi(handle.servable, pairs, self._check_method_name)
            call = examples_call(plans, examples)

            def read(arrays: Sequence[Array]) -> list[Result[Any]]:
                tensors = dict(zip(call.fetches, arrays, strict=True))
                return [
                    Result(_used(handle, signature), plan.read(tensors, len(examples)))
                    for (signature, _), plan in zip(pairs, plans, strict=True)
                ]

            return call, read

        return Work(tasks[0].spec if tasks else ModelSpec(""), "MultiInference", plan)

    def run(self, work: Work[R], timeout_s: float | None = None) -> R:
        handle, call, read = self._begin(work)
        started = time.perf_counter()
        arrays = self._runner.run(handle.servable, call, timeout_s, handle.release)
        self._observe_runtime(handle.name, work.api, (time.perf_counter() - started) * 1e6)
        return read(arrays)

    async def run_async(self, work: Work[R], timeout_s: float | None = None) -> R:
        handle, call, read = self._begin(work)
        started = time.perf_counter()
        arrays = await self._runner.run_async(handle.servable, call, timeout_s, handle.release)
        self._observe_runtime(handle.name, work.api, (time.perf_counter() - started) * 1e6)
        return read(arrays)

    def metadata(self, spec: ModelSpec) -> Result[Mapping[str, Any]]:
        with self._acquire(spec) as handle:
            return Result(ModelSpec(handle.name, handle.version), handle.servable.signatures)

    def input_types(self, spec: ModelSpec, signature_name: str) -> Mapping[str, int]:
        """Return the DataType of each input of a signature, by alias; REST's words for an unknown one."""
        signature = signature_name or DEFAULT_SIGNATURE
        with self._acquire(spec) as handle:
            plan = signature_plan(handle.servable, signature)
        if plan is None:
            raise invalid_argument(f'Serving signature name: "{signature}" not found in signature def')
        return plan.input_types

    def _on_examples(self, spec: ModelSpec, method: str, api: str, examples: Sequence[bytes]) -> Work[Result[Any]]:
        signature = spec.signature_name or DEFAULT_SIGNATURE

        def plan(handle: Held) -> tuple[Call, Read[Result[Any]]]:
            examples_plan = plan_examples(handle.servable, method, signature, self._check_method_name)
            call = examples_call([examples_plan], examples)

            def read(arrays: Sequence[Array]) -> Result[Any]:
                tensors = dict(zip(call.fetches, arrays, strict=True))
                return Result(_used(handle, signature), examples_plan.read(tensors, len(examples)))

            return call, read

        return Work(spec, api, plan)

    def _begin(self, work: Work[R]) -> tuple[Held, Call, Read[R]]:
        """Acquire what the work needs: whoever runs the call releases it."""
        handle = self._acquire(work.spec)
        try:
            call, read = work.plan(handle)
        except BaseException:
            handle.release()
            raise
        return handle, call, read


def _check_tasks(tasks: Sequence[Task]) -> None:
    for task in tasks:
        if not task.spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if task.spec.name != tasks[0].spec.name:
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")


def _used(handle: Held, signature: str) -> ModelSpec:
    return ModelSpec(handle.name, handle.version, None, signature)
