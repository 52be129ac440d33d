"""One row, as it stands in somebody's file, gets one answer at every door."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.text import MISSING_CODE

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]  # a whole run, and a model server
HEADER = ["job", "pay", "share", "admitted", "bmi", "sex", "ward"]
# as they stand in the file, and as somebody who has typed values sends them to the model server itself
ROWS: list[tuple[list[str], dict[str, Any]]] = [
    (
        [" cook", "1,200", "58.0%", "2024-02-29", "-999", "Male", "2.0"],
        {
            "job": " cook",
            "pay": 1200.0,
            "share": 58.0,
            "admitted": "2024-02-29",
            "bmi": -999.0,
            "sex": "Male",
            "ward": 2,
        },
    ),
    (
        ["smith", "61,200", "8.5%", " 2023-07-01 ", "22.5", "male ", ""],
        {
            "job": "smith",
            "pay": 61200.0,
            "share": 8.5,
            "admitted": " 2023-07-01 ",
            "bmi": 22.5,
            "sex": "male ",
            "ward": MISSING_CODE,
        },
    ),
    (
        [" ?", "9,900", "70%", "", "31.0", "female", "4"],
        {"job": " ?", "pay": 9900.0, "share": 70.0, "admitted": "", "bmi": 31.0, "sex": "female", "ward": 4},
    ),
]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory, onboarded: Any) -> Any:
    rng = random.Random(7)
    path = tmp_path_factory.mktemp("doors") / "doors.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*HEADER, " label"])
        for number in range(500):
            job, share = rng.choice([" cook", "cook", "smith", " ?"]), rng.uniform(1, 99)
            sex = rng.choice(["male", "male", "male ", "female", "Male" if number % 5 == 0 else "female"])
            bmi = "-999" if rng.random() < 0.2 else f"{rng.uniform(18, 40):.1f}"
            day = "" if rng.random() < 0.1 else f"202{number % 5}-{1 + number % 12:02d}-{1 + number % 28:02d}"
            ward = "" if rng.random() < 0.1 else f"{rng.randrange(1, 5)}.0"
            yes = share > 50 if rng.random() < 0.8 else job.strip() == "cook"
            row = [job, f"{100 * rng.randrange(10, 999):,}", f"{share:.1f}%", day, bmi, sex, ward]
            table.writerow([*row, ["no ", "yes"][yes]])
    told = ["--type", "admitted=date", "--type", "ward=category", "--null", "-999"]
    run = onboarded(path, "--label", "label", *told, sets=["model.epochs=20", "evaluation.when_plain_is_better=warn"])
    assert run.returncode == 0, run.output
    return run


@pytest.fixture(scope="module")
def server(pushed: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.support.serving.running import running

    log = tmp_path_factory.mktemp("server") / "log"
    with running(log, "--model_name=doors", f"--model_base_path={pushed.serving}") as server:
        yield server


@pytest.fixture(scope="module")
def client(pushed: Any, server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from serving.release import commands as release
    from serving.release.servers import ReleaseContext
    from tests.support.web.apps import own_app

    release.prepare(ReleaseContext(pushed.serving.parent, (), "test"))
    with own_app(tmp_path_factory.mktemp("web") / "var", pushed.serving.parent, server.url) as app:
        yield app[0].test_client()


@pytest.fixture(scope="module")
def raw(server: Any) -> list[float]:
    """What the model server says by itself."""
    inputs = {name: [typed[name] for _, typed in ROWS] for name in HEADER}
    answer = server.predict("doors", {"inputs": inputs})
    assert answer.status_code == 200, answer.text
    return [float(p) for p in answer.json()["outputs"]["probability"]]


def as_csv(rows: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([HEADER, *rows])
    return out.getvalue()


def test_the_settings_are_what_the_table_asks_for(pushed: Any) -> None:
    from config.load import load_settings

    data = load_settings(pushed.serving / "1" / "assets.extra" / "settings.yaml").data
    assert (data.thousands, data.percent, data.trim, data.label) == (",", True, True, "label")
    assert data.spellings == {"sex": {"Male": "male"}}
    assert "-999" in data.null_values


def test_a_cleaned_row_gets_the_same_answer_from_the_model_itself(server: Any, raw: list[float]) -> None:
    clean = {
        "job": ["cook", "smith", ""],
        "sex": ["male", "male", "female"],
        "admitted": ["2024-02-29", "2023-07-01", ""],
    }
    inputs = {name: clean.get(name) or [typed[name] for _, typed in ROWS] for name in HEADER}
    answer = server.predict("doors", {"inputs": inputs})
    assert answer.json()["outputs"]["probability"] == pytest.approx(raw)
    assert len({round(p, 6) for p in raw}) == 3, "the rows differ"


def test_serving_predict(pushed: Any, server: Any, raw: list[float], tmp_path: Path) -> None:
    from serving.client.rest import RestClient
    from serving.client.row_files import predict_file
    from serving.client.types import NEWEST

    path, out = tmp_path / "rows.csv", io.StringIO()
    path.write_text(as_csv([row for row, _ in ROWS]), encoding="utf-8")
    client = RestClient(server.url)
    done = predict_file(client, "doors", NEWEST, path, out, lambda chunk: None, root=pushed.serving.parent)
    assert done == (3, 0)
    assert [float(row["probability"]) for row in csv.DictReader(io.StringIO(out.getvalue()))] == pytest.approx(raw)


def test_an_upload(client: Any, raw: list[float]) -> None:
    text = as_csv([row for row, _ in ROWS])
    answer = client.post("/api/v1/predict/csv?model=doors", data=text, content_type="text/csv")
    assert answer.headers["X-Failed"] == "0", answer.text
    rows = csv.DictReader(io.StringIO(answer.text))
    assert [float(row["probability"]) for row in rows] == pytest.approx(raw, abs=1e-6)


def test_the_api(client: Any, raw: list[float]) -> None:
    rows = [
        {name: None if value in ("", MISSING_CODE) else value for name, value in typed.items()} for _, typed in ROWS
    ]
    answer = client.post("/api/v1/predict", json={"model": "doors", "rows": rows})
    assert answer.status_code == 200, answer.text
    assert [row["probability"] for row in answer.json["predictions"]] == pytest.approx(raw, abs=1e-6)


def test_the_page(client: Any, raw: list[float]) -> None:
    from tests.support.web.apps import csrf_token

    for (row, _), probability in zip(ROWS, raw, strict=True):
        form = dict(zip(HEADER, row, strict=True)) | {"csrf_token": csrf_token(client, "/predict/doors")}
        answer = client.post("/predict/doors", data=form)
        assert answer.status_code == 200
        assert f"{100 * probability:.1f}" in answer.text
