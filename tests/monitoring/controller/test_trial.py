"""The candidate beside the stable version: what ends a trial, and what does not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from common.records.images import keep
from config.data_settings import IMAGE_BYTES
from monitoring.controller.trial import LEAST_ROWS, Number, Pairs, ask, judge, look, read_rows
from serving.client.errors import InvalidRequest, ModelServerDown
from serving.client.types import DEFAULT_SIGNATURE, Metadata, ModelClient, Signature, TensorInfo, VersionSpec
from serving.release.state import State
from tests.support.drift import MIDNIGHT, Watched, patients
from tests.support.web.logged import batch, put

STATE = State(1, candidate=2, weight_percent=10)
NO_PICTURES = Path("none")
INPUTS = {"age": TensorInfo("DT_FLOAT", (-1,)), "kind": TensorInfo("DT_STRING", (-1,))}


@dataclass
class TwoVersions:
    """A model server: version 1 says yes above 50, version 2 above its own limit."""

    limit: float = 50.0
    fails: type[Exception] | None = None
    fails_times: int = 10**9
    asked: list[int] = field(default_factory=list)

    def metadata(self, model: str, spec: VersionSpec) -> Metadata:
        return Metadata(spec.version or 0, {DEFAULT_SIGNATURE: Signature(INPUTS, {})})

    def predict(self, model: str, columns: Mapping[str, Any], spec: VersionSpec) -> dict[str, Any]:
        assert set(columns) == set(INPUTS)
        self.asked.append(len(columns["age"]))
        if spec.version == 2 and self.fails and self.fails_times:
            self.fails_times -= 1
            raise self.fails("no answer")
        limit = 50.0 if spec.version == 1 else self.limit
        return {"label": ["yes" if age > limit else "no" for age in columns["age"]]}


def pairs(stable: str, candidate: str, truth: str = "") -> Pairs:
    return Pairs([*stable], [*candidate], [*truth] if truth else [""] * len(stable))


def test_versions_that_decide_alike_go_on_and_the_sentence_says_how_they_did() -> None:
    said = judge(pairs("yn" * 50, "yn" * 50, "yy" * 50), [], [], 300)
    assert not said.stop
    assert said.sentence == (
        "it answered 300 rows on trial; of 100 labelled rows it has 50 right, the stable version 50"
    )
    assert said.numbers["changed"] == 0


def test_a_row_that_only_the_stable_version_answers_ends_it() -> None:
    said = judge(Pairs(["y"], ["y"], [""], ["the model server failed"]), [], [], 300)
    assert said.stop == "it fails on rows that the stable version answers: the model server failed"


def test_labels_that_show_it_worse_end_it() -> None:
    said = judge(pairs("y" * 100, "n" * 20 + "y" * 80, "y" * 100), [], [], 300)
    assert said.stop == "of 100 labelled rows it has 80 right, the stable version 100"


def test_many_decisions_that_differ_end_it_unless_labels_show_it_right() -> None:
    """So a world that has moved keeps no better model out."""
    changed = "n" * 60 + "y" * 40
    assert "decides 60 of 100 rows otherwise" in judge(pairs("y" * 100, changed), [], [], 300).stop
    assert not judge(pairs("y" * 100, changed, changed), [], [], 300).stop
    assert not judge(pairs("y" * 40, "n" * 40), [], [], 300).stop  # too few rows to tell
    assert LEAST_ROWS > 40


def test_answers_that_take_much_longer_end_it() -> None:
    chance = np.random.default_rng(1)
    quick, slow = chance.gamma(4, 1, 60).tolist(), chance.gamma(4, 4, 60).tolist()
    assert judge(pairs("y", "y"), quick, slow, 300).stop.startswith("it takes ")
    assert not judge(pairs("y", "y"), quick, chance.gamma(4, 1, 60).tolist(), 300).stop
    assert not judge(pairs("y", "y"), quick[:20], slow[:20], 300).stop


def test_equal_versions_are_hardly_ever_stopped() -> None:
    """Of 2,000 looks at a candidate that errs as often as the stable version, elsewhere."""
    chance = np.random.default_rng(7)
    stopped = 0
    for _ in range(2000):
        truth = chance.choice(["y", "n"], 300)
        stable, candidate = (np.where(chance.random(300) < 0.1, "x", truth).tolist() for _ in range(2))
        stopped += bool(judge(Pairs(stable, candidate, truth.tolist()), [], [], 300).stop)
    assert stopped <= 4


def numbers(stable: Any, candidate: Any, truth: Any = None, width: float = 2.0) -> Pairs:
    def answers(said: Any) -> list[Any]:
        return [Number(value, value - width, value + width) for value in np.asarray(said, float).tolist()]

    labels = [""] * len(stable) if truth is None else [str(value) for value in np.asarray(truth, float).tolist()]
    return Pairs(answers(stable), answers(candidate), labels)


def test_numbers_that_are_as_near_go_on_and_the_sentence_says_how_far_off_they_were() -> None:
    said = judge(numbers(np.arange(100), np.arange(100) + 0.5, np.arange(100) + 1), [], [], 300)
    assert not said.stop
    assert said.sentence == (
        "it answered 300 rows on trial; on 100 labelled rows it is off by 0.5 in the mean, the stable version by 1"
    )
    assert said.numbers["changed"] == 0


def test_numbers_that_are_surely_farther_off_end_it() -> None:
    truth = np.random.default_rng(3).normal(size=100)
    said = judge(numbers(truth + 0.1, truth + 0.3, truth), [], [], 300)
    assert said.stop == "on 100 labelled rows it is off by 0.3 in the mean, the stable version by 0.1"


def test_many_numbers_outside_the_stable_versions_intervals_end_it_unless_labels_show_them_right() -> None:
    stable, moved = np.zeros(100), np.where(np.arange(100) < 60, 5.0, 0.0)
    assert "decides 60 of 100 rows otherwise" in judge(numbers(stable, moved), [], [], 300).stop
    assert not judge(numbers(stable, moved, width=6), [], [], 300).stop
    assert not judge(numbers(stable, moved, moved), [], [], 300).stop


def test_equal_models_of_numbers_are_hardly_ever_stopped() -> None:
    chance = np.random.default_rng(8)
    stopped = 0
    for _ in range(2000):
        truth = chance.normal(size=300)
        stable, candidate = (truth + chance.normal(size=300) for _ in range(2))
        stopped += bool(judge(numbers(stable, candidate, truth, 9), [], [], 300).stop)
    assert stopped <= 4


def test_a_model_of_numbers_is_asked_for_its_value_and_interval(watched: Watched) -> None:
    class OfNumbers(TwoVersions):
        def predict(self, model: str, columns: Mapping[str, Any], spec: VersionSpec) -> dict[str, Any]:
            value = np.array(columns["age"]) * (spec.version or 0)
            return {"value": value.tolist(), "lower": (value - 1).tolist(), "upper": (value + 1).tolist()}

    said = ask(
        cast(ModelClient, OfNumbers()), "patients", STATE, read_rows(log(watched), MIDNIGHT, {}, NO_PICTURES)[:1]
    )
    [stable], [candidate] = said.stable, said.candidate
    assert isinstance(stable, Number)
    assert candidate == Number(2 * stable.value, 2 * stable.value - 1, 2 * stable.value + 1)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    made = Watched(tmp_path)
    made.predict(patients(300), MIDNIGHT + timedelta(hours=1))
    made.predict(patients(120, seed=2), MIDNIGHT + timedelta(hours=2), version=2, route="candidate")
    return made


def log(watched: Watched) -> Path:
    return watched.var / "predictions" / watched.model


def test_both_are_asked_what_people_asked_since_the_trial_began(watched: Watched) -> None:
    server = TwoVersions()
    said = look(cast(ModelClient, server), log(watched), STATE, MIDNIGHT, {}, NO_PICTURES)
    assert (said.answered, said.numbers["compared"], said.stop) == (120, 420, "")
    assert sum(server.asked) == 2 * 420
    later = look(cast(ModelClient, server), log(watched), STATE, MIDNIGHT + timedelta(minutes=90), {}, NO_PICTURES)
    assert later.numbers["compared"] == 120


def test_rows_with_a_label_come_first(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.controller.trial.MOST_ROWS", 10)
    [request] = {f"request-{MIDNIGHT + timedelta(hours=1):%d%H%M%S%f}"}
    rows = read_rows(log(watched), MIDNIGHT, {(request, 7): "yes", (request, 9): "no"}, NO_PICTURES)
    assert [row.truth for row in rows] == ["yes", "no", *[""] * 8]
    assert set(rows[0].values) >= {"age", "kind"}


def test_what_the_candidate_cannot_answer_is_its_fault_a_server_that_is_down_is_not(watched: Watched) -> None:
    rows = read_rows(log(watched), MIDNIGHT, {}, NO_PICTURES)
    assert ask(cast(ModelClient, TwoVersions(fails=InvalidRequest)), "patients", STATE, rows).refused[0] == "no answer"
    with pytest.raises(ModelServerDown):
        ask(cast(ModelClient, TwoVersions(fails=ModelServerDown)), "patients", STATE, rows)


def test_a_moments_trouble_is_no_fault_of_the_candidate(watched: Watched) -> None:
    rows = read_rows(log(watched), MIDNIGHT, {}, NO_PICTURES)
    server = TwoVersions(fails=InvalidRequest, fails_times=1)
    assert ask(cast(ModelClient, server), "patients", STATE, rows).refused == []


def test_pictures_are_asked_by_what_was_kept_of_them(tmp_path: Path) -> None:
    """The log has their hashes; one that is not kept is left out."""
    shown = {hashlib.sha256(data).hexdigest(): data for data in (b"dark", b"light", b"gone")}
    for sha256, data in shown.items():
        if data != b"gone":
            keep(tmp_path / "kept", MIDNIGHT.date(), sha256, data)
    put(tmp_path / "log" / "garden", batch(3, MIDNIGHT, "garden", columns={IMAGE_BYTES: list(shown)}))

    class OfPictures(TwoVersions):
        def metadata(self, model: str, spec: VersionSpec) -> Metadata:
            inputs = {IMAGE_BYTES: TensorInfo("DT_STRING", (-1,))}
            return Metadata(spec.version or 0, {DEFAULT_SIGNATURE: Signature(inputs, {})})

        def predict(self, model: str, columns: Mapping[str, Any], spec: VersionSpec) -> dict[str, Any]:
            return {"label": [data.decode() for data in columns[IMAGE_BYTES]]}

    rows = read_rows(tmp_path / "log" / "garden", MIDNIGHT, {}, tmp_path / "kept")
    said = ask(cast(ModelClient, OfPictures()), "garden", STATE, rows)
    assert sorted(map(str, said.stable)) == ["dark", "light"]
    assert said.stable == said.candidate
