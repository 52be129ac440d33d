"""Reloads and labels, as the manager does them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from serving.server.config import All, ModelConfig
from serving.server.core.manager import Manager, Source
from serving.server.core.transitions import ManagerOptions
from serving.server.core.versions import State
from tests.support.serving.fakes import FAST, LIMIT_S, Fake, Loader, Make, eventually, export, model, refusal, states

ANYWHERE = ManagerOptions(poll_wait_s=0.01, max_num_load_retries=0, allows_labels_for_unavailable=True)
UNKNOWN_LABEL = "INVALID_ARGUMENT: Unrecognized servable version label: "


def labelled(base: Path, **labels: int) -> ModelConfig:
    return model(base, policy=All(), labels=labels)


def configured(manager: Manager[Fake]) -> set[str]:
    return {name for name in ("m", "new", "gone", "bad", "other") if manager.is_configured(name)}


def test_a_reload_waits_for_what_is_new_and_unloads_what_is_left_out(make: Make, tmp_path: Path) -> None:
    kept, gone, new = (ModelConfig(name, str(export(tmp_path / name / "m", 1))) for name in ("m", "gone", "new"))
    manager = make(kept, gone)
    manager.wait_until_available(LIMIT_S)
    with manager.acquire("m") as handle:
        servable = handle.servable
    manager.reload([kept, new], LIMIT_S)
    assert configured(manager) == {"m", "new"}
    assert states(manager, "new") == {1: State.AVAILABLE}
    eventually(lambda: states(manager, "gone") == {1: State.END})
    with manager.acquire("m") as handle:
        assert handle.servable is servable
        assert not servable.is_closed


def test_a_reload_tells_of_a_new_model_that_fails_and_stays(make: Make, tmp_path: Path) -> None:
    kept = model(export(tmp_path / "m", 1))
    bad = ModelConfig("bad", str(export(tmp_path / "bad" / "m", 2, broken="no graph")))
    manager = make(kept)
    manager.wait_until_available(LIMIT_S)
    expected = (
        "UNKNOWN: 1 model(s) did not become available: {{name: bad version: 2} due to error: DATA_LOSS: no graph}, }"
    )
    assert refusal(lambda: manager.reload([kept, bad], LIMIT_S)) == expected
    assert configured(manager) == {"m", "bad"}
    assert states(manager) == {1: State.AVAILABLE}


def test_a_model_comes_back_after_it_was_left_out(make: Make, loader: Loader, tmp_path: Path) -> None:
    config = model(export(tmp_path / "m", 1))
    manager = make(config)
    manager.wait_until_available(LIMIT_S)
    for _ in range(3):
        manager.reload([])
        manager.reload([config], LIMIT_S)
        with manager.acquire("m") as handle:
            assert not handle.servable.is_closed


class SlowSource(Source):
    """A source whose looks take until the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.begun = self.done = 0

    def poll(self, models: Iterable[ModelConfig]) -> dict[str, dict[int, Path]] | None:
        self.begun += 1
        found = super().poll(models)
        assert self.gate.wait(LIMIT_S)
        self.done += 1
        return found


def test_a_look_begun_before_the_reload_brings_nothing_back(loader: Loader, tmp_path: Path) -> None:
    manager = Manager(loader, FAST)
    manager._source = source = SlowSource()
    manager.start([model(export(tmp_path / "m", 1))])
    eventually(lambda: source.begun == 1)
    manager.apply([])
    source.gate.set()
    eventually(lambda: source.done > 1)
    assert states(manager) == {}
    manager.stop()


def test_no_config_changes_nothing_and_an_empty_one_unloads_all(make: Make, tmp_path: Path) -> None:
    manager = make(model(export(tmp_path / "m", 1)))
    manager.wait_until_available(LIMIT_S)
    manager.reload(None)
    assert states(manager) == {1: State.AVAILABLE}
    manager.reload([])
    eventually(lambda: states(manager) == {1: State.END})


