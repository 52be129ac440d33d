#!/usr/bin/env python
"""The pipeline's command line. TensorFlow is imported only once a run starts, so that `--help` is instant."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from common.cli import JSON, Group
from common.errors import ConfigError, GateRefused
from common.text import nearest

if TYPE_CHECKING:
    from config.settings import Settings

CONFIG = click.argument("config", type=click.Path(path_type=Path))
TYPES = ("numeric", "category", "text", "date", "id", "drop")
OBJECTIVES = ("f1", "balanced_accuracy", "accuracy", "recall_at_least", "precision_at_least", "cost")
SETS = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one setting.")


class Resumable(Group):
    """Say what Ctrl-C means for a run."""

    interrupted = "interrupted; a re-run resumes from the last component that succeeded"


@click.group(cls=Resumable, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """From a table of labelled examples to a model that can be vouched for.

    State goes to var/ (or $VOUCH_VAR). Exit codes: 0 done, 1 failed, 2 configuration, 3 data, 4 a gate refused,
    5 this machine, 130 interrupted.
    """


@main.command()
@CONFIG
@SETS
@click.option(
    "--beam-arg", "beam_args", multiple=True, metavar="ARG", help="Passed to Apache Beam, e.g. another runner."
)
@click.option(
    "--override-data-gate",
    "override",
    default="",
    metavar="REASON",
    help="Go on in spite of errors in the data; the reason is recorded in lineage.",
)
@click.option("--check", is_flag=True, help="Run nothing: read the data, say what would run and what is cached.")
@click.option("--verbose", is_flag=True, help="Show the full log instead of progress.")
def run(
    config: Path, overrides: tuple[str, ...], beam_args: tuple[str, ...], override: str, check: bool, verbose: bool
) -> None:
    """Run the pipeline of CONFIG, a folder with pipeline.yaml or such a file. Unchanged steps come from the cache."""
    settings = _settings(config, overrides)
    from pipeline.cli import check_run, run_pipeline

    command = _command(config, {"--set": overrides, "--beam-arg": beam_args, "--override-data-gate": (override,)})
    if check:
        check_run(settings, override=override, beam_args=list(beam_args), command=command)
        return
    pushed = run_pipeline(settings, override=override, beam_args=list(beam_args), command=command, verbose=verbose)
    if not pushed:
        sys.exit(GateRefused.exit_code)


@main.command()
@click.option("--model", help="Only this model's.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@JSON
def runs(model: str | None, limit: int, as_json: bool) -> None:
    """List runs from ML Metadata, newest first."""
    from pipeline.history import show_runs

    show_runs(model, limit, as_json)


@main.command()
@click.argument("run_id", required=False)
@click.option("--model", help="The newest run of this model.")
@JSON
def explain(run_id: str | None, model: str | None, as_json: bool) -> None:
    """Say in words why a run's model was blessed and pushed, or not. Without RUN_ID: the newest run."""
    from pipeline.history import explain_run

    explain_run(run_id, model, as_json)


@main.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@JSON
def diff(first: str, second: str, as_json: bool) -> None:
    """Compare two runs (the start of an id) or pushed versions (MODEL/NUMBER): settings, data, metrics, same rows."""
    from pipeline.diff import show_difference

    show_difference(first, second, as_json)


@main.command()
@click.option("--model", help="Only this model's.")
@click.option(
    "--keep", default=10, show_default=True, type=click.IntRange(min=1), help="The newest runs of each model."
)
@click.option("--yes", is_flag=True, help="Really remove; without it only say what would be.")
def prune(model: str | None, keep: int, yes: bool) -> None:
    """Remove what older runs left on disk, but none whose version is still in var/serving. `runs` still names them."""
    from pipeline.prune import prune_runs

    prune_runs(model, keep, really=yes)


@main.command()
@CONFIG
@SETS
@click.option("--rows", type=click.IntRange(min=1), default=10, show_default=True, help="Rows of the test split.")
def predict(config: Path, overrides: tuple[str, ...], rows: int) -> None:
    """Score rows of the held-out test split by each signature of the newest pushed version."""
    settings = _settings(config, overrides)
    from pipeline.cli import predict_test_rows

    predict_test_rows(settings, rows)


@main.command()
@CONFIG
@click.argument("objective", type=click.Choice(OBJECTIVES))
@click.option("--at-least", type=float, help="The share that recall_at_least or precision_at_least asks for.")
@click.option("--miss-cost", type=float, help="With cost: how many false alarms one miss costs as much as.")
@click.option("--version", type=int, help="Whose weights. Default: the newest pushed version's.")
@SETS
def set_operating_point(
    config: Path,
    objective: str,
    at_least: float | None,
    miss_cost: float | None,
    version: int | None,
    overrides: tuple[str, ...],
) -> None:
    """Push a version that decides by OBJECTIVE, with the weights of another one: nothing is trained.

    All gates judge it anew. Put it into pipeline.yaml, too, or the next run decides as before.
    """
    given = {"objective": objective, "at_least": at_least, "miss_cost": miss_cost}
    point = ", ".join(f"{key}: {value}" for key, value in given.items() if value is not None)
    settings = _settings(config, (*overrides, f"operating_point={{{point}}}"))
    from pipeline.cli import set_operating_point as push

    command = _command(config, {"--set": (*overrides, f"operating_point={{{point}}}")})
    if not push(settings, version, command):
        sys.exit(GateRefused.exit_code)


