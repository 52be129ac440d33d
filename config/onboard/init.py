"""Write a configuration for a table that nobody has described yet, and say in comments what was guessed and why."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2

from common.errors import ConfigError, DataError
from common.files import write_text
from common.tables.columns import FLOAT32_LIMIT
from common.tables.dialect import BLANKS_BETWEEN_COLUMNS
from common.text import NULL_TEXTS, nearest
from config.load import CONFIG_NAME, load_settings
from config.onboard.guesses import (
    choose_objective,
    choose_positive,
    deals_rows,
    presence_floor,
    read_classes,
    shortened,
    split_weights,
    training,
    why_ignored,
)
from config.onboard.profile import FEW_VALUES, Column, RawTable, look, read_table
from config.reference import pipeline_text, schema_text
from config.schema import check_schema, read_schema

SCHEMA_NAME = "schema.pbtxt"
LEAST_ROWS = 50
LEAST_GROUPS = 5
FEW_CODES = range(3, 11)


def onboard(
    path: Path,
    *,
    label: str,
    positive: str | None = None,
    ids: Sequence[str] = (),
    group_by: str | None = None,
    time: str | None = None,
    objective: str | None = None,
    name: str | None = None,
    out: Path = Path("config"),
    force: bool = False,
) -> OnboardResult:
    """Write `<out>/<name>/pipeline.yaml` and `schema.pbtxt` for a CSV or Parquet file with a class label.

    Raises DataError if the file cannot be learned from, ConfigError if an argument does not fit it.
    """
    folder = out / _name(name, path)
    targets = (folder / CONFIG_NAME, folder / SCHEMA_NAME)
    if not force and (existing := [str(target) for target in targets if target.exists()]):
        raise ConfigError("refusing to overwrite", got=", ".join(existing), fix="--force, or another --name")
    raw = read_table(path)
    _check_columns(raw, label, ids, group_by, time)
    dealing = (group_by, time)
    classes = read_classes(raw, label)
    positive, why_positive = choose_positive(classes, positive)
    nulls = tuple(text for text in NULL_TEXTS if text not in classes)
    columns = [look(column, raw.table[column], nulls) for column in raw.table.column_names if column != label]
    nulls += _odd_texts(raw, columns, classes)
    _check_sizes(raw, columns)
    ignored = {c.name: why for c in columns if c.name not in dealing and (why := why_ignored(c, c.name in ids))}
    ignored |= {"": "Columns without a name."} if raw.has_unnamed else {}
    features = [column for column in columns if column.name not in ignored and column.name not in dealing]
    if not features:
        reasons = "; ".join(f"{column}: {why}" for column, why in ignored.items())
        raise DataError(f"{path} leaves no column to learn from", got=reasons or "the label alone")
    groups = next((column for column in columns if column.name == group_by), None)
    if groups and (groups.missing or groups.distinct < LEAST_GROUPS):
        raise DataError(
            f"{raw.path}: {groups.name!r} cannot part the rows into groups",
            got=f"{groups.distinct} groups, {groups.missing} rows without one",
            wanted=f"at least {LEAST_GROUPS} groups and a value in each row",
        )
    times = next((column for column in columns if column.name == time), None)
    if times and times.missing:
        raise DataError(
            f"{raw.path}: {times.name!r} does not say of each row when it was",
            got=f"{times.missing} rows without a value",
            fix="fill it in, or take those rows out",
        )
    copies = [] if groups or times else raw.copies([column.name for column in features])
    different = len(copies) if copies and deals_rows(copies) else None
    result = OnboardResult(
        raw,
        folder,
        label,
        classes,
        positive,
        why_positive,
        choose_objective(classes, objective),
        nulls,
        groups,
        times,
        different,
        ignored,
        features,
    )
    write_text(result.schema, result.contract_text())
    write_text(result.config, result.settings_text())
    check_schema(read_schema(result.schema), load_settings(result.config))
    return result


@dataclass(frozen=True)
class OnboardResult:
    """All decisions for one file, and the texts that follow from them. `ignored` says why, by column."""

    raw: RawTable
    folder: Path
    label: str
    classes: Mapping[str, int]  # rows of each
    positive: str | None
    why_positive: str
    objective: tuple[str, str] | None  # what the decision threshold is chosen for, and why
    nulls: tuple[str, ...]
    groups: Column | None
    times: Column | None
    different: int | None  # rows of features, where they are so few that copies are dealt one by one
    ignored: Mapping[str, str]
    columns: Sequence[Column]  # that are features

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def config(self) -> Path:
        return self.folder / CONFIG_NAME

    @property
    def schema(self) -> Path:
        return self.folder / SCHEMA_NAME

    @property
    def rows(self) -> int:
        return self.raw.table.num_rows

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def __str__(self) -> str:
        """Return a summary for the screen: files, what was guessed and why, what to do next."""
        notes, classes = self.notes(), ", ".join(f"{text} {count}" for text, count in self.classes.items())
        lines = [f"{self.rows} rows, {len(self.columns)} features, classes: {classes}"]
        lines += [f"positive class: {self.positive}. {notes['data.positive'][0]}"] if self.positive else []
        lines += [self._dealing_note()] if self._dealing_note() else []
        lines += [f"left out: {column or '(no name)'}. {why}" for column, why in self.ignored.items()]
        lines += notes.get("categorical", [])
        lines += [f"wrote {self.config}", f"wrote {self.schema}", f"next: local_runner.py run {self.folder}"]
        return "\n".join(lines)

    def settings_text(self) -> str:
        data: dict[str, Any] = {
            "source": Path(os.path.relpath(self.raw.path.resolve(), self.folder.resolve())).as_posix(),
            **({"format": "parquet"} if self.raw.format == "parquet" else {}),
            "label": self.label,
            "classes": list(self.classes),
        }
        data |= {"positive": self.positive} if self.positive is not None else {}
        data |= {"ignore": self.ignored} if self.ignored else {}
        data |= {"delimiter": self.raw.delimiter} if self.raw.delimiter != "," else {}
        data |= {"null_values": list(self.nulls)} if self.nulls != NULL_TEXTS else {}
        train, eval_, test = split_weights(self.rows)
        metrics = ["auc", "precision", "recall"]
        metrics += ["binary_accuracy", "example_count"] if self.positive is not None else ["accuracy", "example_count"]
        values = {
            "name": self.name,
            "title": _title(self.name),
            "description": f"Predicts {self.label} from {len(self.columns)} columns of {self.raw.path.name}.",
            "schema": SCHEMA_NAME,
            "seed": 42,
            "data": data,
            "split": {"train": train, "eval": eval_, "test": test} | self._dealing(),
            "categorical": [],
            "model": {"hidden_units": [256, 128, 64, 32], "dropout": 0.3, **training(self.rows * train // 100)},
            **({"operating_point": {"objective": self.objective[0]}} if self.objective else {}),
            "evaluation": {"metrics": metrics, "when_plain_is_better": "refuse"},
            "features": {column: _display(column) for column in self.features},
        }
        head = (
            f"Written by `local_runner.py init` from {self.raw.path.name}: {self.rows} rows, "
            f"{len(self.columns)} features, {len(self.classes)} classes.\n"
            "The brackets say what may stand there and what the default is. Keys not listed here have defaults: "
            "docs/configuration.md."
        )
        return pipeline_text(head, values, self.notes())

    def notes(self) -> dict[str, list[str]]:
        shares = ", ".join(f"{text} {count} ({count / self.rows:.1%})" for text, count in self.classes.items())
        notes = {
            "data.classes": [f"Rows: {shares}."],
            "data.positive": [self.why_positive] if self.positive is not None else [],
            "data.ignore": ["Take a column out of this list if the guess is wrong, and describe it in the schema."]
            if self.ignored
            else [],
            "data.delimiter": ["Found in the file."] if self.raw.delimiter != "," else [],
            "data.null_values": self._null_notes(),
            "split": [_split_note(self.rows, self.classes), *filter(None, [self._dealing_note()])],
            "categorical": self._code_notes(),
            "model": ["Steps and batch size follow from the number of rows; the layers are the default ones."],
            "operating_point.objective": [self.objective[1]] if self.objective else [],
            "evaluation.when_plain_is_better": [
                "A model must be better than chance and no worse than plain models on the same rows. If it must reach "
                "a number of its own besides, say so in `thresholds`, below what a run shows."
            ],
            "features": ["Shown to people; add unit, group and description where they help."],
        }
        return {key: sentences for key, sentences in notes.items() if sentences}

    def _dealing(self) -> dict[str, str]:
        if self.groups:
            return {"group_by": self.groups.name}
        if self.times:
            return {"by": "time", "time": self.times.name}
        return {"by": "row"} if self.different else {}

    def _dealing_note(self) -> str:
        if self.times:
            return f"The earliest rows by {self.times.name} train, the latest test."
        if self.different is None:
            return ""
        return (
            f"Only {self.different} different rows of features among {self.rows}: dealt one by one (split.by: row), "
            "for equal rows would all go to one split. If several are of one person or thing, say --group-by."
        )

    def contract_text(self) -> str:
        head = (
            f"The contract for the data of {self.name}. Observed ranges stand in comments: make a domain of "
            "those\nthat must never be left (float_domain { min: 0 }), and rows outside stop at the data gate."
        )
        label = schema_pb2.Feature(name=self.label, type=schema_pb2.BYTES)
        label.string_domain.name, label.string_domain.value[:] = self.label, list(self.classes)
        described = [(_required(label), "What is predicted.")]
        if self.groups:
            group = _required(schema_pb2.Feature(name=self.groups.name, type=schema_pb2.BYTES))
            described.append((group, f"{self.groups.distinct} groups; each stays in one split. Not a feature."))
        if self.times:
            types = {"int": schema_pb2.INT, "float": schema_pb2.FLOAT, "text": schema_pb2.BYTES}
            time = _required(schema_pb2.Feature(name=self.times.name, type=types[self.times.type]))
            described.append((time, "Says when: the latest rows are the test. Not a feature."))
        described += [self._described(column) for column in self.columns]
        return schema_text(head, described)

    def _described(self, column: Column) -> tuple[schema_pb2.Feature, str]:
        types = {"int": schema_pb2.INT, "float": schema_pb2.FLOAT, "text": schema_pb2.BYTES}
        feature = schema_pb2.Feature(name=column.name, type=types[column.type])
        remark = f"Observed: {column.distinct} distinct values."
        if column.minimum is not None:
            remark = f"Observed: {column.minimum:g} to {column.maximum:g}."
        if column.type == "text" and column.distinct <= FEW_VALUES:
            feature.string_domain.name, feature.string_domain.value[:] = column.name, list(column.values)
            remark = "A value not listed here stops the run at the data gate."
        if not column.missing:
            return _required(feature), remark
        floor, is_sure = presence_floor(column.present, self.rows * min(split_weights(self.rows)) / 100)
        feature.presence.min_fraction = floor
        if is_sure:
            feature.presence.min_count = 1
        feature.value_count.min = feature.value_count.max = 1
        return feature, f"{remark} Missing in {column.missing} rows of {column.rows}."

    def _null_notes(self) -> list[str]:
        more = [text for text in self.nulls if text not in NULL_TEXTS]
        fewer = [text for text in NULL_TEXTS if text not in self.nulls]
        notes = [f"Added, because columns of numbers hold them: {', '.join(map(repr, more))}."] if more else []
        return notes + ([f"Left out, because it is a class: {', '.join(map(repr, fewer))}."] if fewer else [])

    def _code_notes(self) -> list[str]:
        codes = [c for c in self.columns if c.type == "int" and c.distinct in FEW_CODES]
        if not codes:
            return []
        listed = "\n".join(f"  {code.name} ({', '.join(code.values)})" for code in codes)
        return [
            f"These integers have few values. They are read as quantities; list here those that are codes:\n{listed}"
        ]


def _required(feature: schema_pb2.Feature) -> schema_pb2.Feature:
    feature.presence.min_fraction, feature.presence.min_count = 1.0, 1
    feature.shape.SetInParent()
    return feature


def _name(name: str | None, path: Path) -> str:
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


def _check_columns(raw: RawTable, label: str, ids: Sequence[str], group_by: str | None, time: str | None) -> None:
    names = raw.table.column_names
    options = (("--label", label), *(("--id", i) for i in ids), ("--group-by", group_by), ("--time", time))
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
    if label in (*ids, group_by, time):
        raise ConfigError(f"{label!r} is the label and cannot be an id, a group or a time as well")
    if group_by and time:
        raise ConfigError("--group-by keeps rows together and --time parts them", fix="leave one of the two out")
    if raw.table.num_rows < LEAST_ROWS:
        raise DataError(
            f"{raw.path} has too few rows to train, tune and test a model",
            got=raw.table.num_rows,
            wanted=f"at least {LEAST_ROWS}, better some hundreds",
        )


def _odd_texts(raw: RawTable, columns: Sequence[Column], classes: Mapping[str, int]) -> tuple[str, ...]:
    for column in columns:
        if both := [text for text in column.odd if text in classes]:
            raise DataError(
                f"{raw.path}: {column.name!r} holds numbers and {both[0]!r}, which is also a class of the label",
                fix="leave the cells empty where there is no number",
            )
    return tuple(sorted({text for column in columns for text in column.odd}))


def _check_sizes(raw: RawTable, columns: Sequence[Column]) -> None:
    for column in columns:
        if column.minimum is not None and max(abs(column.minimum), abs(column.maximum or 0.0)) >= FLOAT32_LIMIT:
            raise DataError(
                f"{raw.path}: {column.name!r} holds a number beyond what a 32-bit float can",
                got=f"{column.minimum:g} to {column.maximum:g}",
                wanted="at most 3.4e38",
                fix="correct it, or leave the cell empty",
            )


def _split_note(rows: int, classes: Mapping[str, int]) -> str:
    test = rows * split_weights(rows)[2] / 100
    rarest = min(classes, key=lambda text: classes[text])
    return (
        f"About {test:.0f} rows are for the test, some {classes[rarest] * test / rows:.0f} of them of the rarest "
        f"class, {rarest}: rows are dealt out by a hash, so the numbers vary a little."
    )


def _display(column: str) -> dict[str, str]:
    """Return a name for people and, from `length (cm)`, a unit."""
    name, unit = re.fullmatch(r"(.*?)\s*(?:[(\[]([^()\[\]]{1,12})[)\]])?\s*", column, re.DOTALL).groups()  # type: ignore[union-attr]
    return {"name": _title(name or column)} | ({"unit": unit} if unit else {})


def _title(text: str) -> str:
    words = re.sub(r"[_\s]+", " ", text).strip()
    return words[:1].upper() + words[1:]
