from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.server.core.inference import Inference, ModelSpec, Result, Task, Work
from serving.server.core.plans import CLASSIFY, REGRESS
from serving.server.run.runner import DirectRunner
from serving.server.status import StatusError
from tests.support.serving import models

pytestmark = pytest.mark.slow


class Held:
    """One model's version, and how often it is held."""

    name, version = "m", 7

    def __init__(self, servable: Any) -> None:
        self.servable, self.count = servable, 0

    def take(self) -> Held:
        self.count += 1
        return self

    def release(self) -> None:
        self.count -= 1

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Models:
    """An inference core over models loaded once."""

    def __init__(self, held: dict[str, Held]) -> None:
        self.held = held
        self.runner = DirectRunner(2)
        self.runtimes: list[tuple[str, str]] = []
        self.core = self.make()

    def make(self, check_method_name: bool = False) -> Inference:
        return Inference(
            lambda spec: self.held[spec.name].take(),  # type: ignore[arg-type, return-value]  # a handle that counts
            self.runner,
            check_method_name,
            lambda model, api, microseconds: self.runtimes.append((model, api)),
        )

    def run(self, work: Work[Any], core: Inference | None = None) -> Any:
        """Return what comes of it, the same in a thread and on a loop; nothing may be held after."""
        try:
            return (core or self.core).run(work)
        finally:
            assert not any(held.count for held in self.held.values())

    def refusal(self, work: Work[Any]) -> str:
        with pytest.raises(StatusError) as raised:
            self.run(work)
        with pytest.raises(StatusError, match=re.escape(str(raised.value))):
            asyncio.run(self.core.run_async(work))
        assert not any(held.count for held in self.held.values())
        return str(raised.value)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    from serving.server.core.servable import Servable

    base: Path = tmp_path_factory.mktemp("models")
    builders = {
        "half": models.half_plus,
        "two": models.two_inputs,
        "counter": models.counter,
        "defaults": models.with_defaults,
        "slow": models.slow,
    }
    served = Models({name: Held(Servable.load(build(base / name))) for name, build in builders.items()})
    yield served
    served.runner.close()
    for held in served.held.values():
        held.servable.close()


def spec(name: str, signature: str = "") -> ModelSpec:
    return ModelSpec(name, signature_name=signature)


def example(*values: float) -> bytes:
    from tensorflow.core.example import example_pb2

    made = example_pb2.Example()
    made.features.feature["x"].float_list.value.extend(values)
    return bytes(made.SerializeToString())


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


def test_predict_says_which_version_and_signature_answered(served: Models) -> None:
    predicted = served.run(served.core.predict(ModelSpec("half", label="l"), {"x": floats(1, 2, 5)}))
    assert predicted.spec == ModelSpec("m", 7, None, "serving_default")
    assert predicted.value["y"].tolist() == [2.5, 3.0, 4.5]
    work = served.core.predict(ModelSpec("half"), {"x": floats(1, 2, 5)})
    assert asyncio.run(served.core.run_async(work)).value["y"].tolist() == [2.5, 3.0, 4.5]
    assert served.runtimes[-1] == ("m", "Predict")


@pytest.mark.parametrize(
    ("output_filter", "wanted"),
    [
        ((), {"total": [3], "same": [3], "difference": [-1]}),
        (("same",), {"same": [3]}),
        (("total", "same"), {"total": [3], "same": [3]}),
    ],
    ids=["all", "one", "one tensor twice"],
)
def test_the_filter_picks_outputs(served: Models, output_filter: tuple[str, ...], wanted: Any) -> None:
    predicted = served.run(served.core.predict(spec("two"), {"b": floats(2), "a": floats(1)}, output_filter))
    assert {alias: value.tolist() for alias, value in predicted.value.items()} == wanted


def test_a_signature_may_have_no_inputs_and_keeps_state(served: Models) -> None:
    for wanted in (1, 2):
        assert served.run(served.core.predict(spec("counter", "incr_counter"), {})).value["output"] == wanted


def test_missing_inputs_come_from_the_signatures_defaults(served: Models) -> None:
    a, b = {"a": floats(1)}, {"b": floats(2)}
    assert served.run(served.core.predict(spec("defaults"), a)).value["total"].tolist() == [11]
    assert served.run(served.core.predict(spec("defaults"), {**a, **b})).value["total"].tolist() == [3]
    assert "Missing but required: {a}" in served.refusal(served.core.predict(spec("defaults"), b))


