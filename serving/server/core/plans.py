"""From a request on arrays or on serialized tf.Examples to what the session is fed and fetches, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.server.core.servable import Call, Servable
from serving.server.core.tensors import from_proto, type_name
from serving.server.status import Code, StatusError, failed_precondition, invalid_argument, unimplemented

Array = NDArray[Any]

DEFAULT_SIGNATURE = "serving_default"
PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
_KINDS = {CLASSIFY: "classification", REGRESS: "regression"}


class Fetch(NamedTuple):
    """Which tensors to fetch, and where each output then is."""

    names: tuple[str, ...]
    columns: tuple[tuple[str, int], ...]  # alias, index into names

    def outputs(self, arrays: Sequence[Array]) -> dict[str, Array]:
        return {alias: arrays[index] for alias, index in self.columns}


@dataclass(frozen=True)
class PredictPlan:
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
    wanted, defaults = plan.definition.inputs, plan.definition.defaults
    extra, missing = set(inputs) - set(wanted), set(wanted) - set(inputs)
    if extra or missing - set(defaults):
        got, wants = len(inputs), len(wanted)
        fault = f"size does not match signature: {got}!={wants}" if got != wants else "names do not match signature:"
        raise invalid_argument(
            f"input {fault} len({{{_joined(inputs)}}}) != len({{{_joined(wanted)}}}). "
            f"Sent extra: {{{_joined(extra)}}}. Missing but required: {{{_joined(missing)}}}."
        )
    return [inputs[alias] if alias in inputs else from_proto(defaults[alias], alias) for alias in plan.aliases]


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


Classes = list[list[tuple[bytes, Any]]]  # label and float32 score, classes by example


@dataclass(frozen=True)
class ExamplesPlan:
    """A signature as a call on examples uses it: only the tensors' names count, not their declared types."""

    method: str  # CLASSIFY or REGRESS
    feed: str
    fetches: Mapping[str, str]  # tensor by output, `classes`, `scores` or `outputs`

    def read(self, tensors: Mapping[str, Array], examples: int) -> Classes | Array:
        """Return the result of a run that fetched `tensors` by name.

        Raises StatusError, INVALID_ARGUMENT, if shapes or types are not those of the method.
        """
        outputs = {output: tensors[name] for output, name in self.fetches.items()}
        if self.method == REGRESS:
            return _regressions(outputs["outputs"], examples)
        return _classes(outputs.get("classes"), outputs.get("scores"), examples)


def plan_examples(servable: Servable, method: str, signature: str, check_method_name: bool) -> ExamplesPlan:
    """Return the plan of one signature, worked out once per version.

    Raises StatusError, INVALID_ARGUMENT, for a signature that is not there or does not have the method's form.
    """
    key = method, signature, check_method_name
    plan: ExamplesPlan | None = servable.memo.get(key)
    if plan is None:
        if signature not in servable.signatures:
            raise invalid_argument(f"No signature was found with the name: {signature}")
        definition = servable.signatures[signature]
        if check_method_name and definition.method_name != method:
            raise invalid_argument(
                f"Expected {_KINDS[method]} signature method_name to be {method}. Was: {definition.method_name}"
            )
        plan = servable.memo[key] = _examples_plan(definition, method)
    return plan


def plan_multi(
    servable: Servable, tasks: Sequence[tuple[str, str]], check_method_name: bool = False
) -> list[ExamplesPlan]:
    """Return a plan for each pair of signature and method name.

    Raises StatusError: INVALID_ARGUMENT for a signature unknown or asked for twice, UNIMPLEMENTED for another method.
    """
    plans: list[ExamplesPlan] = []
    seen: set[str] = set()
    for signature, method in tasks:
        if signature in seen:
            raise invalid_argument(f"Duplicate evaluation of signature: {signature}")
        seen.add(signature)
        if signature not in servable.signatures:
            raise invalid_argument(f"Requested signature not found in model graph: {signature}")
        if method not in (CLASSIFY, REGRESS):
            raise unimplemented(f"Unsupported signature method_name: {method}")
        plans.append(plan_examples(servable, method, signature, check_method_name))
    return plans


