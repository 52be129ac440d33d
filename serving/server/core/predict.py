"""Predict on arrays: from a request's inputs by alias to what the session is fed, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from serving.server.core.servable import Call, Servable
from serving.server.core.tensors import from_proto
from serving.server.status import Code, StatusError, failed_precondition, invalid_argument

Array = NDArray[Any]

DEFAULT_SIGNATURE = "serving_default"
PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


class Fetch(NamedTuple):
    """Which tensors to fetch, and where each output then is."""

    names: tuple[str, ...]
    columns: tuple[tuple[str, int], ...]  # alias, index into names

    def outputs(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Return the fetched arrays by alias."""
        return {alias: arrays[index] for alias, index in self.columns}


@dataclass(frozen=True)
class PredictPlan:
    """A signature as Predict uses it, worked out once per version."""

    definition: Any
    aliases: tuple[str, ...]  # in the order of feeds
    feeds: tuple[str, ...]  # sorted, as the C++ session numbers them
    everything: Fetch
    input_types: Mapping[str, int]


def plan_predict(
    servable: Servable,
    signature: str,
    inputs: Mapping[str, Array],
    output_filter: Sequence[str] = (),
    check_method_name: bool = False,
) -> tuple[Call, Fetch]:
    """Return the run that answers a request, and how to read it.

    Raises StatusError: FAILED_PRECONDITION for an unknown signature, INVALID_ARGUMENT for inputs or outputs that are
    not the signature's, INTERNAL, as upstream does, for a method name that no call serves.
    """
    plan = signature_plan(servable, signature)
    if plan is None:
        raise failed_precondition(f'Serving signature key "{signature}" not found.')
    if check_method_name:
        _check_method(plan.definition.method_name)
    values = _values(plan, inputs)
    fetch = _filtered(plan.definition.outputs, output_filter) if output_filter else plan.everything
    return Call(plan.feeds, fetch.names, values), fetch


def signature_plan(servable: Servable, signature: str) -> PredictPlan | None:
    """Return the plan of a signature, None if there is none."""
    plan: PredictPlan | None = servable.memo.get(signature)
    if plan is None and signature in servable.signatures:
        plan = servable.memo[signature] = _plan(servable.signatures[signature])
    return plan


def _check_method(name: str) -> None:
    if name not in (PREDICT, CLASSIFY, REGRESS):
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{PREDICT}, {CLASSIFY}, {REGRESS}}}. Was: {name}",
        )


def _plan(definition: Any) -> PredictPlan:
    named = sorted((info.name, alias) for alias, info in definition.inputs.items())
    return PredictPlan(
        definition=definition,
        aliases=tuple(alias for _, alias in named),
        feeds=tuple(name for name, _ in named),
        everything=_fetch(definition.outputs, sorted(definition.outputs)),
        input_types={alias: info.dtype for alias, info in definition.inputs.items()},
    )


def _fetch(outputs: Mapping[str, Any], aliases: Iterable[str]) -> Fetch:
    wanted = [(alias, outputs[alias].name) for alias in aliases]
    names = tuple(sorted({name for _, name in wanted}))  # sorted: one callable and one batch queue for each set
    return Fetch(names, tuple((alias, names.index(name)) for alias, name in wanted))


def _filtered(outputs: Mapping[str, Any], output_filter: Sequence[str]) -> Fetch:
    for index, alias in enumerate(output_filter):
        if alias not in outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_joined(outputs)}}}."
            )
        if alias in output_filter[:index]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    return _fetch(outputs, output_filter)


def _values(plan: PredictPlan, inputs: Mapping[str, Array]) -> list[Array]:
    if len(inputs) == len(plan.aliases):
        try:
            return [inputs[alias] for alias in plan.aliases]
        except KeyError:
            pass  # told apart below
    return _with_defaults(plan, inputs)


def _with_defaults(plan: PredictPlan, inputs: Mapping[str, Array]) -> list[Array]:
    wanted, defaults = plan.definition.inputs, _defaults(plan.definition)
    if len(inputs) > len(wanted) or (len(inputs) < len(wanted) and not defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(inputs)}!={len(wanted)} len({{{_joined(inputs)}}}) != "
            f"len({{{_joined(wanted)}}}). Sent extra: {{{_joined(set(inputs) - set(wanted))}}}. "
            f"Missing but required: {{{_joined(set(wanted) - set(inputs))}}}."
        )
    for alias in sorted(set(wanted) - set(inputs) - set(defaults)):
        raise invalid_argument(
            f"Signature input alias: {alias}(feed name: {wanted[alias].name}) not found in request and no default "
            f"value provided. Inputs expected to be in the request {{{_joined(inputs)}}}, or default input alias set: "
            f"{_joined(defaults)}"
        )
    if not set(inputs) <= set(wanted):
        used = _joined(set(inputs) & set(wanted))
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {used}, request input: {_joined(inputs)}"
        )
    return [inputs[alias] if alias in inputs else from_proto(defaults[alias], alias) for alias in plan.aliases]


def _defaults(definition: Any) -> Mapping[str, Any]:
    return getattr(definition, "defaults", {})  # TensorFlow before 2.13 has no such field


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
