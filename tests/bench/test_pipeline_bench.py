from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.pipeline import OURS, PLAIN, Run, arguments, command, markdown, plain_settings, ratios, run_once, summary
from bench.report import RunFailed
from common.errors import ConfigError
from config.load import load_settings
from config.settings import Settings


def run(contender: str, turn: int, wall_s: float, cpu_s: float = 1.0) -> Run:
    return Run(contender, turn, wall_s, cpu_s, 100.0)


def both(*turns: tuple[float, float]) -> list[Run]:
    return [
        run(contender, number, wall_s)
        for number, turn in enumerate(turns, start=1)
        for contender, wall_s in zip((OURS, PLAIN), turn, strict=True)
    ]


def settings(source: Path, **changes: Any) -> Settings:
    data = {"source": source, "label": "y", "classes": ["a", "b"], **changes.pop("data", {})}
    return Settings.model_validate({"name": "m", "data": data, **changes})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "rows.csv"
    file.write_text("x,y\n1,a\n2,b\n", encoding="utf-8")
    return file


def test_ratios_are_taken_within_a_turn() -> None:
    runs = both((20, 10), (60, 20))
    assert ratios(runs, "wall_s") == [2.0, 3.0]
    assert ratios(list(reversed(runs)), "wall_s") == [2.0, 3.0]
    assert ratios(runs, "cpu_s") == [1.0, 1.0]


@pytest.mark.parametrize(
    ("turns", "passed"),
    [
        pytest.param([(25, 10)], True, id="on the bar"),
        pytest.param([(26, 10)], False, id="over the bar"),
        pytest.param([(26, 10), (20, 10), (20, 10)], True, id="the median counts"),
    ],
)
def test_bar(turns: list[tuple[float, float]], passed: bool) -> None:
    runs = both(*turns)
    result = summary(runs)
    assert result["passed"] is passed
    assert ("**missed**" in markdown(runs, result)) is not passed


def test_tables_are_rectangular() -> None:
    runs = both((20, 10), (22, 10))
    for table in markdown(runs, summary(runs)).split("\n\n"):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_median_minimum_and_maximum_are_shown() -> None:
    runs = both((20, 10), (21, 10), (29, 10))
    row = next(line for line in markdown(runs, summary(runs)).splitlines() if line.startswith("| wall |"))
    assert row == "| wall | 2.00, 2.10, 2.90 | 2.00 | 2.10 | 2.90 | ≤ 2.50 | kept |"


def test_arguments() -> None:
    given = arguments().parse_args(["--runs", "2", "--set", "model.epochs=3"])
    assert (given.runs, given.overrides) == (2, ["model.epochs=3"])
    with pytest.raises(SystemExit):
        arguments().parse_args(["--runs", "0"])


def test_the_rival_gets_the_positive_class(source: Path) -> None:
    assert plain_settings(settings(source))["data"]["positive"] == "b"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        pytest.param({"categorical": ["x"]}, "categorical", id="codes"),
        pytest.param({"model": {"class_weights": "balanced"}}, "class_weights", id="class weights"),
        pytest.param({"split": {"group_by": "g"}}, "group_by", id="groups"),
        pytest.param({"tuner": {"enabled": True}}, "tuner.enabled", id="tuner"),
        pytest.param({"data": {"format": "parquet"}}, "data.format", id="no CSV"),
    ],
)
def test_work_that_the_rival_does_not_do_is_refused(source: Path, changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        plain_settings(settings(source, **changes))


def test_both_contenders_get_the_same_settings(tmp_path: Path) -> None:
    words = command(OURS, Path("c"), ["model.epochs=3"], tmp_path / "s.json", tmp_path)
    assert words[-2:] == ["--set", "model.epochs=3"]
    assert str(tmp_path / "s.json") in command(PLAIN, Path("c"), [], tmp_path / "s.json", tmp_path)


def test_a_process_and_its_children_are_measured(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    measured = run_once(PLAIN, [sys.executable, "-c", parent], 1, tmp_path / "out")
    assert measured.cpu_s >= 0.3
    assert measured.wall_s > 0
    assert measured.peak_mb > 1


def test_bytecode_is_not_forbidden_to_the_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    run_once(PLAIN, [sys.executable, "-c", "import sys; sys.exit(sys.dont_write_bytecode)"], 1, tmp_path / "out")


def test_a_failing_process_stops_the_bench_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"exit code 3\s+got: it broke"):
        run_once(PLAIN, [sys.executable, "-c", "print('it broke'); raise SystemExit(3)"], 1, tmp_path / "out")


@pytest.mark.exhaustive
@pytest.mark.slow
def test_plain_keras_saves_a_model(tmp_path: Path) -> None:
    import tensorflow as tf

    overrides = ["model.epochs=1", "model.hidden_units=[4]"]
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(plain_settings(load_settings(Path("config/breast_cancer"), overrides))), "utf-8")
    run_once(PLAIN, command(PLAIN, Path(), [], file, tmp_path / "out"), 1, tmp_path / "out")
    loaded = tf.saved_model.load(str(tmp_path / "out" / "result"))
    assert loaded.serve(tf.zeros((2, 30))).shape == (2, 1)