def examples_of(message: Any) -> list[bytes]:
    """Return an Input's examples, serialized, the context merged in by putting its bytes before theirs."""
    kind = message.WhichOneof("kind")
    if kind is None:
        return []
    listed = getattr(message, kind)
    context = listed.context.SerializeToString() if kind == "example_list_with_context" else b""
    return [context + example.SerializeToString() for example in listed.examples]


def examples_call(plans: Sequence[ExamplesPlan], examples: Sequence[bytes]) -> Call:
    """Return the one run that serves all plans over the same examples.

    Raises StatusError, INVALID_ARGUMENT, if there are none.
    """
    if not examples:
        raise invalid_argument("Input is empty.")
    feeds = tuple(sorted({plan.feed for plan in plans}))
    fetches = tuple(sorted({name for plan in plans for name in plan.fetches.values()}))
    serialized = np.array(examples, dtype=object)
    return Call(feeds, fetches, [serialized] * len(feeds))


def _examples_plan(definition: Any, method: str) -> ExamplesPlan:
    inputs, outputs, kind = definition.inputs, definition.outputs, _KINDS[method]
    names = ("classes", "scores") if method == CLASSIFY else ("outputs",)
    if len(inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if not 1 <= len(outputs) <= len(names):
        wanted = "one or two output Tensors" if method == CLASSIFY else "one output Tensor"
        raise invalid_argument(f"Expected {wanted}, found {len(outputs)}")
    if "inputs" not in inputs:
        raise invalid_argument(f"No {kind} inputs found in SignatureDef: {definition}")
    fetches = {name: outputs[name].name for name in names if name in outputs}
    if not fetches:
        raise invalid_argument(f"No {kind} outputs found in SignatureDef: {definition}")
    return ExamplesPlan(method, str(inputs["inputs"].name), fetches)


def _classes(classes: Array | None, scores: Array | None, examples: int) -> Classes:
    for name, tensor, wanted in (("classes", classes, "STRING"), ("scores", scores, "FLOAT")):
        if tensor is not None:
            _check_matrix(name, tensor, wanted, examples)
    if classes is None or scores is None:
        known = classes if classes is not None else scores
        count = known.shape[1] if known is not None else 0
    elif classes.shape[1] == scores.shape[1]:
        count = classes.shape[1]
    else:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    labels = [[b""] * count] * examples if classes is None else classes
    values = np.zeros((examples, count), np.float32) if scores is None else scores
    return [list(zip(row, numbers, strict=True)) for row, numbers in zip(labels, values, strict=True)]


def _check_matrix(name: str, tensor: Array, wanted: str, examples: int) -> None:
    if tensor.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(tensor)}")
    if tensor.dtype != (np.object_ if wanted == "STRING" else np.float32):
        raise _wrong_type(f"Expected {name} Tensor of DT_{wanted}. Got: ", tensor)
    if len(tensor) != examples:
        raise invalid_argument(f"Expected {name} output batch size of {examples}. Got: {len(tensor)}")


def _regressions(output: Array, examples: int) -> Array:
    if not (output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1)):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got " + _shape(output)
        )
    if len(output) != examples:
        raise invalid_argument(f"Input batch size did not match output batch size: {examples} vs. {len(output)}")
    if output.dtype != np.float32:
        raise _wrong_type("Expected output Tensor of DT_FLOAT.  Got: ", output)
    return output.reshape(-1)


def _wrong_type(text: str, tensor: Array) -> StatusError:
    return invalid_argument(text + type_name(tensor.dtype))


def _shape(tensor: Array) -> str:
    return "[" + ",".join(map(str, tensor.shape)) + "]"
