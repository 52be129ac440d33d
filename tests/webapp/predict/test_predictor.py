from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import VouchError
from common.text import MISSING_CODE
from serving.client.errors import BadAnswer, ModelServerDown, ModelServerFailed, ModelServerTimeout
from serving.client.rest import RestClient
from serving.client.retry import Policy
from serving.release.state import Entry, Intent, Record, State, Store
from tests.support.web.fake_model_server import FakeModelServer, probabilities_of
from tests.support.web.models import Made, labels_of, make_version, release
from tests.support.web.predicting import ASKED, Bench
from webapp.models.releases import Choice
from webapp.types import InvalidInput


@pytest.fixture
def make_bench(fake: FakeModelServer, webapp_root: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(serving: Path = webapp_root / "serving", url: str = fake.url) -> Bench:
        made.append(Bench(serving, url))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()


@pytest.mark.parametrize("model", ["cells", "patients", "flowers"])
def test_each_row_is_answered_by_what_the_model_says(
    bench: Bench, fake: FakeModelServer, made: dict[str, Made], model: str
) -> None:
    rows = [made[model].row(n) for n in range(7)]
    answer = bench.predictor.predict(model, rows, ASKED)
    expected = probabilities_of(made[model], {n: [row.get(n) for row in rows] for n in made[model].columns})
    assert [o.label for o in answer.outcomes] == labels_of(made[model], expected)
    assert np.allclose([list(o.probabilities.values()) for o in answer.outcomes], expected, atol=1e-5)
    assert [tuple(o.probabilities) for o in answer.outcomes] == [made[model].classes] * 7
    positive = made[model].positive
    for outcome in answer.outcomes:
        told = outcome.probabilities[positive] if positive else max(outcome.probabilities.values())
        assert outcome.score == told
    assert (answer.version, answer.route, answer.threshold) == (1, "stable", made[model].threshold)
    assert fake.asked[0]["path"] == f"/v1/models/{model}/versions/1:predict"


@pytest.mark.parametrize(("model", "signature"), [("cells", "serving_packed"), ("patients", "serving_default")])
def test_numbers_alone_travel_as_one_matrix(
    bench: Bench, fake: FakeModelServer, made: dict[str, Made], model: str, signature: str
) -> None:
    bench.predictor.predict(model, [made[model].row(0)], ASKED)
    assert fake.asked[0]["signature_name"] == signature


def test_large_whole_numbers_travel_to_the_last_digit(
    make_bench: Callable[..., Bench], fake: FakeModelServer, made: dict[str, Made], tmp_path: Path
) -> None:
    """As float32 the seconds of two minutes are one number."""
    cells = made["cells"]
    name = next(iter(cells.columns))
    seconds = [1_700_000_001 + i for i in range(len(cells.columns[name]))]
    make_version(tmp_path, replace(cells, columns={**cells.columns, name: seconds}), 1)
    release(tmp_path, "cells", 1)
    bench = make_bench(tmp_path)
    bench.predictor.predict("cells", [cells.row(0) | {name: seconds[0]}], ASKED)
    [sent] = fake.asked[0]["inputs"]["features"]
    assert seconds[0] in sent


def test_what_is_missing_travels_as_the_model_takes_it(
    make_bench: Callable[..., Bench], fake: FakeModelServer, made: dict[str, Made], tmp_path: Path
) -> None:
    patients = made["patients"]
    gaps = {"ward": [None, *patients.columns["ward"][1:]], "city": [None, *patients.columns["city"][1:]]}
    make_version(tmp_path, replace(patients, columns={**patients.columns, **gaps}), 1)
    release(tmp_path, "patients", 1)
    bench = make_bench(tmp_path)
    row = {name: value for name, value in patients.row(1).items() if name not in ("ward", "city", "cholesterol")}
    bench.predictor.predict("patients", [row], ASKED)
    sent = fake.asked[0]["inputs"]
    assert (sent["ward"], sent["city"]) == ([MISSING_CODE], [""])
    assert math.isnan(sent["cholesterol"][0])
    logged = bench.kept.batches[0].columns
    assert (logged["ward"], logged["city"]) == ([None], [None])


def test_every_answer_is_logged_and_counted(bench: Bench, made: dict[str, Made]) -> None:
    rows = [made["cells"].row(n) for n in range(3)]
    rows[0]["radius"] = 1000.0
    answer = bench.predictor.predict("cells", rows, replace(ASKED, sticky_key="k"))
    [batch] = bench.kept.batches
    assert (batch.model, batch.version, batch.route, batch.asked.sticky_key) == ("cells", 1, "stable", "k")
    assert batch.columns["radius"] == [row["radius"] for row in rows]
    assert batch.labels == [outcome.label for outcome in answer.outcomes]
    assert batch.probabilities.shape == (3, 2)
    assert batch.probabilities.dtype == np.float32
    assert (batch.classes, batch.positive) == (("B", "M"), "M")
    assert batch.latency_s == answer.latency_s > 0
    assert [len(outcome.cautions) for outcome in answer.outcomes] == [1, 0, 0]
    assert bench.counted("vouch_prediction_cautions_total", model="cells", feature="radius") == 1
    label = {"model": "cells", "version": "1", "route": "stable", "label": "M"}
    assert bench.counted("vouch_predictions_total", **label) == batch.labels.count("M")
    assert bench.counted("vouch_model_server_calls_total", outcome="ok") == 1


def test_what_is_not_valid_never_reaches_the_model_server(bench: Bench, fake: FakeModelServer) -> None:
    with pytest.raises(InvalidInput):
        bench.predictor.predict("cells", [{}], ASKED)
    assert (fake.asked, bench.kept.batches) == ([], [])


@pytest.mark.parametrize(
    ("mood", "error"),
    [
        ("garbage", BadAnswer),
        ("nan", BadAnswer),
        ("fewer", BadAnswer),
        ("beyond", BadAnswer),
        ("stranger", BadAnswer),
        ("more-than-one", BadAnswer),
        ("contrary", BadAnswer),
        ("failing", ModelServerFailed),
        ("unavailable", ModelServerDown),
        ("closing", ModelServerDown),
    ],
)
@pytest.mark.parametrize("model", ["cells", "flowers"])
def test_nonsense_is_never_shown_as_a_prediction(
    bench: Bench, fake: FakeModelServer, made: dict[str, Made], model: str, mood: Any, error: type[VouchError]
) -> None:
    fake.mood = mood
    with pytest.raises(error):
        bench.predictor.predict(model, [made[model].row(0)], ASKED)
    assert bench.kept.batches == []
    assert bench.counted("vouch_model_server_calls_total", outcome=error.__name__) == 1


def test_a_model_server_that_hangs_is_left_in_time(
    fake: FakeModelServer, webapp_root: Path, made: dict[str, Made]
) -> None:
    fake.mood = "hanging"
    bench = Bench(webapp_root / "serving", fake.url, Policy(budget_s=0.1))
    with pytest.raises(ModelServerTimeout):
        bench.predictor.predict("cells", [made["cells"].row(0)], ASKED)
    assert bench.kept.batches == []
    bench.close()


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ({"label": ["B"]}, "no answer of a classifier"),
        ({"probabilities": [[0.5, 0.5]]}, "no answer of a classifier"),
        ({"label": ["B"], "probabilities": [[0.2, 0.3, 0.5]]}, "number of probabilities"),
        ({"label": ["B"], "probabilities": [0.5]}, "number of probabilities"),
        ({"label": ["B"], "probabilities": [["0.5", "x"]]}, "no answer of a classifier"),
        ({"label": ["B"], "probabilities": [[-0.1, 1.1]]}, "a value that is not a probability"),
        ({"label": [b"B"], "probabilities": [[0.5, 0.5]]}, "a class it does not have"),
        ({"label": [["B"]], "probabilities": [[0.5, 0.5]]}, "a class it does not have"),
    ],
)
def test_an_answer_of_another_shape_is_refused(
    make_bench: Callable[..., Bench],
    fake: FakeModelServer,
    made: dict[str, Made],
    monkeypatch: pytest.MonkeyPatch,
    outputs: dict[str, Any],
    told: str,
) -> None:
    monkeypatch.setattr(RestClient, "predict", lambda *_, **__: outputs)
    with pytest.raises(BadAnswer, match=told):
        make_bench().predictor.predict("cells", [made["cells"].row(0)], ASKED)


