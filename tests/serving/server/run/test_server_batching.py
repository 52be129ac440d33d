"""Requests in batches, seen from outside: each gets its own answer or its own error, and too many are shed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import requests

from tests.support.serving import models
from tests.support.serving.running import Running, running

pytestmark = pytest.mark.slow

CLIENTS = 64
WIDE = "max_batch_size { value: 64 } batch_timeout_micros { value: 20000 } max_enqueued_batches { value: 100 }"
NARROW = "max_batch_size { value: 1 } max_enqueued_batches { value: 3 }"
T = TypeVar("T")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("batching")
    models.half_plus(base / "half" / "1")
    models.half_plus(base / "alone" / "1")
    models.two_inputs(base / "two" / "1")
    models.slow(base / "slow" / "1")
    for name, parameters in (("half", WIDE), ("two", WIDE), ("slow", NARROW)):
        (base / name / "1" / "batching_params.pbtxt").write_text(parameters)
    entries = [
        f'config {{ name: "{name}" base_path: "{base / name}" model_platform: "tensorflow" }}'
        for name in ("half", "alone", "two", "slow")
    ]
    (base / "models").write_text(f"model_config_list {{ {' '.join(entries)} }}")
    (base / "threads").write_text('num_batch_threads { value: 2 } thread_pool_name { value: "all" }')
    (base / "monitoring").write_text("prometheus_config { enable: true }")
    flags = [
        f"--model_config_file={base / 'models'}",
        "--enable_batching",
        f"--batching_parameters_file={base / 'threads'}",
        "--enable_per_model_batching_parameters",
        f"--monitoring_config_file={base / 'monitoring'}",
    ]
    with running(base / "log", *flags) as server:
        yield server


def at_once(ask: Callable[[int], T], count: int) -> list[T]:
    with ThreadPoolExecutor(count) as clients:
        return list(clients.map(ask, range(count)))


def runs(server: Running) -> int:
    page = requests.get(f"{server.url}/monitoring/prometheus/metrics", timeout=10).text
    found = re.search(r"^:tensorflow:serving:batching_session:wrapped_run_count\{\} (\d+)$", page, re.MULTILINE)
    return int(found[1]) if found else 0


def test_each_of_many_clients_gets_the_answer_to_its_own_rows(server: Running) -> None:
    def ask(client: int) -> bool:
        with requests.Session() as session:
            for turn in range(10):
                rows = [float(client * 100 + turn + i) for i in range(client % 3 + 1)]
                body = {"instances": rows}
                batched = session.post(f"{server.url}/v1/models/half:predict", json=body, timeout=30).json()
                alone = session.post(f"{server.url}/v1/models/alone:predict", json=body, timeout=30).json()
                if not batched == alone == {"predictions": [row / 2 + 2 for row in rows]}:
                    return False
        return True

    before = runs(server)
    assert all(at_once(ask, CLIENTS))
    assert 0 < runs(server) - before < CLIENTS * 10 / 2  # those of `alone`, which brings no parameters, do not count


def test_an_error_of_one_is_not_an_error_of_the_others(server: Running) -> None:
    def ask(client: int) -> requests.Response:
        value = b"NaN" if client % 10 == 0 else b"%d" % client
        return server.predict("two", None, data=b'{"signature_name": "checked", "instances": [%b]}' % value)

    answers = at_once(ask, CLIENTS)
    for client, answer in enumerate(answers):
        if client % 10 == 0:
            assert (answer.status_code, "not a number" in answer.json()["error"]) == (400, True)
        else:
            assert answer.json() == {"predictions": [float(client)]}


def test_what_fits_no_batch_is_refused_alone(server: Running) -> None:
    answer = server.predict("half", {"instances": [1.0] * 65})
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "Task size 65 is larger than maximum input batch size 64",
    )
    assert server.predict("alone", {"instances": [1.0] * 65}).status_code == 200


def test_a_burst_is_shed_and_over_when_it_is_over(server: Running) -> None:
    def ask(client: int) -> tuple[int, str]:
        answer = server.predict("slow", {"instances": [0.05]})
        return answer.status_code, answer.text

    answers = at_once(ask, 10 * 5)  # two threads and a queue of three take five
    served = [status for status, _ in answers if status == 200]
    shed = [text for status, text in answers if status == 503]
    assert len(served) + len(shed) == len(answers)
    assert len(served) >= 5
    assert len(shed) >= 5
    assert all("The batch scheduling queue to which this task was submitted is full" in text for text in shed)
    assert ask(0)[0] == 200
    assert server.predict("half", {"instances": [2.0]}).json() == {"predictions": [3.0]}
