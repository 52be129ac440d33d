"""What the controller finds on disk, and what it clears away."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from common.errors import ConfigError
from common.files import locked
from common.records.retrain import Attempt, Retraining, change
from config.load import load_settings
from monitoring.controller.deeds import Deeds
from monitoring.controller.machine import Ended
from serving.release.state import Record, State, Store
from tests.support.serving.versions import bare_version

NOW = datetime(2026, 11, 20, tzinfo=timezone.utc)
CONFIG = """
name: patients
data: {source: "../data/span-{SPAN}/*.csv", label: outcome, classes: [no, yes]}
retrain: {keep: 2}
"""


@pytest.fixture
def deeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deeds:
    """Spans 1 to 6, of which 2 to 6 were collected for the versions 1 to 5; two others were withdrawn."""
    monkeypatch.setenv("VOUCH_VAR", str(tmp_path))
    config, data = tmp_path / "config", tmp_path / "data"
    config.mkdir()
    (config / "pipeline.yaml").write_text(CONFIG)
    for name in (*(f"span-{n}" for n in range(1, 7)), *(f".withdrawn-span-{n}" for n in (7, 8, 9))):
        (data / name).mkdir(parents=True)
    attempts = tuple(
        Attempt(str(n), "command", "ann", NOW, "ended", span=n + 1, version=n, outcome="promoted") for n in range(1, 6)
    )
    change(tmp_path, "patients", lambda known: replace(known, attempts=attempts))
    monkeypatch.setattr("monitoring.controller.deeds.supervise", lambda *_: Ended(0))
    return Deeds(tmp_path, config, load_settings(config), "127.0.0.1:1", "tester")


def test_old_spans_go_but_none_that_a_version_on_disk_was_trained_on(deeds: Deeds) -> None:
    for version in range(1, 6):
        bare_version(deeds.var / "serving" / "patients", version)
    Store(deeds.var / "serving", "patients").write(Record(State(2)))
    deeds.clear_up()
    left = sorted(int(path.name) for path in (deeds.var / "serving" / "patients").iterdir() if path.name.isdecimal())
    assert left == [2, 4, 5]  # the stable one, and the newest two
    spans = sorted(path.name for path in (deeds.var / "data").iterdir() if path.is_dir())
    assert spans == [".withdrawn-span-8", ".withdrawn-span-9", "span-1", "span-3", "span-5", "span-6"]


def test_what_people_collected_is_never_removed(deeds: Deeds) -> None:
    change(deeds.var, "patients", lambda _: Retraining("patients"))
    deeds.clear_up()
    assert sorted(path.name for path in (deeds.var / "data").glob("span-*")) == [f"span-{n}" for n in range(1, 7)]


def test_what_cannot_be_cleared_stops_nothing(deeds: Deeds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.controller.deeds.prune", lambda *_: 1 / 0)
    deeds.clear_up()
    assert not (deeds.var / "data" / "span-2").exists()


def test_only_the_newest_logs_are_kept(deeds: Deeds) -> None:
    deeds.logs.mkdir(parents=True)
    for name in "abcd":
        (deeds.logs / f"{name}.log").touch()
    deeds.clear_up()
    assert sorted(path.name for path in deeds.logs.iterdir()) == ["c.log", "d.log"]


def test_a_run_that_somebody_has_started_is_seen(deeds: Deeds) -> None:
    assert not deeds.is_running()
    with locked(deeds.var / "pipeline" / "patients" / ".run_lock", "a run"):
        assert deeds.is_running()


def test_without_a_schema_nothing_can_be_collected(deeds: Deeds) -> None:
    with pytest.raises(ConfigError, match="curated schema"):
        deeds.collectable()