def test_no_server_at_all_is_told_so(make_bench: Callable[..., Bench], made: dict[str, Made]) -> None:
    with pytest.raises(ModelServerDown):
        make_bench(url="http://127.0.0.1:9").predictor.predict("cells", [made["cells"].row(0)], ASKED)


def test_a_candidate_that_is_gone_gives_way_to_stable(
    make_bench: Callable[..., Bench], made: dict[str, Made], tmp_path: Path
) -> None:
    make_version(tmp_path, made["cells"], 1)
    make_version(tmp_path, made["cells"], 3)  # the fake model server has 1 and 2
    release(tmp_path, "cells", 1, candidate=3, weight_percent=100.0)
    bench = make_bench(tmp_path)
    answer = bench.predictor.predict("cells", [made["cells"].row(0)], ASKED)
    assert (answer.version, answer.route) == (1, "stable")
    assert [batch.version for batch in bench.kept.batches] == [1]
    model_version, choice = bench.predictor.pinned("cells", ASKED)
    assert (model_version.version, choice) == (1, Choice(1, "stable"))


def test_a_request_in_the_middle_of_a_rollback_is_answered(
    make_bench: Callable[..., Bench], made: dict[str, Made], tmp_path: Path
) -> None:
    for version in (1, 3):
        make_version(tmp_path, made["cells"], version)
    before, after = State(3, previous=1), State(1)
    entry = Entry("1", "now", "me", "rollback", before, after, "", "", "")
    Store(tmp_path, "cells").write(Record(before, Intent(entry, is_decided=True)))
    assert make_bench(tmp_path).predictor.predict("cells", [made["cells"].row(0)], ASKED).version == 1


def test_a_released_version_that_the_server_lacks_is_its_fault(
    make_bench: Callable[..., Bench], made: dict[str, Made], tmp_path: Path
) -> None:
    make_version(tmp_path, made["cells"], 3)
    release(tmp_path, "cells", 3)
    bench = make_bench(tmp_path)
    for ask in (
        lambda: bench.predictor.predict("cells", [made["cells"].row(0)], ASKED),
        lambda: bench.predictor.pinned("cells", ASKED),
    ):
        with pytest.raises(ModelServerDown, match="does not have cells version 3"):
            ask()
