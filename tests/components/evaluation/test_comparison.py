"""Who the candidate is compared with, whether that is fair, and what the paired comparison says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluation.bounds import difference
from components.tasks.rows import Rows
from config.settings import Settings
from tests.support.pictures import picture_settings
from tests.support.pipeline.tiny import save_model, tiny_settings, tiny_table, write_examples, write_schema

ROWS = 600
GOOD, BETTER, WORSE, BAD = 2.0, 3.0, 1.0, -2.0  # how much of the truth each model's score holds


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from components.splits import SplitTables

    folder = tmp_path_factory.mktemp("rows")
    write_examples(folder / "examples", tiny_table(ROWS), ROWS)
    write_schema(folder / "schema")
    return SplitTables.of(folder / "examples", folder / "schema", tiny_settings())


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    def go(truth: float, **options: Any) -> Path:
        folder = tmp_path / f"model{len(list(tmp_path.iterdir()))}"
        save_model(folder, truth, **options)
        return folder / "Format-Serving"

    return go


def compared(candidate: Path, blessed: list[Path], tables: Any, **evaluation: Any) -> Any:
    from components.evaluation.comparison import compare, score

    settings = tiny_settings(**evaluation)
    return compare(candidate, score(candidate, tables, settings), blessed, tables, settings)


@pytest.mark.slow
def test_worse_is_told_from_equal_and_better(saved: Callable[..., Path], tables: Any) -> None:
    good = saved(GOOD)
    worse, equal, better = (compared(saved(truth), [good], tables).difference for truth in (WORSE, GOOD, BETTER))
    assert worse.upper < -0.01
    assert equal.lower == equal.value == equal.upper == 0
    assert better.lower > 0


@pytest.mark.slow
def test_classes_are_matched_by_name(saved: Callable[..., Path], tables: Any) -> None:
    """A bad model under classes in another order was blessed, because the good one was scored upside down."""
    good = saved(GOOD, trained=tiny_settings(classes=("yes", "no")))
    found = compared(saved(BAD), [good], tables)
    assert found.obstacles == ()
    assert found.difference.upper < -0.5
    again = compared(saved(GOOD), [good], tables)
    assert again.difference.value == 0


def reading(**data: Any) -> Settings:
    settings = tiny_settings()
    return settings.model_copy(update={"data": settings.data.model_copy(update=data)})


UNFAIR: dict[str, tuple[dict[str, Any], str]] = {
    "a column that is gone": ({"features": ("signal", "noise", "age")}, "it reads age, which the rows no longer have"),
    "a class more": ({"trained": tiny_settings(classes=("maybe", "no", "yes"))}, "its classes are maybe, no, yes"),
    "another way of dealing": ({"trained": tiny_settings(split={"by": "row"})}, "rows were dealt otherwise then"),
    "another dealing": ({"trained": tiny_settings(split={"seed": 1})}, "rows were dealt otherwise then"),
    "another reading": ({"trained": reading(null_values=("", "-999"))}, "rows were dealt otherwise then"),
    "labels that mean something else": (
        {"trained": reading(label_map={"mild": "yes"}), "now": reading(label_map={"mild": "no"})},
        "it calls 'mild' 'yes', which is 'no' now",
    ),
    "a column less, so dealt anew": ({"features": ("signal",)}, "rows were dealt otherwise then"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", UNFAIR)
def test_what_would_be_unfair_is_not_compared(saved: Callable[..., Path], tables: Any, how: str) -> None:
    options, reason = UNFAIR[how]
    candidate = saved(BAD, trained=options.get("now"))
    options = {key: value for key, value in options.items() if key != "now"}
    blessed = saved(GOOD, **options) if "features" not in options else _renamed(saved(GOOD), options["features"])
    found = compared(candidate, [blessed], tables)
    assert found.difference is None
    assert reason in found.obstacles[0]


def test_by_time_the_baseline_may_know_nothing_of_todays_test_rows() -> None:
    from dataclasses import replace

    from components.evaluation.comparison import Trained, dealt_otherwise

    today = Trained(tiny_settings(split={"by": "time", "time": "day"}), frozenset("x"), test_from=20.0)
    assert dealt_otherwise(today, replace(today, test_from=19.0)) == ""
    assert "later than the first of today's test rows" in dealt_otherwise(today, replace(today, test_from=21.0))


def test_pictures_that_belong_together_otherwise_are_dealt_otherwise(tmp_path: Path) -> None:
    from components.evaluation.comparison import Trained, dealt_otherwise

    today, before = (
        Trained(picture_settings(tmp_path, image={"group": pattern}, split={"group_by": "group"}), frozenset(), None)
        for pattern in ("^(.)", "^(..)")
    )
    assert dealt_otherwise(today, today) == ""
    assert "rows were dealt otherwise then" in dealt_otherwise(today, before)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "is_compared"), [(1500, True), (300, False)])
def test_rows_dealt_otherwise_are_dealt_again(
    saved: Callable[..., Path], tmp_path: Path, rows: int, is_compared: bool
) -> None:
    """Only rows that were test rows then, too, are fair: too few of them, and nothing is compared."""
    from components.evaluation.comparison import compare, score
    from components.examples.blocks import read_request
    from components.examples.component import write_splits
    from components.examples.dealing import Origin, in_test_then
    from components.examples.sources import open_source
    from components.splits import SplitTables

    source = tmp_path / "data" / "rows.csv"
    source.parent.mkdir()
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(size=rows), rng.normal(size=rows)
    labels = np.where(signal + rng.normal(size=rows) > 0, "yes", "no")
    lines = [f"{s!r},{n!r},{label}" for s, n, label in zip(signal.tolist(), noise.tolist(), labels, strict=True)]
    source.write_text("\n".join(["signal,noise,label", *lines]) + "\n", encoding="utf-8")
    now = tiny_settings(source=source)
    then = tiny_settings(source=source, split={"train": 80, "eval": 10, "test": 10})
    request = read_request(now, None)
    counts, digest = write_splits(
        open_source([source], str(source), request), request, now.split.weights, tmp_path / "examples"
    )
    origin = Origin(str(source), request, digest)
    write_schema(tmp_path / "schema")
    tables = SplitTables.of(tmp_path / "examples", tmp_path / "schema", now)

    candidate, blessed = saved(BAD, trained=now), saved(GOOD, trained=then)
    found = compare(candidate, score(candidate, tables, now), [blessed], tables, now, origin)
    if is_compared:
        fair = in_test_then(origin, now.split, then, dict.fromkeys(("signal", "noise", "label")), None)
        assert (len(fair), found.rows) == (counts["test"], fair.sum())
        assert found.difference is not None
        assert found.difference.upper < -0.3
    else:
        assert found.difference is None
        assert "are new to it, 50 are wanted" in found.obstacles[0]


def _renamed(model: Path, features: tuple[str, ...]) -> Path:
    """Have a model say that it reads other columns than it does."""
    import json

    path = model / "assets.extra" / "training.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**facts, "features": features}), encoding="utf-8")
    return model


@pytest.mark.slow
def test_a_model_that_cannot_say_or_read_is_passed_over(saved: Callable[..., Path], tables: Any) -> None:
    silent, broken, good = saved(GOOD), saved(GOOD), saved(GOOD)
    (silent / "assets.extra" / "training.json").unlink()
    (broken / "saved_model.pb").write_bytes(b"nothing")
    nothing = compared(saved(BAD), [silent, broken], tables)
    assert nothing.difference is None
    assert "does not say how it was trained" in nothing.obstacles[0]
    assert "cannot read today's rows" in nothing.obstacles[1]
    assert compared(saved(BAD), [silent, broken, good], tables).difference.upper < -0.5


@pytest.mark.slow
def test_a_chain_of_slightly_worse_models_leads_nowhere(saved: Callable[..., Path], tables: Any) -> None:
    """Each is worse by less than the margin than the one before; the best of all blessed ones is the baseline."""
    margin, blessed = 0.03, [saved(GOOD)]
    best = area(blessed[0], tables)
    for step in range(1, 11):
        candidate = saved(GOOD * 0.8**step)
        found = compared(candidate, blessed, tables, change_margin=margin)
        if found.difference.upper < -margin:
            break
        blessed.insert(0, candidate)
    else:
        pytest.fail("ten models, each a little worse, were accepted")
    assert best - area(blessed[0], tables) < 2 * margin


def area(model: Path, tables: Any) -> float:
    from components.evaluation.bounds import evaluate
    from components.evaluation.comparison import score

    rows = score(model, tables, tiny_settings())
    return evaluate(rows, ["auc"], confidence=0.95, samples=2, seed=0)["auc"].value


@pytest.mark.parametrize("metric", ["auc", "accuracy", "recall", "f1", "log_loss"])
def test_what_is_hard_for_both_cancels_out(metric: str) -> None:
    """Two models that differ on a few rows are told apart, though each one's own bounds are wide."""
    from components.evaluation.bounds import evaluate

    rng = np.random.default_rng(1)
    true = rng.integers(0, 2, 300)
    yes = np.clip(0.5 + 0.25 * (2 * true - 1) + rng.normal(0, 0.3, 300), 0.01, 0.99)
    hurt = np.where((rng.random(300) < 0.1) & (true == 1), 0.05, yes)
    one, other = (Rows(true, (p > 0.5).astype(int), np.stack([1 - p, p], axis=1), 1) for p in (yes, hurt))
    options: dict[str, Any] = {"confidence": 0.95, "samples": 500, "seed": 0}
    found = difference(other, one, metric, **options)
    assert found.upper < 0, "less is better of a loss: worse is below zero all the same"
    own, others = (evaluate(rows, [metric], **options)[metric] for rows in (one, other))
    assert own.lower < others.upper, "their own bounds overlap"
    back = difference(one, other, metric, **options)
    assert back.value == pytest.approx(-found.value)


def test_the_bounds_of_a_difference_hold() -> None:
    """Of 200 pairs of equally good models about 95 of 100 upper bounds lie above no difference."""
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        true = rng.integers(0, 2, 120)
        scores = [1.5 * true + rng.normal(0, 1, 120) + rng.normal(0, 0.5, 120) for _ in range(2)]
        one, other = (Rows(true, (s > 0.75).astype(int), np.stack([-s, s], axis=1), 1) for s in scores)
        held += difference(one, other, "auc", confidence=0.95, samples=100, seed=seed).upper >= 0
    assert held >= 0.91 * 200
