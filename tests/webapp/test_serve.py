"""The real processes: workers that die and are replaced, an end that loses nothing, one set of numbers of all."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests

from serving.launch.launcher import END_WAIT_S
from tests.support.paths import ROOT
from tests.support.sockets import drained
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.models import Made
from webapp.serve import DRAIN_S

pytestmark = pytest.mark.slow

TIMEOUT_S = 60


@dataclass
class Web:
    """A web app in processes of its own, on a fake model server."""

    process: subprocess.Popen[str]
    url: str
    var: Path

    def predict(self, row: dict[str, Any]) -> requests.Response:
        return requests.post(f"{self.url}/api/v1/predict", json={"model": "cells", "rows": [row]}, timeout=20)

    def workers(self) -> set[int]:
        """The processes that answer: children of the supervisor that were given its socket."""
        return {
            int(stat.parent.name)
            for stat in Path("/proc").glob("[0-9]*/stat")
            if _parent(stat) == self.process.pid and b"spawn_main" in (stat.parent / "cmdline").read_bytes()
        }


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return 0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def environment(var: Path, url: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VOUCH_", "PORT", "PYTHONDONT"))}
    return {**clean, "VOUCH_VAR": str(var), "VOUCH_MODEL_SERVER_REST": url, "VOUCH_RATE_LIMIT": ""}


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=5).ok
    except requests.RequestException:
        return False


def listeners(url: str) -> int:
    """The workers that listen; each has a socket of its own on the port."""
    place = f"0100007F:{int(url.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum(row[1] == place and row[3] == "0A" for row in rows)


@contextmanager
def started(var: Path, serving: Path, model_server: str, **extra: str) -> Iterator[Web]:
    var.mkdir(exist_ok=True)
    (var / "serving").symlink_to(serving)
    with (var / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "webapp", "--port", "0"],
            cwd=ROOT,
            env=environment(var, model_server) | extra,
            text=True,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdout
    [url] = re.findall(r"http://[\d.:]+", process.stdout.readline())
    try:
        until(lambda: (listeners(url) == 2 and is_ready(url)) or process.poll() is not None)
        assert process.poll() is None, (var / "log").read_text()
        yield Web(process, url, var)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def shared(webapp_root: Path, _fake: FakeModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """One for all tests that leave it as it was, whatever they do to its workers."""
    with started(tmp_path_factory.mktemp("web") / "var", webapp_root / "serving", _fake.url) as web:
        yield web


@pytest.fixture
def web(shared: Web, fake: FakeModelServer) -> Web:
    """The shared one, on a model server that does as it should."""
    until(lambda: listeners(shared.url) == 2 and is_ready(shared.url))
    return shared


@pytest.fixture
def own(webapp_root: Path, fake: FakeModelServer, tmp_path: Path) -> Iterator[Web]:
    """One that a test may end."""
    with started(tmp_path / "var", webapp_root / "serving", fake.url) as web:
        yield web


def test_a_worker_that_is_killed_is_replaced_while_others_answer(web: Web, made: dict[str, Made]) -> None:
    before = web.workers()
    assert len(before) == 2
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    lost = 0
    row = made["cells"].row()
    for _ in range(50):
        try:
            lost += web.predict(row).status_code != 200
        except requests.RequestException:
            lost += 1
    assert lost <= 1
    until(lambda: len(web.workers() - {victim}) == 2 and listeners(web.url) == 2)
    assert web.predict(row).status_code == 200


def metrics_folder(web: Web) -> Path:
    words = (Path(f"/proc/{min(web.workers())}") / "environ").read_bytes().split(b"\0")
    [folder] = [Path(word.partition(b"=")[2].decode()) for word in words if word.startswith(b"PROMETHEUS_MULTIPROC")]
    return folder


def counted(page: str) -> float:
    """The rows of `cells` that were predicted so far."""
    return sum(map(float, re.findall(r'vouch_predictions_total\{[^}]*model="cells"[^}]*\} (\S+)', page)))


def metrics(web: Web) -> str:
    return requests.get(f"{web.url}/metrics", timeout=5).text


def test_the_metrics_of_a_worker_that_died_are_gone_on_with(web: Web, made: dict[str, Made]) -> None:
    folder = metrics_folder(web)
    before, asked, files = counted(metrics(web)), 0, set()
    for _ in range(2):
        while listeners(web.url) < 2:
            time.sleep(0.05)
        for _ in range(8):  # both workers get some
            asked += web.predict(made["cells"].row()).status_code == 200
        files = files or {path.name for path in folder.glob("*.db")}
        victim = min(web.workers())
        os.kill(victim, signal.SIGKILL)
        until(lambda gone=victim: len(web.workers() - {gone}) == 2 and listeners(web.url) == 2)  # type: ignore[misc]
    assert counted(metrics(web)) == before + asked
    assert {path.name for path in folder.glob("*.db")} == files


def test_the_metrics_are_those_of_all_workers_together(web: Web, made: dict[str, Made]) -> None:
    row, before = made["cells"].row(), counted(metrics(web))
    with ThreadPoolExecutor(8) as pool:
        assert all(answer.ok for answer in pool.map(lambda _: web.predict(row), range(60)))
    assert {counted(metrics(web)) for _ in range(10)} == {before + 60}


@pytest.mark.parametrize(("line", "status"), [("G@T /", 400), (f"GET /{'a' * (1 << 16)}", 414)], ids=["400", "414"])
def test_what_no_app_hears_of_is_refused_without_a_word(web: Web, line: str, status: int) -> None:
    logged = (web.var / "log").read_text()
    with socket.create_connection(("127.0.0.1", int(web.url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(f"{line} HTTP/1.1\r\nHost: vouch\r\n\r\n".encode())
        answer, _, body = drained(connection).partition(b"\r\n\r\n")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert body == b""
    assert (web.var / "log").read_text() == logged
    assert is_ready(web.url)


def test_at_the_end_requests_under_way_are_answered_and_the_log_is_written(
    own: Web, fake: FakeModelServer, made: dict[str, Made]
) -> None:
    fake.delay_s = 1.0
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(own.predict, made["cells"].row())
        time.sleep(0.3)  # it has to be under way
        own.process.send_signal(signal.SIGTERM)
        assert under_way.result().status_code == 200
    assert own.process.wait(20) == 0
    logged = [pq.read_table(path) for path in (own.var / "predictions").rglob("*.parquet")]
    assert sum(table.num_rows for table in logged) == 1


@pytest.mark.exhaustive
def test_at_the_end_a_request_that_never_ends_is_cut(
    webapp_root: Path, fake: FakeModelServer, made: dict[str, Made], tmp_path: Path
) -> None:
    with (
        started(tmp_path / "var", webapp_root / "serving", fake.url, VOUCH_MODEL_SERVER_TIMEOUT_S="60") as web,
        ThreadPoolExecutor(1) as pool,
    ):
        fake.mood = "hanging"
        asked = pool.submit(web.predict, made["cells"].row())
        until(lambda: fake.hanging == 1)
        workers = web.workers()
        web.process.send_signal(signal.SIGTERM)
        web.process.wait(TIMEOUT_S)
        assert fake.hanging == 1, "the model server has not answered it"
        assert not any(_is_running(worker) for worker in workers)
        with pytest.raises(requests.ConnectionError):
            asked.result()
    assert DRAIN_S <= 8  # with what it takes to end, no more than 10
    assert DRAIN_S < END_WAIT_S, "who has started it would kill it before"


def test_pages_are_answered_while_many_predictions_wait(web: Web, fake: FakeModelServer, made: dict[str, Made]) -> None:
    count = 40
    fake.mood = "hanging"
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(web.predict, made["cells"].row()) for _ in range(count)]
        until(lambda: fake.hanging == count)
        assert requests.get(f"{web.url}/api/v1/models", timeout=10).ok
        fake.calm()
        assert {answer.result().status_code for answer in asked} <= {200, 503}
    until(lambda: web.predict(made["cells"].row()).ok)


def test_workers_end_with_their_supervisor_and_leave_neither_port_nor_files(own: Web) -> None:
    workers, folder = own.workers(), metrics_folder(own)
    assert len(workers) == 2
    own.process.kill()
    until(lambda: not any(_is_running(worker) for worker in workers))
    with socket.create_server(("127.0.0.1", int(own.url.rpartition(":")[2]))):
        pass
    assert not folder.exists()


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_port_of_another_web_app_is_taken_too(web: Web) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "webapp", "--port", web.url.rpartition(":")[2]],
        cwd=ROOT,
        env=environment(web.var, "http://127.0.0.1:1"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 5
    assert "VOUCH_PORT" in done.stderr


def test_accounts_that_cannot_be_read_are_told_once(webapp_root: Path, tmp_path: Path) -> None:
    (tmp_path / "webapp.sqlite").write_bytes(b"this is no database, and it is long enough to be taken for one" * 100)
    told = {"VOUCH_AUTH": "on", "VOUCH_SECRET_KEY": "a secret of this test, 0123456789 abcdefghij"}
    done = subprocess.run(
        [sys.executable, "-m", "webapp", "--port", "0"],
        cwd=ROOT,
        env=environment(tmp_path, "http://127.0.0.1:1") | told,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 5
    assert str(tmp_path / "webapp.sqlite") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_told(webapp_root: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "webapp", "--port", port],
            cwd=ROOT,
            env=environment(webapp_root, "http://127.0.0.1:1"),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert done.returncode == 5
    assert port in done.stderr
    assert "VOUCH_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_once_it_is_asked_it_leaves(webapp_root: Path, fake: FakeModelServer, tmp_path: Path) -> None:
    (tmp_path / "serving").symlink_to(webapp_root / "serving")
    done = subprocess.run(
        [sys.executable, "-m", "webapp", "--port", "0", "--once"],
        cwd=ROOT,
        env=environment(tmp_path, fake.url),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"row 0 of the test split: [BM] with 0\.\d{4}", done.stdout)


def test_help_imports_next_to_nothing() -> None:
    code = "import sys, webapp.__main__; print({'flask', 'requests', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_tensorflow_is_never_imported(webapp_root: Path) -> None:
    code = (
        "import sys; from webapp import create_app; create_app(); print([m for m in sys.modules if 'tensorflow' in m])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(webapp_root, "http://127.0.0.1:1"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(name.startswith("tensorflow_metadata") for name in eval(done.stdout))


def test_a_job_whose_worker_is_killed_is_finished_by_another(
    webapp_root: Path, web: Web, fake: FakeModelServer, made: dict[str, Made]
) -> None:
    header, row = ",".join(made["cells"].columns), ",".join(str(values[0]) for values in made["cells"].columns.values())
    fake.delay_s = 0.2
    body = "\n".join([header, *[row] * 20_000, ""])
    job = requests.post(
        f"{web.url}/api/v1/jobs?model=cells", data=body, headers={"Content-Type": "text/csv"}, timeout=30
    )
    place = web.url + job.headers["Location"]

    def state() -> str:
        try:
            return str(requests.get(place, timeout=20).json()["state"])
        except requests.RequestException:
            return "not answered"

    until(lambda: state() == "running")
    victims = web.workers()
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    fake.delay_s = 0.0
    until(lambda: not victims & web.workers() and listeners(web.url) == 2)
    until(lambda: state() == "done")
    result = requests.get(f"{place}/result", timeout=30).text
    assert result.count("\n") == 20_001
