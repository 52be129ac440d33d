from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import VouchError
from serving.client.errors import ModelNotFound
from serving.release.state import STATE, Entry, Intent, Record, State, Store
from webapp.models.releases import Choice, NothingReleased, Router

CANARY = State(1, candidate=2, weight_percent=25.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "2").mkdir()
    return tmp_path


def write(root: Path, state: State, intent: Intent | None = None) -> None:
    Store(root, "m").write(Record(state, intent))


def under_way(before: State, after: State) -> Intent:
    return Intent(Entry("1", "now", "me", "rollback", before, after, "", "", ""), is_decided=True)


@pytest.mark.parametrize(
    ("chance", "expected"),
    [
        (0.0, Choice(2, "candidate")),
        (0.249, Choice(2, "candidate")),
        (0.25, Choice(1, "stable")),
        (0.999, Choice(1, "stable")),
    ],
    ids=["0", "just in", "just out", "1"],
)
def test_the_candidate_gets_its_share(root: Path, chance: float, expected: Choice) -> None:
    write(root, CANARY)
    assert Router(root, lambda: chance).choose("m") == expected


def test_without_a_candidate_the_stable_version_answers(root: Path) -> None:
    write(root, State(2, previous=1))
    assert Router(root).choose("m", "somebody") == Choice(2, "stable")


def test_keys_stick_and_are_shared_out_by_weight(root: Path) -> None:
    write(root, CANARY)
    first, second = Router(root), Router(root)
    chosen = {f"user {n}": first.choose("m", f"user {n}") for n in range(2000)}
    assert all(second.choose("m", key) == choice for key, choice in chosen.items())
    share = sum(choice.version == 2 for choice in chosen.values()) / len(chosen)
    assert 0.21 < share < 0.29


def test_a_larger_share_takes_nobody_off_the_candidate(root: Path) -> None:
    write(root, CANARY)
    router = Router(root)
    before = {key for key in map(str, range(300)) if router.choose("m", key).version == 2}
    write(root, replace(CANARY, weight_percent=60.0))
    after = {key for key in map(str, range(300)) if router.choose("m", key).version == 2}
    assert before < after


def test_the_state_is_read_again_only_when_it_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    real = Store.read

    def counted(store: Store) -> Record | None:
        reads.append(store)
        return real(store)

    monkeypatch.setattr(Store, "read", counted)
    write(root, State(1))
    router = Router(root)
    assert {router.choose("m").version for _ in range(5)} == {1}
    assert len(reads) == 1
    write(root, State(2))
    assert router.choose("m").version == 2
    assert len(reads) == 2


def test_a_new_file_is_noticed_though_time_and_size_are_the_same(root: Path) -> None:
    write(root, State(1))
    router, path = Router(root), root / "m" / STATE
    assert router.choose("m").version == 1
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    write(root, State(2))
    os.utime(path, ns=times)
    assert router.choose("m").version == 2


def test_a_state_that_breaks_later_leaves_what_was_known(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(root, State(1))
    router = Router(root)
    router.choose("m")
    (root / "m" / STATE).write_text("{")
    assert router.choose("m").version == router.choose("m").version == 1
    assert len(caplog.records) == 1  # not once a request
    assert router.fallback("m").version == 1


def test_a_state_that_was_never_readable_is_503(root: Path) -> None:
    (root / "m" / STATE).write_text("{")
    with pytest.raises(NothingReleased, match="no release state"):
        Router(root).choose("m")


def test_versions_that_nobody_released_are_503(root: Path) -> None:
    with pytest.raises(NothingReleased, match="none is released yet") as caught:
        Router(root).choose("m")
    assert caught.value.http_status == 503


@pytest.mark.parametrize("model", ["nobody", "..", "../m", "m/../m", "", "M", "m\0", "a" * 64, "\ud800"])
def test_names_of_no_model_are_not_found(root: Path, model: str) -> None:
    write(root, State(1))
    for choose in (Router(root / "m").choose, Router(root).choose, Router(root).fallback):
        with pytest.raises(ModelNotFound) as caught:
            choose(model)
        assert isinstance(caught.value, VouchError)


def test_the_fallback_is_where_the_release_under_way_leads(root: Path) -> None:
    before, after = State(2, previous=1), State(1)
    write(root, before, under_way(before, after))
    router = Router(root)
    assert router.choose("m") == Choice(2, "stable")
    assert router.fallback("m") == Choice(1, "stable")


def test_the_fallback_of_a_candidate_is_stable(root: Path) -> None:
    write(root, CANARY)
    assert Router(root, lambda: 0.0).fallback("m") == Choice(1, "stable")
