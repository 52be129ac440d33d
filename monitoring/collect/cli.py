"""The commands about spans of examples, of `python -m monitoring`. What they take is imported once one runs."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from common.cli import JSON, MODEL, MOMENT
from common.paths import var_root
from common.text import counted

if TYPE_CHECKING:
    from config.settings import Settings
    from monitoring.collect.collect import Wanted
    from monitoring.collect.spans import Spans

CONFIG = click.option(
    "--config", type=click.Path(exists=True, path_type=Path), help="Of the model.  [default: config/MODEL]"
)


@click.command()
@MODEL
@CONFIG
@click.option("--from", "start", type=MOMENT, help="Predictions from here on, UTC.  [default: all]")
@click.option("--to", "end", type=MOMENT, help="Predictions before, UTC.  [default: now]")
@click.option(
    "--most-per-user", type=click.IntRange(min=1), default=1000, show_default=True, help="Rows that one user labelled."
)
@click.option("--with-synthetic", is_flag=True, help="Take rows of `simulate`, too; never into the test split.")
@click.option("--dvc", "is_for_dvc", is_flag=True, help="Write DVC's pointer files beside the span's files.")
@click.option(
    "--export", "out", type=click.Path(path_type=Path), help="Pictures: copy them to a folder for each class instead."
)
@click.option(
    "--import",
    "sorted_folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Pictures: take their labels from such a folder first.",
)
@JSON
def collect(
    model: str,
    config: Path | None,
    start: datetime | None,
    end: datetime | None,
    most_per_user: int,
    with_synthetic: bool,
    is_for_dvc: bool,
    out: Path | None,
    sorted_folder: Path | None,
    as_json: bool,
) -> None:
    """Add the next span of MODEL's examples: predictions whose true label is known, checked and deduplicated.

    The new span has the files of the newest one, byte for byte, and one more; nothing old is rewritten. Of pictures it
    is a folder of its own below data.source. --export copies the kept pictures to folders, one for each class and
    `unsorted`, to be sorted in a file manager; --import takes what was sorted for the word of the system's user.
    """
    from common.records.labels import between
    from common.records.spans import SUMMARY
    from config.load import load_settings
    from monitoring.collect.collect import Wanted
    from monitoring.collect.collect import collect as add_span
    from monitoring.collect.spans import write_dvc_pointers
    from monitoring.feedback import reading

    settings, var = load_settings(config or Path("config") / model), var_root()
    if not settings.data.is_images and (out or sorted_folder):
        raise click.UsageError("--export and --import are for data.format: images")
    since = start.replace(tzinfo=timezone.utc) if start else datetime.fromtimestamp(0, timezone.utc)
    until = end.replace(tzinfo=timezone.utc) if end else datetime.now(timezone.utc)
    wanted = Wanted(since, until, most_per_user, with_synthetic)
    if settings.data.is_images:
        if is_for_dvc or with_synthetic:
            raise click.UsageError("--dvc and --with-synthetic are for tables")
        _collect_images(settings, wanted, out, sorted_folder, as_json)
        return
    with reading(var) as connection:
        feedback = between(connection, model, since, until) if connection else {}
    collected = add_span(settings, var / "predictions" / model, feedback, wanted)
    if is_for_dvc:
        write_dvc_pointers(collected.folder)
    if as_json:
        click.echo((collected.folder / SUMMARY).read_text(encoding="utf-8"), nl=False)
        return
    click.echo(f"{counted(len(collected.chosen.taken), 'row')} added: {collected.folder}")
    for reason, count in collected.chosen.reasons.most_common():
        click.echo(f"{count} set aside: {reason}")


def _collect_images(
    settings: Settings, wanted: Wanted, out: Path | None, sorted_folder: Path | None, as_json: bool
) -> None:
    from monitoring.collect.image_folders import export_folders, import_folders
    from monitoring.collect.image_spans import SUMMARY, collect_images
    from monitoring.collect.kept_images import KeptImages
    from monitoring.feedback import with_image_labels

    with with_image_labels(var_root(), writes=bool(sorted_folder)) as connection:
        kept = KeptImages(var_root(), settings, connection)
        if sorted_folder:
            taken = import_folders(kept, sorted_folder)
            click.echo(
                f"{counted(taken.told, 'label')} taken, {taken.same} known, {counted(taken.unknown, 'file')} not kept",
                err=as_json,
            )
        if out:
            click.echo(f"{counted(export_folders(kept, out), 'picture')} copied: {out}")
        if out or sorted_folder:
            return
        collected = collect_images(kept, wanted)
    if as_json:
        click.echo((collected.folder / SUMMARY).read_text(encoding="utf-8"), nl=False)
        return
    click.echo(f"{counted(len(collected.taken), 'picture')} added: {collected.folder}")
    for reason, count in collected.reasons.most_common():
        click.echo(f"{count} set aside: {reason}")


@click.command()
@MODEL
@click.argument("place")
@CONFIG
def push(model: str, place: str, config: Path | None) -> None:
    """Bring all spans of MODEL to PLACE: a folder, or such as s3://bucket/folder.

    It is laid out as a remote of DVC. What is there already stays; what a deletion request took out is removed.
    """
    from monitoring.collect.remote import Remote

    moved = Remote.of(place, model).push(_spans(model, config))
    for span, files in moved.spans.items():
        click.echo(f"span {span}: {counted(files, 'file')} brought to {place}")
    if moved.removed:
        click.echo(f"{counted(moved.removed, 'file')} removed there, whose rows were forgotten")
    if not (moved.spans or moved.removed):
        click.echo(f"nothing new for {place}")


@click.command()
@MODEL
@click.argument("place")
@CONFIG
def pull(model: str, place: str, config: Path | None) -> None:
    """Bring the spans of MODEL here that are missing, or of which PLACE has a later version.

    Each appears whole or not at all, and each file is what its pointer and its span's summary say.
    """
    from monitoring.collect.remote import Remote

    moved = Remote.of(place, model).pull(_spans(model, config))
    for span, files in moved.spans.items():
        click.echo(f"span {span}: {counted(files, 'file')}")
    if not moved.spans:
        click.echo("all spans are here")


def _spans(model: str, config: Path | None) -> Spans:
    from config.load import load_settings
    from monitoring.collect.spans import Spans

    return Spans.of(load_settings(config or Path("config") / model).data.source)


@click.command()
@MODEL
@click.argument("reference")
@CONFIG
def forget(model: str, reference: str, config: Path | None) -> None:
    """Take the rows of a REFERENCE out of all spans that were collected for MODEL.

    Each of these spans becomes another version of itself, and its summary says so. The web app deletes predictions and
    true labels; models keep what they have learnt until they are trained again.
    """
    from config.load import load_settings
    from monitoring.collect.collect import forget as take_out
    from monitoring.collect.image_spans import forget_images

    settings = load_settings(config or Path("config") / model)
    gone = forget_images(settings, reference) if settings.data.is_images else take_out(settings, reference)
    for span, rows in gone.items():
        click.echo(f"span {span}: {counted(rows, 'picture' if settings.data.is_images else 'row')} taken out")


@click.command()
@MODEL
@click.argument("span", type=click.IntRange(min=1))
@CONFIG
def withdraw(model: str, span: int, config: Path | None) -> None:
    """Put a SPAN that was collected for MODEL out of sight, because its labels are wrong.

    Later spans do not build on it, and its rows are collected again with the labels that they have by then. Of tables
    it must be the newest, for each span has the rows of those before. Models keep what they have learnt until they are
    trained again.
    """
    from common.errors import DataError
    from config.load import load_settings
    from monitoring.collect.image_spans import ImageSpans
    from monitoring.collect.spans import Spans

    settings = load_settings(config or Path("config") / model)
    spans: ImageSpans | Spans
    if settings.data.is_images:
        spans = ImageSpans.of(settings)
        removable = sorted(spans.folders())
    else:
        spans = Spans.of(settings.data.source)
        removable = [number for number in spans.numbers()[1:][-1:] if spans.was_collected(number)]
    if span not in removable:
        wanted = f"span {' or '.join(map(str, removable))}" if removable else "none: nothing was collected"
        raise DataError(f"span {span} cannot be withdrawn", wanted=wanted)
    spans.withdraw(span)
    click.echo(f"span {span} is withdrawn; its rows are collected again once they are labelled right")


COMMANDS = (collect, push, pull, forget, withdraw)
