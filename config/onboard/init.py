"""Write a configuration for a table that nobody has described yet, and say in comments what was guessed and why."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from common.errors import ConfigError, DataError
from common.files import write_text
from common.paths import var_root
from common.tables.cleaning import Cleaning
from common.tables.columns import FLOAT32_LIMIT
from common.tables.dates import EXAMPLES, PATTERNS, Order, is_date, orders_of
from common.tables.dialect import BLANKS_BETWEEN_COLUMNS
from common.tables.remote import URL, fetch, name_of
from common.text import nearest, shortened
from config.load import CONFIG_NAME, load_settings
from config.onboard.guesses import choose_objective, deals_rows, why_ignored
from config.onboard.hints import look_out
from config.onboard.labels import choose_positive, is_quantity, read_labels, read_numbers
from config.onboard.numbers import guess_writing, look_at_all, spellings, with_odd_texts
from config.onboard.profile import Column, RawTable, Role, look, read_table
from config.onboard.result import SCHEMA_NAME, OnboardResult
from config.schema import check_schema, read_schema

LEAST_ROWS = 50
LEAST_GROUPS = 5


@dataclass(frozen=True)
class Wishes:
    """What the person said beside the label. `roles`: what columns are to be taken for."""

    task: Literal["classification", "regression"] | None = None
    positive: str | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)
    group_by: str | None = None
    time: str | None = None
    objective: str | None = None
    nulls: Sequence[str] = ()  # texts that mean missing besides the usual ones
    classes: Sequence[str] = ()  # labels that are classes though they usually mean missing
    label_map: Mapping[str, str] = field(default_factory=dict)


def onboard(
    data: Path | str,
    *,
    label: str,
    wishes: Wishes = Wishes(),
    name: str | None = None,
    out: Path = Path("config"),
    force: bool = False,
) -> OnboardResult:
    """Write `<out>/<name>/pipeline.yaml` and `schema.pbtxt` for a table with a label. `data` may be a URL.

    Raises DataError if the file cannot be learned from, ConfigError if a wish does not fit it.
    """
    url = str(data) if re.match(URL, str(data)) else None
    folder = out / model_name(name, Path(name_of(url) if url else data))
    targets = (folder / CONFIG_NAME, folder / SCHEMA_NAME)
    if not force and (existing := [str(target) for target in targets if target.exists()]):
        raise ConfigError("refusing to overwrite", got=", ".join(existing), fix="--force, or another --name")
    fetched = fetch(url, var_root() / "sources") if url else None
    raw = read_table(fetched.path if fetched else Path(data))
    raw = replace(raw, url=url, sha256=fetched.sha256) if fetched else raw
    _check_columns(raw, label, wishes)
    result = _described(raw, folder, label, wishes)
    _write(result)
    return result


def _write(result: OnboardResult) -> None:
    """Write both files, or none if they cannot be read again: beside their place, where relative paths lead alike."""
    result.folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".init-", dir=result.folder.parent) as scratch:
        config, schema = Path(scratch) / CONFIG_NAME, Path(scratch) / SCHEMA_NAME
        write_text(schema, result.contract_text())
        write_text(config, result.settings_text())
        check_schema(read_schema(schema), load_settings(config))
        result.folder.mkdir(exist_ok=True)
        schema.replace(result.schema)
        config.replace(result.config)


def _described(raw: RawTable, folder: Path, label: str, wishes: Wishes) -> OnboardResult:
    names = [column for column in raw.table.column_names if column != label]
    number = _number(raw, label, wishes)
    writing = guess_writing(raw, [*names, label] if number else names, Cleaning())
    columns = look_at_all(raw, names, writing.cleaning, wishes.roles)
    number = number and look(label, raw.table[label], writing.cleaning)
    labels = read_numbers(raw, number) if number else read_labels(raw, label, wishes.classes, wishes.label_map)
    positive, why_positive = choose_positive(labels.classes, wishes.positive)
    # what means missing among numbers does so in all columns: they are looked at again
    numbers = [*columns.values(), *([number] if number else [])]
    nulls = with_odd_texts(raw, numbers, writing.cleaning, labels.classes, wishes.nulls)
    columns = look_at_all(raw, names, nulls.cleaning, wishes.roles)
    ignored = _ignored(raw, columns, wishes)
    features = [column for column in columns.values() if column.name not in (*ignored, wishes.group_by, wishes.time)]
    if not features:
        reasons = "; ".join(f"{column}: {why}" for column, why in ignored.items())
        raise DataError(f"{raw.path} leaves no column to learn from", got=reasons or "the label alone")
    spelt = spellings(features, raw, nulls.cleaning)
    roles = wishes.roles
    features = [
        look(c.name, raw.table[c.name], spelt.cleaning, roles.get(c.name)) if c.name in spelt.cleaning.spellings else c
        for c in features
    ]
    _check_sizes(raw, features)
    _check_dealing(raw, columns, wishes)
    copies = [] if wishes.group_by or wishes.time else raw.copies([column.name for column in features])
    return OnboardResult(
        raw,
        folder,
        label,
        labels,
        positive,
        why_positive,
        choose_objective(labels.classes, wishes.objective),
        spelt.cleaning,
        {**writing.notes, **labels.notes, **nulls.notes, **spelt.notes},
        columns.get(wishes.group_by or ""),
        columns.get(wishes.time or ""),
        len(copies) if copies and deals_rows(copies) else None,
        ignored,
        features,
        [column.name for column in features if roles.get(column.name) == "category" and column.type == "int"],
        {column.name: _date_order(raw, column) for column in features if roles.get(column.name) == "date"},
        {name for name, role in roles.items() if role == "text"},
        {name for name, role in roles.items() if role not in ("id", "drop")},
        look_out(raw, features, spelt.cleaning, roles),
    )


def _number(raw: RawTable, label: str, wishes: Wishes) -> Column | None:
    """Return what the label holds if it is a number to predict. Raises ConfigError if what was said is for classes."""
    column = look(label, raw.table[label], guess_writing(raw, [label], Cleaning()).cleaning)
    if wishes.task != "regression" and (wishes.task or not is_quantity(column)):
        return None
    said = {"--positive": wishes.positive, "--class": wishes.classes, "--map-label": wishes.label_map}
    if options := [option for option, value in {**said, "--objective": wishes.objective}.items() if value]:
        raise ConfigError(
            f"{options[0]} is for classes, and {label!r} holds numbers to predict",
            got=f"{column.distinct} distinct numbers",
            fix="leave it out, or say --task classification",
        )
    return column


def _ignored(raw: RawTable, columns: Mapping[str, Column], wishes: Wishes) -> dict[str, str]:
    """Return why a column is left out, by column."""
    dealing = (wishes.group_by, wishes.time)
    reasons = {n: why_ignored(c, wishes.roles.get(n)) for n, c in columns.items() if n not in dealing}
    ignored = {name: why for name, why in reasons.items() if why}
    return ignored | ({"": "Columns without a name."} if raw.has_unnamed else {})


def _check_dealing(raw: RawTable, columns: Mapping[str, Column], wishes: Wishes) -> None:
    groups, times = columns.get(wishes.group_by or ""), columns.get(wishes.time or "")
    if groups and (groups.missing or groups.distinct < LEAST_GROUPS):
        raise DataError(
            f"{raw.path}: {groups.name!r} cannot part the rows into groups",
            got=f"{groups.distinct} groups, {groups.missing} rows without one",
            wanted=f"at least {LEAST_GROUPS} groups and a value in each row",
        )
    if times and times.missing:
        raise DataError(
            f"{raw.path}: {times.name!r} does not say of each row when it was",
            got=f"{times.missing} rows without a value",
            fix="fill it in, or take those rows out",
        )


def _date_order(raw: RawTable, column: Column) -> Order:
    """Return in which order the parts of a column's dates stand. Raises DataError if that cannot be seen."""
    texts = raw.date_texts(column.name)
    orders = orders_of(texts)
    if orders == ["dmy", "mdy"]:
        orders = ["mdy"] if all("/" in text for text in texts) else ["dmy"]
    if not orders:
        odd = next((text for text in sorted(texts) if not any(is_date(text, order) for order in PATTERNS)), "")
        raise DataError(
            f"{raw.path}: {column.name!r} cannot be read as dates",
            got=f"{odd!r} ({raw.place(column.name, odd)})" if odd in raw.counts(column.name) else "different orders",
            wanted=" or ".join(EXAMPLES.values()) + ", all alike; where the year comes first, with four digits",
            fix="write them so, or leave the cell empty",
        )
    return orders[0]


