"""How much slower pages and predictions become in a house of many models: 20 of 20 versions each beside one of one.

Both web apps run as `make demo` starts them, each before a model server of its own, and are asked in turn.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests

from bench.commit import HERE, web_app
from bench.load import wait_until_idle
from bench.release import push
from bench.report import RunFailed, finish, parser, positive, start, table, verdict
from bench.serving import newest
from common.paths import Paths, var_root
from serving.launch.launcher import Start, launch
from serving.repository.contents import Golden
from serving.repository.layout import DEFAULT_SIGNATURE

MODELS, VERSIONS = 20, 20
TIMES = 2.0  # of one model's time
ANSWER_S = 30.0
Deed = Callable[[int], requests.Response]  # of the number of the request


def main() -> None:
    options = parser("many", __doc__)
    options.add_argument("--model", default="iris", help="whose newest pushed version is copied (%(default)s)")
    options.add_argument("--requests", type=positive, default=200, help="of each kind to each house (%(default)s)")
    options.add_argument("--scratch", type=Path, default=Path(".tools/bench_many"), help="folder for state and logs")
    given = options.parse_args()
    version, scratch = newest(Paths(var_root(), given.model).serving), given.scratch.resolve()
    shutil.rmtree(scratch, ignore_errors=True)
    with house(version, scratch / "one", 1, 1) as one, house(version, scratch / "many", MODELS, VERSIONS) as many:
        times_ms = {name: in_turns(one[name], many[name], given.requests) for name in one}
    result = {name: summary(*each) for name, each in times_ms.items()}
    finish(markdown(result), {"times": result}, given.out, passed=all(each["kept"] for each in result.values()))


@contextmanager
def house(version: Path, var: Path, models: int, versions: int) -> Iterator[dict[str, Deed]]:
    """Run a web app before a model server with copies of a version; yield what is asked of it."""
    names = [f"m{number:02}" for number in range(models)]
    (var / "serving").mkdir(parents=True)
    for name in names:
        for number in range(1, versions + 1):
            push(version, var / "serving" / name, number)
    columns = Golden.read(version).columns(DEFAULT_SIGNATURE)
    row = {name: values[0] for name, values in columns.items()}
    with ExitStack() as stack:
        server = stack.enter_context(launch(Start(var / "serving", rest_port=0, grpc_port=0)))
        app = stack.enter_context(web_app(HERE, var, server.addresses))
        session = stack.enter_context(requests.Session())

        def get(path: str) -> Deed:
            return lambda n: session.get(app.url + path.format(names[n % models]), timeout=ANSWER_S)

        def predict(n: int) -> requests.Response:
            body = {"model": names[n % models], "row": row}
            return session.post(f"{app.url}/api/v1/predict", json=body, timeout=ANSWER_S)

        wait_until_idle(app.pid)
        yield {
            "start page, `/`": get("/"),
            "Models, `/models`": get("/models"),
            "one model's versions, `/models/…`": get("/models/{}"),
            "the form, `/predict/…`": get("/predict/{}"),
            "a row of the test split, `/by-index/…`": get("/by-index/{}"),
            "`GET /api/v1/models`": get("/api/v1/models"),
            "`POST /api/v1/predict`": predict,
        }


def in_turns(one: Deed, many: Deed, count: int) -> tuple[list[float], list[float]]:
    """Return what each took, in ms; the first tenth, when versions are read, counts not."""
    pairs = [(_took_ms(one, n), _took_ms(many, n)) for n in range(count)][count // 10 :]
    return [first for first, _ in pairs], [second for _, second in pairs]


def _took_ms(deed: Deed, number: int) -> float:
    began = time.perf_counter()
    answer = deed(number)
    took_ms = 1000 * (time.perf_counter() - began)
    if not answer.ok:
        raise RunFailed(f"{answer.url} was not answered well", got=answer.status_code)
    return took_ms


def summary(one: Sequence[float], many: Sequence[float]) -> dict[str, float]:
    first, second = statistics.median(one), statistics.median(many)
    return {"one_ms": first, "many_ms": second, "times": second / first, "kept": second / first <= TIMES}


def markdown(result: dict[str, dict[str, float]]) -> str:
    rows = [
        (name, f"{r['one_ms']:.1f}", f"{r['many_ms']:.1f}", f"{r['times']:.2f}", verdict(bool(r["kept"])))
        for name, r in result.items()
    ]
    titles = ("what", "1 × 1, ms", f"{MODELS} × {VERSIONS}, ms", f"times (at most {TIMES:g})", "")
    return table(titles, rows)


if __name__ == "__main__":
    start(main)