@pytest.mark.parametrize(
    ("model", "signature", "inputs", "output_filter", "message"),
    [
        pytest.param(
            "half", "no", ["x"], (), 'FAILED_PRECONDITION: Serving signature key "no" not found.', id="no such"
        ),
        pytest.param(
            "half",
            "",
            [],
            (),
            "INVALID_ARGUMENT: input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
            "Missing but required: {x}.",
            id="none",
        ),
        pytest.param(
            "two",
            "",
            ["z", "b", "a"],
            (),
            "INVALID_ARGUMENT: input size does not match signature: 3!=2 len({a,b,z}) != len({a,b}). Sent extra: {z}. "
            "Missing but required: {}.",
            id="one more",
        ),
        pytest.param(
            "half",
            "",
            ["z"],
            (),
            "INVALID_ARGUMENT: input names do not match signature: len({z}) != len({x}). Sent extra: {z}. "
            "Missing but required: {x}.",
            id="another alias",
        ),
        pytest.param(
            "defaults",
            "",
            ["a", "z"],
            (),
            "INVALID_ARGUMENT: input names do not match signature: len({a,z}) != len({a,b}). Sent extra: {z}. "
            "Missing but required: {b}.",
            id="another alias beside defaults",
        ),
        pytest.param(
            "two",
            "",
            ["a", "b"],
            ("no",),
            "INVALID_ARGUMENT: output tensor alias not found in signature: no Outputs expected to be in the set "
            "{difference,same,total}.",
            id="no such output",
        ),
        pytest.param(
            "two",
            "",
            ["a", "b"],
            ("same", "same"),
            "INVALID_ARGUMENT: duplicate output tensor alias: same",
            id="output twice",
        ),
    ],
)
def test_a_request_that_is_not_the_signatures_is_refused(
    served: Models, model: str, signature: str, inputs: list[str], output_filter: tuple[str, ...], message: str
) -> None:
    given = dict.fromkeys(inputs, floats(1))
    assert served.refusal(served.core.predict(spec(model, signature), given, output_filter)) == message


def test_a_wrong_type_is_refused(served: Models) -> None:
    refusal = served.refusal(served.core.predict(spec("half"), {"x": np.array([True])}))
    assert refusal == "INVALID_ARGUMENT: Expects arg[0] to be float but bool is provided"


@pytest.mark.parametrize(
    ("signature", "wanted"),
    [
        ("classify_x_to_y", [[(b"", 3)], [(b"", 4)]]),
        ("classify_names", [[(b"half", 0)], [(b"half", 0)]]),
        ("classify_both", [[(b"half", 3)], [(b"half", 4)]]),
    ],
)
def test_classify_fills_in_what_the_signature_lacks(served: Models, signature: str, wanted: Any) -> None:
    classified = served.run(served.core.classify(spec("half", signature), [example(2), example(4)]))
    assert classified == Result(ModelSpec("m", 7, None, signature), wanted)
    assert isinstance(classified.value[0][0][1], np.float32)


def test_regress_gives_a_value_for_each_example(served: Models) -> None:
    regressed = served.run(served.core.regress(spec("half", "regress_x_to_y2"), [example(2), example(4)]))
    assert regressed.spec == ModelSpec("m", 7, None, "regress_x_to_y2")
    assert regressed.value.dtype == np.float32
    assert regressed.value.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("method", "signature", "message"),
    [
        ("classify", "no", "No signature was found with the name: no"),
        ("classify", "serving_default", "No classification inputs found in SignatureDef: inputs {"),
        ("classify", "classify_three", "Expected one or two output Tensors, found 3"),
        ("classify", "classify_neither", "No classification outputs found in SignatureDef: inputs {"),
        ("classify", "wrong_classes", "Expected classes output batch size of 1. Got: 3"),
        ("regress", "no", "No signature was found with the name: no"),
        ("regress", "serving_default", "No regression inputs found in SignatureDef: inputs {"),
        ("regress", "regress_two_outputs", "Expected one output Tensor, found 2"),
        ("regress", "classify_x_to_y", "No regression outputs found in SignatureDef: inputs {"),
        ("regress", "wrong_batch", "Input batch size did not match output batch size: 1 vs. 3"),
        ("regress", "wrong_type", "Expected output Tensor of DT_FLOAT.  Got: DT_INT32"),
        ("regress", "wrong_shape", "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got"),
    ],
)
def test_a_signature_of_another_form_is_refused(served: Models, method: str, signature: str, message: str) -> None:
    call = getattr(served.core, method)
    assert served.refusal(call(spec("half", signature), [example(1)])).startswith(f"INVALID_ARGUMENT: {message}")


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_examples_that_are_none_are_refused(served: Models, method: str) -> None:
    call = getattr(served.core, method)
    signature = "classify_both" if method == "classify" else "regress_x_to_y"
    assert served.refusal(call(spec("half", signature), [])) == "INVALID_ARGUMENT: Input is empty."
    for bad in (b"no example", b"\xff", example()):
        assert served.refusal(call(spec("half", signature), [example(1), bad])).startswith("INVALID_ARGUMENT")