def model_name(name: str | None, path: Path) -> str:
    """Return the name of a model, of a file's name if none is given. Raises ConfigError."""
    stem = Path(path.name.removesuffix(".gz")).stem
    slug = re.sub(r"[^a-z0-9]+", "_", (name or stem).lower()).strip("_")[:63] or "model"
    slug = slug if slug[0].isalpha() else f"m_{slug}"[:63]
    if name and name != slug:
        raise ConfigError(
            "the name does not do for a model",
            got=name,
            wanted="lower-case letters, digits and _, a letter first",
            fix=f"--name {slug}",
        )
    return slug


def _check_columns(raw: RawTable, label: str, wishes: Wishes) -> None:
    names = raw.table.column_names
    told = [(_option(role, column), column) for column, role in wishes.roles.items()]
    options = [("--label", label), ("--group-by", wishes.group_by), ("--time", wishes.time), *told]
    for option, column in options:
        if column is None or column in names:
            continue
        near = nearest(column, names)
        has_no_header = sum(bool(re.fullmatch(r"[-+.\deE]+", text)) for text in names) > len(names) / 2
        fix = "add a first line with the columns' names" if has_no_header else "give the name as the first line has it"
        if len(names) == 1 and column in names[0].split():
            fix = BLANKS_BETWEEN_COLUMNS
        raise ConfigError(
            f"{raw.path} has no column {column!r}",
            got=f"{option} {column}",
            wanted=shortened(names),
            fix=f"did you mean {option} {near!r}?" if near else fix,
        )
    if label in (*wishes.roles, wishes.group_by, wishes.time):
        raise ConfigError(f"{label!r} is the label and cannot be an id, a feature, a group or a time as well")
    if wishes.group_by and wishes.time:
        raise ConfigError("--group-by keeps rows together and --time parts them", fix="leave one of the two out")
    if raw.table.num_rows < LEAST_ROWS:
        raise DataError(
            f"{raw.path} has too few rows to train, tune and test a model",
            got=raw.table.num_rows,
            wanted=f"at least {LEAST_ROWS}, better some hundreds",
        )


def _option(role: Role, column: str) -> str:
    return f"--{role}" if role in ("id", "drop", "feature") else f"--type (={role})"


def _check_sizes(raw: RawTable, columns: Sequence[Column]) -> None:
    for column in columns:
        if column.minimum is not None and max(abs(column.minimum), abs(column.maximum or 0.0)) >= FLOAT32_LIMIT:
            raise DataError(
                f"{raw.path}: {column.name!r} holds a number beyond what a 32-bit float can",
                got=f"{column.minimum:g} to {column.maximum:g}",
                wanted="at most 3.4e38",
                fix="correct it, or leave the cell empty",
            )