@main.command()
@click.argument("data")
@click.option("--label", help="Column to predict. With images: each folder is a class.")
@click.option("--images", is_flag=True, help="DATA is a folder of pictures, with a folder of them for each class.")
@click.option(
    "--task", type=click.Choice(["classification", "regression"]), help="Default: by what the label looks like."
)
@click.option("--positive", help="Binary labels: the class whose probability is reported.")
@click.option("--class", "classes", multiple=True, metavar="TEXT", help="Label that is a class, as NA: North America.")
@click.option("--map-label", "label_map", multiple=True, metavar="OLD=NEW", help="Label that is another class.")
@click.option("--null", "nulls", multiple=True, metavar="TEXT", help="Text or number that means: missing.")
@click.option("--type", "types", multiple=True, metavar="COLUMN=TYPE", help=f"What a column is: {', '.join(TYPES)}.")
@click.option("--feature", "features", multiple=True, metavar="COLUMN", help="Column to learn from, whatever it seems.")
@click.option("--id", "ids", multiple=True, metavar="COLUMN", help="Column that identifies rows; left out.")
@click.option("--drop", "drops", multiple=True, metavar="COLUMN", help="Column to leave out.")
@click.option("--group-by", help="Column whose rows must stay in one split.")
@click.option("--time", help="Column of dates or numbers: the earliest rows train, the latest test.")
@click.option("--objective", type=click.Choice(OBJECTIVES), help="Binary labels: what the threshold is chosen for.")
@click.option("--name", help="Name of the model. Default: from the file's name.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("config"), show_default=True, help="Parent folder."
)
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def init(
    data: str,
    label: str | None,
    images: bool,
    classes: tuple[str, ...],
    label_map: tuple[str, ...],
    types: tuple[str, ...],
    features: tuple[str, ...],
    ids: tuple[str, ...],
    drops: tuple[str, ...],
    name: str | None,
    out: Path,
    force: bool,
    **wishes: Any,
) -> None:
    """Write pipeline.yaml and schema.pbtxt for DATA: a table with a label, or a folder of pictures.

    A table is a file or a URL: CSV in any dialect, gzipped or not, Parquet, or an Excel workbook. What is guessed is
    said, and stands in the file.
    """
    from config.onboard.images import is_folder_of_images, onboard_images
    from config.onboard.init import Wishes, model_name, onboard

    if images or (label is None and is_folder_of_images(data)):
        click.echo(onboard_images(Path(data), name=model_name(name, Path(data).resolve()), out=out, force=force))
        return
    if label is None:
        raise click.UsageError("Missing option '--label'.")
    told = [_pair("--type", text) for text in types]
    told += [
        (column, role) for role, named in (("feature", features), ("id", ids), ("drop", drops)) for column in named
    ]
    result = onboard(
        data,
        label=label,
        wishes=Wishes(
            roles=_checked_roles(told),
            classes=classes,
            label_map=dict(_pair("--map-label", text) for text in label_map),
            **wishes,
        ),
        name=name,
        out=out,
        force=force,
    )
    click.echo(result)


def _checked_roles(told: list[tuple[str, str]]) -> dict[str, Any]:
    """Return what each column is to be taken for. Raises ConfigError."""
    roles: dict[str, str] = {}
    for column, role in told:
        if role not in (*TYPES, "feature"):
            near = nearest(role, TYPES)
            raise ConfigError(
                "--type knows no such type",
                got=f"{column}={role}",
                wanted=f"one of {', '.join(TYPES)}",
                fix=f"did you mean --type {column}={near}?" if near else "",
            )
        if roles.setdefault(column, role) != role:
            raise ConfigError(f"{column!r} is told to be two things", got=f"{roles[column]} and {role}", wanted="one")
    return roles


def _pair(option: str, text: str) -> tuple[str, str]:
    """Split `OLD=NEW` at the last sign: a column's name may hold others."""
    left, sign, right = text.rpartition("=")
    if not sign or not left:
        raise ConfigError(f"{option} takes two words", got=text, wanted=f"{option} NAME=VALUE")
    return left, right


@main.command()
def doctor() -> None:
    """Look this machine over: what is wrong, and the cure."""
    from pipeline.doctor import main as examine

    sys.exit(examine())


def _settings(config: Path, overrides: tuple[str, ...]) -> Settings:
    """Read the settings, and the schema against them: TFX, which takes long, is not imported for a slip in either."""
    from config.load import load_settings
    from config.schema import check_schema, read_schema

    settings = load_settings(config, overrides)
    if settings.schema_file:
        check_schema(read_schema(settings.schema_file), settings)
    return settings


def _command(config: Path, options: dict[str, tuple[str, ...]]) -> str:
    """Return the line that starts this run again, from where it was started."""
    place, here = config.resolve(), Path.cwd()
    shown = place.relative_to(here) if place.is_relative_to(here) else place
    given = [part for option, values in options.items() for value in values if value for part in (option, value)]
    return shlex.join(["python", "local_runner.py", "run", str(shown), *given])


def _end(code: int) -> None:
    """Leave at once: TensorFlow takes seconds to tear itself down, and all that matters is on disk."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    try:
        main()
    except SystemExit as end:
        _end(end.code if isinstance(end.code, int) else int(end.code is not None))