def test_more_than_one_input_is_refused(served: Models) -> None:
    refusal = served.refusal(served.core.classify(spec("two"), [example(1)]))
    assert refusal == "INVALID_ARGUMENT: Expected one input Tensor."


@pytest.mark.parametrize(
    ("method", "signature", "message"),
    [
        ("regress", "classify_x_to_y", f"Expected regression signature method_name to be {REGRESS}. Was: {CLASSIFY}"),
        (
            "classify",
            "regress_x_to_y",
            f"Expected classification signature method_name to be {CLASSIFY}. Was: {REGRESS}",
        ),
    ],
)
def test_the_method_name_counts_only_if_asked(served: Models, method: str, signature: str, message: str) -> None:
    strict = served.make(check_method_name=True)
    assert served.refusal(getattr(strict, method)(spec("half", signature), [example(1)])).endswith(message)
    assert served.run(strict.predict(spec("half"), {"x": floats(1)})).value["y"] == 2.5


def test_multi_inference_answers_in_the_order_of_tasks(served: Models) -> None:
    tasks = [Task(spec("half", "regress_x_to_y2"), REGRESS), Task(spec("half", "classify_both"), CLASSIFY)]
    regressed, classified = served.run(served.core.multi_inference(tasks, [example(2)]))
    assert regressed.spec.signature_name == "regress_x_to_y2"
    assert regressed.value.tolist() == [4]
    assert classified == Result(ModelSpec("m", 7, None, "classify_both"), [[(b"half", 3)]])


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([("half", "no", REGRESS)], "INVALID_ARGUMENT: Requested signature not found in model graph: no"),
        (
            [("half", "regress_x_to_y", REGRESS)] * 2,
            "INVALID_ARGUMENT: Duplicate evaluation of signature: regress_x_to_y",
        ),
        (
            [("half", "regress_x_to_y", REGRESS), ("two", "classify_both", CLASSIFY)],
            "INVALID_ARGUMENT: All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        ([("half", "serving_default", "x/predict")], "UNIMPLEMENTED: Unsupported signature method_name: x/predict"),
        (
            [("half", "regress_x_to_y", REGRESS), ("", "", REGRESS)],
            "INVALID_ARGUMENT: Found ModelSpec with an empty model name.",
        ),
    ],
    ids=["no such", "twice", "two models", "predict", "no name"],
)
def test_tasks_that_do_not_fit_are_refused(served: Models, tasks: Any, message: str) -> None:
    made = [Task(spec(name, signature), method) for name, signature, method in tasks]
    assert served.refusal(served.core.multi_inference(made, [example(1)])) == message


def test_metadata_has_every_signature(served: Models) -> None:
    metadata = served.core.metadata(spec("two"))
    assert metadata.spec == ModelSpec("m", 7)
    assert set(metadata.value) == {"serving_default", "rows", "twice", "checked"}


def test_input_types_are_the_signatures_in_rests_words(served: Models) -> None:
    assert served.core.input_types(spec("two"), "") == {"a": 1, "b": 1}
    with pytest.raises(StatusError) as raised:
        served.core.input_types(spec("two"), "no")
    assert str(raised.value) == 'INVALID_ARGUMENT: Serving signature name: "no" not found in signature def'


def test_a_version_is_held_until_its_run_ends_though_the_request_gave_up(served: Models) -> None:
    held, work = served.held["slow"], served.core.predict(spec("slow"), {"x": floats(1.0)})

    async def give_up() -> None:
        with pytest.raises(StatusError, match="DEADLINE_EXCEEDED"):
            await served.core.run_async(work, timeout_s=0.01)
        assert held.count == 1
        request = asyncio.ensure_future(served.core.run_async(work))
        await asyncio.sleep(0)
        request.cancel()
        await asyncio.wait([request])
        assert request.cancelled()
        assert held.count  # by the second run at least: the first may have ended
        while held.count:  # the runs end by themselves
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(give_up(), 60))
