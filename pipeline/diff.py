"""Two runs or pushed versions side by side: settings, data, metrics, and the difference on the same rows."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from common.errors import DataError
from common.paths import Paths, var_root
from components import names
from pipeline.cli import output_to
from pipeline.history import Run, find_run, table_console
from serving.repository.layout import version_number
from serving.repository.manifest import Manifest

if TYPE_CHECKING:
    from components.evaluation.bounds import Difference

ABOUT_DATA = ("source", "source_digest", "rows_in", "label", "classes")


@dataclass(frozen=True)
class Side:
    """A run with what its report says."""

    name: str
    run: Run
    facts: Mapping[str, Any]

    @staticmethod
    def of(name: str) -> Side:
        """Return a run by the start of its id, or a version by `model/number`. Raises DataError."""
        model, slash, number = name.rpartition("/")
        paths = Paths(var_root(), model)
        run_id = name
        if slash:
            if (version := version_number(number)) is None:
                raise DataError("no such version", got=name, wanted="MODEL/NUMBER, such as breast_cancer/2")
            run_id = Manifest.read(paths.serving / str(version)).run_id
        run = find_run(paths.metadata, run_id, model or None)
        report = Path(run.uri(names.REPORT, names.REPORT_FILES) or "") / names.JSON
        if not report.is_file():
            raise DataError(
                f"run {run.run_id} has no report",
                got=run.state,
                wanted="a run that came to its end and was not pruned",
                fix="local_runner.py explain says how far it got",
            )
        return Side(name, run, json.loads(report.read_text(encoding="utf-8")))


def show_difference(first: str, second: str, as_json: bool) -> None:
    """Print what changed from the first to the second. Raises DataError."""
    sides = Side.of(first), Side.of(second)
    settings = changed(*(_flat(side.facts["settings"]) for side in sides))
    data = changed(*({key: side.facts[key] for key in ABOUT_DATA} | _rows(side.facts) for side in sides))
    metrics = [{metric["name"]: metric for metric in side.facts["metrics"]} for side in sides]
    with output_to(Path(os.devnull)):
        paired, obstacle = compare_on_same_rows(*sides)
    if as_json:
        values = {
            "runs": [side.run.run_id for side in sides],
            "headlines": [side.facts["headline"] for side in sides],
            "settings": settings,
            "data": data,
            "metrics": metrics,
            "paired": {name: asdict(difference) for name, difference in paired.items()},
            "obstacle": obstacle,
        }
        print(json.dumps(values, indent=2))
        return
    console = table_console()
    for side in sides:
        console.print(
            f"[bold]{side.name}[/]: {side.run.model}, run {side.run.run_id}, {side.facts['headline']}", soft_wrap=True
        )
    for title, changes in (("settings", settings), ("data", data)):
        console.print(f"\n[bold]{title}[/]" + ("" if changes else ": the same"))
        for key, (before, after) in changes.items():
            console.print(f"  {key}: {before} → {after}", soft_wrap=True, markup=False)
    table = Table("metric", first, second, "second better on the same rows", box=None, pad_edge=False)
    for name in {**metrics[0], **metrics[1]}:
        difference = paired.get(name)
        better = f"{difference.value:+.4f} ({difference.lower:+.4f} to {difference.upper:+.4f})" if difference else "–"
        table.add_row(name, *(_bounded(side.get(name)) for side in metrics), better)
    console.print()
    console.print(table)
    if obstacle:
        console.print(f"not compared on the same rows: {obstacle}", soft_wrap=True)


def compare_on_same_rows(first: Side, second: Side) -> tuple[dict[str, Difference], str]:
    """Return how much better the second is by each metric that both have, or why nobody can say.

    The rows are the second's test rows: as both were dealt rows in the same way, the first did not learn from them.
    """
    from components.evaluation.bounds import difference
    from components.evaluation.comparison import Trained, dealt_otherwise, obstacle, score
    from components.splits import SplitTables
    from config.settings import Settings

    models = [Path(side.run.uri(names.TRAINER, "model") or "") / "Format-Serving" for side in (first, second)]
    if gone := [side.name for side, model in zip((first, second), models, strict=True) if not model.is_dir()]:
        return {}, f"the model of {gone[0]} is no longer there"
    trained, before = Trained.of(models[1]), Trained.of(models[0])
    if reason := obstacle(trained, before) or dealt_otherwise(trained, before):
        return {}, f"of {first.name}, {reason}"
    settings = Settings.model_validate(second.facts["settings"])
    examples, schema = second.run.uri(names.EXAMPLE_GEN, names.EXAMPLES), second.run.schema
    if not examples or not schema:
        return {}, f"the rows of {second.name} are no longer there"
    tables = SplitTables.of(examples, schema, settings)
    old, new = (score(model, tables, settings) for model in models)
    wanted = settings.evaluation
    both = [m for m in wanted.metrics if m in {metric["name"] for metric in first.facts["metrics"]}]
    return {
        metric: difference(
            new, old, metric, confidence=wanted.confidence, samples=wanted.bootstrap_samples, seed=settings.seed
        )
        for metric in both
    }, ""


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what is not the same, by key; what one does not have is None."""
    pairs = {key: (before.get(key), after.get(key)) for key in {**before, **after}}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat


def _rows(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {f"rows of {split['name']}": split["rows"] for split in facts["splits"]}


def _bounded(metric: Mapping[str, Any] | None) -> str:
    known = metric and all(metric[key] is not None for key in ("value", "lower", "upper"))
    return f"{metric['value']:.4f} ({metric['lower']:.4f}–{metric['upper']:.4f})" if metric and known else "–"
