from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.server.config import BatchingOptions
from serving.server.core.metrics import Registry, ServingMetrics
from serving.server.core.servable import Call
from serving.server.run.batching import BatchingRunner
from serving.server.run.runner import DirectRunner
from serving.server.status import Code, StatusError, invalid_argument
from tests.support.serving import models

LIMIT_S = 10


@dataclass(eq=False)
class Gate:
    """A version that doubles what it is fed, once its gate is open, and remembers the batches; no row may be < 0."""

    batching: BatchingOptions | None
    batches: list[list[float]] = field(default_factory=list)
    is_open: threading.Event = field(default_factory=threading.Event)
    threads: list[str] = field(default_factory=list)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def check_dtypes(self, feeds: Any, values: Any) -> None:
        if values and values[0].dtype != np.float64:
            raise invalid_argument("a wrong type")

    def call(self, feeds: Any, fetches: Any, values: Sequence[Any]) -> list[Any]:
        self.batches.append(values[0].tolist())
        self.threads.append(threading.current_thread().name)
        self.entered.release()
        assert self.is_open.wait(LIMIT_S)
        if (values[0] < 0).any():
            raise invalid_argument("below zero")
        return [values[0] * 2]


Story = Callable[[Gate, BatchingRunner], Coroutine[Any, Any, None]]


def tell(story: Story, metrics: ServingMetrics | None = None, **options: Any) -> Gate:
    """Let a story happen to a gate under batching with one thread; return the gate."""
    batching = BatchingOptions(**{"num_batch_threads": 1, **options})
    gate = Gate(batching)
    runner = BatchingRunner(batching, DirectRunner(1), metrics or ServingMetrics(Registry()))
    try:
        asyncio.run(asyncio.wait_for(story(gate, runner), LIMIT_S))
    finally:
        gate.is_open.set()
        runner.close()
    return gate


def ask(runner: BatchingRunner, gate: Gate, *rows: float, fetch: str = "y:0") -> asyncio.Task[Any]:
    value = np.array(rows, np.float64)
    return asyncio.ensure_future(runner.run_async(gate, Call(("x:0",), (fetch,), [value])))  # type: ignore[arg-type]


async def busy(runner: BatchingRunner, gate: Gate) -> asyncio.Task[Any]:
    """Keep the only thread busy with a batch of one."""
    first = ask(runner, gate, 0.0)
    await asyncio.to_thread(gate.entered.acquire)
    return first


async def answers(*tasks: asyncio.Task[Any]) -> list[Any]:
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [str(one) if isinstance(one, StatusError) else one[0].tolist() for one in found]


def test_what_comes_while_the_thread_is_busy_shares_a_run_in_order() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        first = await busy(runner, gate)
        others = [ask(runner, gate, 1.0), ask(runner, gate), ask(runner, gate, 2.0, 3.0)]
        await asyncio.sleep(0)
        gate.is_open.set()
        assert await answers(first, *others) == [[0], [2], [], [4, 6]]

    assert tell(story).batches == [[0], [1, 2, 3]]


def test_what_arrives_together_shares_a_run_even_with_a_free_thread() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.is_open.set()
        assert await answers(ask(runner, gate, 1.0), ask(runner, gate, 2.0)) == [[2], [4]]

    assert tell(story).batches == [[1, 2]]


def test_a_full_batch_goes_without_waiting_for_the_timeout() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.is_open.set()
        assert await answers(ask(runner, gate, 1.0), ask(runner, gate, 2.0)) == [[2], [4]]

    assert tell(story, max_batch_size=2, batch_timeout_s=3600.0).batches == [[1, 2]]


def test_a_full_batch_goes_while_the_loop_is_busy_with_something_else() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.is_open.set()
        task = ask(runner, gate, 1.0, 2.0)
        await asyncio.sleep(0)
        assert gate.entered.acquire(timeout=LIMIT_S)  # the loop stands still meanwhile
        assert await answers(task) == [[2, 4]]

    tell(story, max_batch_size=2)