@pytest.mark.parametrize(("poll_wait_s", "is_found"), [(0.0, True), (-1.0, False)], ids=["once", "never"])
def test_without_polling_a_reload_looks_once_or_never(
    make: Make, tmp_path: Path, poll_wait_s: float, is_found: bool
) -> None:
    manager = make(options=ManagerOptions(poll_wait_s=poll_wait_s))
    config = model(export(tmp_path / "m", 1))
    if is_found:
        manager.reload([config], LIMIT_S)
    else:
        assert "DEADLINE_EXCEEDED" in refusal(lambda: manager.reload([config], 0.05))


def test_a_label_leads_to_its_version_and_follows_the_config(make: Make, tmp_path: Path) -> None:
    base = export(tmp_path / "m", 1, 2)
    manager = make(labelled(base))
    eventually(lambda: states(manager) == {2: State.AVAILABLE, 1: State.AVAILABLE})
    manager.reload([labelled(base, stable=1, canary=2)])
    with manager.acquire("m", None, "stable") as stable, manager.acquire("m", label="canary") as canary:
        assert (stable.version, canary.version) == (1, 2)
    manager.reload([labelled(base, stable=2)])
    with manager.acquire("m", None, "stable") as stable:
        assert stable.version == 2
    assert refusal(lambda: manager.acquire("m", None, "canary")) == UNKNOWN_LABEL + "canary"
    assert refusal(lambda: manager.acquire("n", None, "stable")) == UNKNOWN_LABEL + "stable"


def test_a_label_to_an_unavailable_version_is_refused_and_changes_nothing(make: Make, tmp_path: Path) -> None:
    base = export(tmp_path / "m", 1)
    first = refusal(lambda: make(labelled(base, stable=1)))
    assert "version 1 of model m, which is not currently available for inference" in first
    manager = make(labelled(base))
    manager.wait_until_available(LIMIT_S)
    manager.reload([labelled(base, stable=1)])
    other = ModelConfig("other", str(base))
    expected = (
        "FAILED_PRECONDITION: Request to assign label to version 777 of model m, "
        "which is not currently available for inference"
    )
    assert refusal(lambda: manager.reload([labelled(base, canary=1, stable=777), other])) == expected
    assert configured(manager) == {"m"}
    with manager.acquire("m", None, "stable") as handle:
        assert handle.version == 1
    assert refusal(lambda: manager.acquire("m", None, "canary")) == UNKNOWN_LABEL + "canary"


def test_only_a_new_label_may_point_anywhere_if_that_is_allowed(make: Make, tmp_path: Path) -> None:
    base = export(tmp_path / "m", 1)
    manager = make(labelled(base, early=777, stable=1), options=ANYWHERE)
    manager.wait_until_available(LIMIT_S)
    missing = "NOT_FOUND: Servable not found for request: Specific(m, 777)"
    assert refusal(lambda: manager.acquire("m", None, "early")) == missing
    manager.reload([labelled(base, early=777, stable=1)])
    assert "version 778 of model m" in refusal(lambda: manager.reload([labelled(base, early=777, stable=778)]))
    assert "version 778 of model m" in refusal(lambda: manager.reload([labelled(base, early=778)]))
    manager.reload([labelled(base, early=1)])
    with manager.acquire("m", None, "early") as handle:
        assert handle.version == 1


def test_a_label_outlives_its_version(make: Make, tmp_path: Path) -> None:
    base = export(tmp_path / "m", 1, 2)
    manager = make(labelled(base), options=FAST)
    eventually(lambda: states(manager) == {2: State.AVAILABLE, 1: State.AVAILABLE})
    manager.reload([labelled(base, stable=1)])
    (base / "1").rename(tmp_path / "away")
    eventually(lambda: states(manager)[1] is State.END)
    missing = "NOT_FOUND: Servable not found for request: Specific(m, 1)"
    assert refusal(lambda: manager.acquire("m", None, "stable")) == missing