def test_an_open_batch_goes_after_the_timeout() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.is_open.set()
        first = ask(runner, gate, 1.0)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not gate.batches
        assert await answers(first, ask(runner, gate, 2.0)) == [[2], [4]]

    assert tell(story, batch_timeout_s=0.02).batches == [[1, 2]]


def test_a_request_that_no_longer_fits_opens_the_next_batch() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        first = await busy(runner, gate)
        others = [ask(runner, gate, 1.0, 2.0), ask(runner, gate, 3.0, 4.0), ask(runner, gate, 5.0)]
        await asyncio.sleep(0)
        gate.is_open.set()
        assert await answers(first, *others) == [[0], [2, 4], [6, 8], [10]]

    assert tell(story, max_batch_size=3).batches == [[0], [1, 2], [3, 4, 5]]


def test_each_set_of_outputs_and_each_version_has_a_queue_of_its_own() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        other = Gate(gate.batching)
        other.is_open.set()
        gate.is_open.set()
        tasks = [ask(runner, gate, 1.0), ask(runner, gate, 2.0, fetch="z:0"), ask(runner, other, 3.0)]
        assert await answers(*tasks) == [[2], [4], [6]]
        assert other.batches == [[3]]

    assert tell(story).batches == [[1], [2]]


def test_a_version_without_options_is_not_batched() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.batching = None
        gate.is_open.set()
        assert await answers(ask(runner, gate, 1.0), ask(runner, gate, 2.0)) == [[2], [4]]

    assert tell(story).batches == [[1], [2]]


def test_a_signature_without_inputs_is_answered_alone() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.is_open.set()
        calls: list[int] = []
        gate.call = lambda *_: [np.array(len(calls.append(1) or calls))]  # type: ignore[func-returns-value,method-assign]
        call = Call((), ("y:0",), [])
        tasks = [asyncio.ensure_future(runner.run_async(gate, call)) for _ in range(2)]  # type: ignore[arg-type]
        assert sorted(await answers(*tasks)) == [1, 2]

    tell(story)


def test_a_batch_is_padded_to_an_allowed_size_and_cut_back() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.is_open.set()
        assert await answers(ask(runner, gate, 1.0, 2.0), ask(runner, gate, 3.0)) == [[2, 4], [6]]
        assert await answers(ask(runner, gate, 5.0)) == [[10]]
        assert await answers(ask(runner, gate)) == [[]]

    metrics = ServingMetrics(Registry())
    gate = tell(story, metrics, max_batch_size=8, allowed_batch_sizes=(1, 4, 8), thread_pool_name="pool")
    assert gate.batches == [[1, 2, 3, 3], [5], []]
    assert (metrics.padding_size.cell("4").total, sum(metrics.padding_size.cell("4").counts)) == (1, 1)
    assert metrics.padding_size.cell("1").counts[0] >= 1
    assert metrics.processed_batch_size.cell().counts[:4] == [0, 2, 0, 1]  # 1 to 2, 2 to 4, 4 to 8
    assert (metrics.input_batch_size.cell().total, sum(metrics.input_batch_size.cell().counts)) == (4, 4)
    assert metrics.wrapped_runs.cell().value == 3
    assert sum(metrics.queuing_latency.cell("pool").counts) == 4


def test_a_request_that_fails_does_not_fail_those_beside_it() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.is_open.set()
        found = await answers(ask(runner, gate, 1.0), ask(runner, gate, -1.0), ask(runner, gate, 2.0))
        assert found == [[2], "INVALID_ARGUMENT: below zero", [4]]

    metrics = ServingMetrics(Registry())
    assert tell(story, metrics).batches == [[1, -1, 2], [1], [-1], [2]]
    assert metrics.wrapped_runs.cell().value == 4


def test_requests_of_other_shapes_are_answered_as_without_batching() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.is_open.set()
        wide = runner.run_async(gate, Call(("x:0",), ("y:0",), [np.ones((1, 2))]))  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(wide), ask(runner, gate, 1.0)]
        assert await answers(*tasks) == [[[2, 2]], [2]]

    tell(story)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([np.zeros(())], "INVALID_ARGUMENT: Batching Run() input tensors must have at least one dimension"),
        (
            [np.zeros(1), np.zeros(())],
            "INVALID_ARGUMENT: Batching Run() input tensors must have at least one dimension",
        ),
        ([np.zeros(5)], "INVALID_ARGUMENT: Task size 5 is larger than maximum input batch size 4"),
        (
            [np.zeros(1), np.zeros(2)],
            "INVALID_ARGUMENT: Batching Run() input tensors must have equal 0th-dimension size",
        ),
        ([np.zeros(1, bool)], "INVALID_ARGUMENT: a wrong type"),
    ],
    ids=["scalar", "one scalar", "too large", "unequal", "type"],
)
def test_what_cannot_be_batched_is_refused_alone(values: list[Any], message: str) -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.is_open.set()
        bad = runner.run_async(gate, Call(("x:0",), ("y:0",), values))  # type: ignore[arg-type]
        assert await answers(ask(runner, gate, 1.0), asyncio.ensure_future(bad)) == [[2], message]

    tell(story, max_batch_size=4)


def test_a_full_queue_is_unavailable() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        first = await busy(runner, gate)
        waiting = [ask(runner, gate, float(index)) for index in range(4)]
        await asyncio.sleep(0)
        shed = await answers(ask(runner, gate, 9.0))
        assert shed == [
            "UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; currently 2 batches "
            "enqueued and max_enqueued_batches is 2"
        ]
        gate.is_open.set()
        assert await answers(first, *waiting) == [[0], [0], [2], [4], [6]]

    assert tell(story, max_batch_size=2, max_enqueued_batches=2).batches == [[0], [0, 1], [2, 3]]


def test_a_large_request_is_split_if_allowed() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.is_open.set()
        tasks = [ask(runner, gate, 1.0), ask(runner, gate, *range(10, 17))]
        assert await answers(*tasks) == [[2], [20, 22, 24, 26, 28, 30, 32]]

    options = {"max_batch_size": 8, "max_execution_batch_size": 3, "enable_large_batch_splitting": True}
    assert tell(story, **options).batches == [[1, 10, 11], [12, 13, 14], [15, 16]]


@pytest.mark.parametrize("splits", [False, True])
def test_a_request_of_more_rows_than_a_batch_may_have_is_refused_split_or_not(splits: bool) -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.is_open.set()
        refusal, served = await answers(ask(runner, gate, *range(9)), ask(runner, gate, *range(4)))
        assert refusal == "INVALID_ARGUMENT: Task size 9 is larger than maximum input batch size 8"
        assert served == [0, 2, 4, 6]

    tell(story, max_batch_size=8, max_execution_batch_size=4, enable_large_batch_splitting=splits)


def test_callers_in_threads_share_a_run_with_those_on_a_loop() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        first = await busy(runner, gate)
        call = Call(("x:0",), ("y:0",), [np.array([1.0])])
        in_thread = asyncio.ensure_future(asyncio.to_thread(runner.run, gate, call))  # type: ignore[arg-type]
        while not runner._open:
            await asyncio.sleep(0.001)
        on_loop = ask(runner, gate, 2.0)
        await asyncio.sleep(0)
        gate.is_open.set()
        assert await answers(first, in_thread, on_loop) == [[0], [2], [4]]

    assert tell(story).batches == [[0], [1, 2]]


def test_what_comes_while_a_callers_batch_runs_is_the_next_batch() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        call = Call(("x:0",), ("y:0",), [np.array([1.0])])
        in_thread = asyncio.ensure_future(asyncio.to_thread(runner.run, gate, call))  # type: ignore[arg-type]
        await asyncio.to_thread(gate.entered.acquire)
        on_loop = ask(runner, gate, 2.0)
        gate.is_open.set()
        assert await answers(in_thread, on_loop) == [[2], [4]]

    gate = tell(story)
    assert gate.batches == [[1], [2]]
    assert ["batch" in name for name in gate.threads] == [True, True]


def test_a_caller_in_a_thread_waits_for_its_batch_to_fill() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.is_open.set()
        calls = [Call(("x:0",), ("y:0",), [np.array([value])]) for value in (1.0, 2.0)]
        first = asyncio.ensure_future(asyncio.to_thread(runner.run, gate, calls[0]))  # type: ignore[arg-type]
        while not runner._open:
            await asyncio.sleep(0.001)
        assert await asyncio.to_thread(runner.run, gate, calls[1]) == [[4]]  # type: ignore[arg-type]
        assert await answers(first) == [[2]]

    assert tell(story, max_batch_size=2, batch_timeout_s=3600.0).batches == [[1, 2]]
    batches = tell(story, max_batch_size=3, batch_timeout_s=0.02).batches
    assert [row for batch in batches for row in batch] == [1, 2]


def test_a_caller_in_a_thread_waits_no_longer_than_it_may() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        first = await busy(runner, gate)
        ends: list[int] = []
        call = Call(("x:0",), ("y:0",), [np.ones(1)])
        with pytest.raises(StatusError, match="DEADLINE_EXCEEDED"):
            await asyncio.to_thread(runner.run, gate, call, 0.01, lambda: ends.append(1))  # type: ignore[arg-type]
        assert not ends
        gate.is_open.set()
        assert await answers(first) == [[0]]
        while not ends:
            await asyncio.sleep(0.001)

    assert tell(story).batches == [[0]]


def test_a_split_request_ends_once_and_fails_whole() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        gate.is_open.set()
        ends: list[int] = []
        call = Call(("x:0",), ("y:0",), [np.array([1.0, 2.0, -3.0, 4.0])])
        with pytest.raises(StatusError, match="below zero"):
            await runner.run_async(gate, call, None, lambda: ends.append(1))  # type: ignore[arg-type]
        assert ends == [1]

    tell(story, max_batch_size=8, max_execution_batch_size=2, enable_large_batch_splitting=True)


@pytest.mark.parametrize(
    ("waiting", "capacity"), [([], 6), ([1], 5), ([3], 3), ([3, 1], 2), ([3, 3], 0)], ids=lambda value: str(value)
)
def test_a_request_too_large_to_split_into_what_is_free_is_unavailable(waiting: list[int], capacity: int) -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        first = await busy(runner, gate)
        others = [ask(runner, gate, *range(rows)) for rows in waiting]
        await asyncio.sleep(0)
        (refusal,) = await answers(ask(runner, gate, *range(7)))
        assert refusal.startswith("UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; ")
        assert f"task size is 7 but scheduling capacity is only {capacity} " in refusal
        fits = [ask(runner, gate, *range(capacity))] if capacity > 3 else []
        await asyncio.sleep(0)
        gate.is_open.set()
        assert [len(one) for one in await answers(first, *others, *fits)] == [1, *waiting, *[capacity] * len(fits)]

    options = {"max_batch_size": 8, "max_execution_batch_size": 3, "enable_large_batch_splitting": True}
    tell(story, max_enqueued_batches=2, **options)


def test_what_nobody_waits_for_any_more_is_left_out_and_still_ends() -> None:
    async def story(gate: Gate, runner: BatchingRunner) -> None:
        first = await busy(runner, gate)
        ends: list[int] = []
        call = Call(("x:0",), ("y:0",), [np.ones(1)])
        with pytest.raises(StatusError, match="DEADLINE_EXCEEDED"):
            await runner.run_async(gate, call, 0.01, lambda: ends.append(1))  # type: ignore[arg-type]
        assert not ends
        second = ask(runner, gate, 2.0)
        await asyncio.sleep(0)
        gate.is_open.set()
        assert await answers(first, second) == [[0], [4]]
        assert ends == [1]

    assert tell(story).batches == [[0], [2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_batch_size": 8, "allowed_batch_sizes": (2, 4)},
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        ({"max_batch_size": 8, "allowed_batch_sizes": (4, 2, 8)}, "must be monotonically increasing"),
        ({"max_batch_size": 8, "allowed_batch_sizes": (0, 8)}, "must be monotonically increasing"),
        ({"max_batch_size": 0}, "max_batch_size must be positive; was 0"),
        ({"num_batch_threads": 0}, "num_batch_threads must be positive; was 0"),
        ({"batch_timeout_s": -1e-6}, "batch_timeout_micros must be non-negative; was -1"),
        ({"max_enqueued_batches": -1}, "max_enqueued_batches must be non-negative; was -1"),
        (
            {"max_batch_size": 8, "enable_large_batch_splitting": True, "max_execution_batch_size": 9},
            "max_execution_batch_size should be less than or equal to max_batch_size",
        ),
        (
            {"enable_large_batch_splitting": True, "max_execution_batch_size": 0},
            "max_execution_batch_size must be positive; was 0",
        ),
    ],
    ids=["last size", "order", "size 0", "no rows", "no threads", "timeout", "queue", "execution size", "no execution"],
)
def test_options_no_batch_can_be_made_with_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StatusError, match=message) as raised:
        BatchingOptions(**options).check()
    assert raised.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_batch_size": 8, "allowed_batch_sizes": (2, 8)},
        {
            "max_batch_size": 8,
            "enable_large_batch_splitting": True,
            "max_execution_batch_size": 4,
            "allowed_batch_sizes": (4,),
        },
    ],
    ids=["defaults", "sizes", "splitting"],
)
def test_options_that_fit_are_taken(options: dict[str, Any]) -> None:
    BatchingOptions(**options).check()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from serving.server.core.servable import Servable

    base: Path = tmp_path_factory.mktemp("batched")
    loaded = Servable.load(models.two_inputs(base / "1"))
    yield loaded
    loaded.close()


async def predict(runner: BatchingRunner, servable: Any, signature: str, **inputs: Any) -> Any:
    from serving.server.core.plans import plan_predict

    given = {name: np.asarray(value, np.float32) for name, value in inputs.items()}
    call, fetch = plan_predict(servable, signature, given)
    return fetch.outputs(await runner.run_async(servable, call, 5.0))


@pytest.mark.slow
def test_a_models_answers_are_those_without_batching(two: Any) -> None:
    two.batching = BatchingOptions(max_batch_size=64, allowed_batch_sizes=(16, 64))
    runner = BatchingRunner(two.batching, DirectRunner(1), ServingMetrics(Registry()))

    async def many() -> None:
        ranges = [np.arange(index, index + index % 4) for index in range(100)]
        found = await asyncio.gather(*(predict(runner, two, "serving_default", a=a, b=a * 2) for a in ranges))
        for a, outputs in zip(ranges, found, strict=True):
            assert outputs["total"].tolist() == outputs["same"].tolist() == (a * 3).tolist()
            assert outputs["difference"].tolist() == (-a).tolist()

    asyncio.run(many())
    runner.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("rows", {"a": [1], "b": [1]}, "FAILED_PRECONDITION: Batched output tensor has 0 dimensions"),
        ("twice", {"a": [1], "b": [1]}, "FAILED_PRECONDITION: Batched output tensor's 0th dimension does not equal"),
        ("checked", {"a": [np.nan]}, "INVALID_ARGUMENT: not a number"),
    ],
)
def test_a_models_errors_reach_the_request(two: Any, signature: str, inputs: Any, message: str) -> None:
    two.batching = BatchingOptions()
    runner = BatchingRunner(two.batching, DirectRunner(1), ServingMetrics(Registry()))
    with pytest.raises(StatusError) as raised:
        asyncio.run(predict(runner, two, signature, **inputs))
    assert str(raised.value).startswith(message)
    runner.close()
