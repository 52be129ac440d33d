"""What `init` found out about a table, and the texts that follow from it: two files and a summary."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2

from common.tables.cleaning import Cleaning
from common.tables.dates import EXAMPLES, Order, has_short_years, orders_of
from common.text import counted
from config.load import CONFIG_NAME
from config.onboard.guesses import presence_floor, recipe, split_weights
from config.onboard.labels import Labels
from config.onboard.profile import FEW_VALUES, ID_SHARE, Column, RawTable
from config.reference import flow, pipeline_text, schema_text

SCHEMA_NAME = "schema.pbtxt"
FEW_CODES = range(3, 11)
TYPES = {"int": schema_pb2.INT, "float": schema_pb2.FLOAT, "text": schema_pb2.BYTES}


@dataclass(frozen=True)
class OnboardResult:
    """All decisions for one file, and the texts that follow from them. `ignored` says why, by column."""

    raw: RawTable
    folder: Path
    label: str
    labels: Labels
    positive: str | None
    why_positive: str
    objective: tuple[str, str] | None  # what the decision threshold is chosen for, and why
    cleaning: Cleaning
    why_cleaned: Mapping[str, Sequence[str]]  # sentences by setting
    groups: Column | None
    times: Column | None
    different: int | None  # rows of features, where they are so few that copies are dealt one by one
    ignored: Mapping[str, str]
    columns: Sequence[Column]  # that are features
    codes: Sequence[str]  # integers that are categories
    dates: Mapping[str, Order]
    free_texts: Collection[str]  # columns in which new texts may turn up
    told: Collection[str]  # columns that are features because the person said so
    hints: Mapping[str, Sequence[str]]  # what to look at, by column

    @property
    def classes(self) -> Mapping[str, int]:
        """The rows of each class."""
        return self.labels.classes

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
        predicted = f"classes: {classes}" if self.classes else f"a number to predict: {notes['data.task'][0]}"
        lines = [f"{self.rows} rows, {len(self.columns)} features, {predicted}"]
        lines += [f"{key}: {self._short(key, value)}" for key, value in self._cleaned().items()]
        lines += [f"positive class: {self.positive}. {notes['data.positive'][0]}"] if self.positive else []
        lines += [self._dealing_note()] if self._dealing_note() else []
        lines += [f"left out: {column or '(no name)'}. {why}" for column, why in self.ignored.items()]
        lines += [*notes.get("categorical", []), *notes.get("dates", [])]
        lines += [f"look at {sentence}" for sentences in self.hints.values() for sentence in sentences]
        lines += [f"wrote {self.config}", f"wrote {self.schema}", f"next: local_runner.py run {self.folder}"]
        return "\n".join(lines)

    def settings_text(self) -> str:
        data: dict[str, Any] = {
            **self._source(),
            **({"format": "parquet"} if self.raw.format == "parquet" else {}),
            "label": self.label,
            **({"classes": list(self.classes)} if self.classes else {"task": "regression"}),
        }
        data |= {"positive": self.positive} if self.positive is not None else {}
        data |= {"ignore": self.ignored} if self.ignored else {}
        data |= {"delimiter": self.raw.delimiter} if self.raw.delimiter != "," else {}
        data |= {key.removeprefix("data."): value for key, value in self._cleaned().items()}
        train, eval_, test = split_weights(self.rows)
        values = {
            "name": self.name,
            "title": _title(self.name),
            "description": f"Predicts {self.label} from {len(self.columns)} columns of {self.raw.path.name}.",
            "schema": SCHEMA_NAME,
            "seed": 42,
            "data": data,
            "split": {"train": train, "eval": eval_, "test": test} | self._dealing(),
            **({"data_gate": {"severity": self._no_ids()}} if self._no_ids() else {}),
            "categorical": list(self.codes),
            **({"dates": dict(self.dates)} if self.dates else {}),
            "model": {
                "hidden_units": [256, 128, 64, 32],
                **recipe(self.rows * train // 100, is_number=not self.classes),
            },
            **({"operating_point": {"objective": self.objective[0]}} if self.objective else {}),
            "evaluation": {"metrics": self._metrics(), "when_plain_is_better": "refuse"},
            "features": {column: _display(column) for column in self.features},
        }
        kind = f"{len(self.classes)} classes" if self.classes else "a number to predict"
        head = (
            f"Written by `local_runner.py init` from {self.raw.path.name}: {self.rows} rows, "
            f"{len(self.columns)} features, {kind}.\n"
            "The brackets say what may stand there and what the default is. Keys not listed here have defaults: "
            "docs/configuration.md."
        )
        return pipeline_text(head, values, self.notes())

    def _metrics(self) -> list[str]:
        if not self.classes:
            return ["rmse", "mae", "r2", "example_count"]
        accuracy = "accuracy" if self.positive is None else "binary_accuracy"
        return ["auc", "precision", "recall", accuracy, "example_count"]

    def _no_ids(self) -> dict[str, str]:
        """Return how the data gate is told that columns are no ids, though they look so."""
        alike = [c.name for c in self.columns if c.type != "float" and c.uniqueness >= ID_SHARE and c.name in self.told]
        return {f"ID_FEATURE:{name}": "ignore" for name in alike if name not in self.dates}

    def _source(self) -> dict[str, str]:
        if self.raw.url and self.raw.sha256:
            return {"source": self.raw.url, "sha256": self.raw.sha256}
        return {"source": Path(os.path.relpath(self.raw.path.resolve(), self.folder.resolve())).as_posix()}

    def _short(self, key: str, value: Any) -> str:
        why = " ".join(self.why_cleaned[key])
        return why if key == "data.null_values" else f"{flow(value)}. {why}"

    def _cleaned(self) -> dict[str, Any]:
        """Return the settings that say how the table is written, as far as there is something to say."""
        cleaning, labels = self.cleaning, self.labels
        values = {
            "data.trim": cleaning.trim,
            "data.decimal": cleaning.decimal,
            "data.thousands": cleaning.thousands,
            "data.percent": cleaning.percent,
            "data.null_values": list(cleaning.null_values),
            "data.spellings": {name: dict(texts) for name, texts in cleaning.spellings.items()},
            "data.label_map": dict(labels.label_map),
            "data.drop_unlabelled": bool(labels.unlabelled),
            "data.merge_rare_classes": labels.merged_into,
        }
        return {key: value for key, value in values.items() if self.why_cleaned.get(key)}

    def notes(self) -> dict[str, Sequence[str]]:
        shares = ", ".join(f"{text} {count} ({count / self.rows:.1%})" for text, count in self.classes.items())
        notes: dict[str, Sequence[str]] = {
            "data.classes": [f"Rows: {shares}."] if shares else [],
            "data.positive": [self.why_positive] if self.positive is not None else [],
            "data.ignore": ["Take a column out of this list if the guess is wrong, and describe it in the schema."]
            if self.ignored
            else [],
            "data.delimiter": ["Found in the file."] if self.raw.delimiter != "," else [],
            **self.why_cleaned,
            "split": [_split_note(self.rows, self.classes), *filter(None, [self._dealing_note()])],
            "data_gate.severity": ["Looks like an id, and is none: as given."] if self._no_ids() else [],
            "categorical": self._code_notes(),
            "dates": [*self._date_notes()],
            "model": ["Steps and batch size follow from the number of rows; the layers are the default ones."],
            "operating_point.objective": [self.objective[1]] if self.objective else [],
            "evaluation.when_plain_is_better": [
                "A model must be better than chance and no worse than plain models on the same rows. If it must reach "
                "a number of its own besides, say so in `thresholds`, below what a run shows."
            ],
            "features": [
                "Shown to people; add unit, group and description where they help.",
                *(f"Look at {sentence}" for sentences in self.hints.values() for sentence in sentences),
            ],
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
        label = schema_pb2.Feature(name=self.label, type=schema_pb2.BYTES if self.classes else schema_pb2.FLOAT)
        if self.classes:
            label.string_domain.name, label.string_domain.value[:] = self.label, list(self.classes)
        described = [(_required(label), "What is predicted.")]
        if self.groups:
            group = _required(schema_pb2.Feature(name=self.groups.name, type=schema_pb2.BYTES))
            described.append((group, f"{self.groups.distinct} groups; each stays in one split. Not a feature."))
        if self.times:
            time = _required(schema_pb2.Feature(name=self.times.name, type=TYPES[self.times.type]))
            described.append((time, "Says when: the latest rows are the test. Not a feature."))
        described += [self._described(column) for column in self.columns]
        return schema_text(head, described)

    def _described(self, column: Column) -> tuple[schema_pb2.Feature, str]:
        feature = schema_pb2.Feature(name=column.name, type=TYPES[column.type])
        remark = f"Observed: {column.distinct} distinct values."
        if column.minimum is not None:
            remark = f"Observed: {column.minimum:g} to {column.maximum:g}."
        if column.name in self.dates:
            remark = f"{remark[:-1]}. Its parts stand as {EXAMPLES[self.dates[column.name]]}."
        elif column.type == "text" and column.distinct <= FEW_VALUES and column.name not in self.free_texts:
            feature.string_domain.name, feature.string_domain.value[:] = column.name, list(column.values)
            remark = "A value not listed here stops the run at the data gate."
        if not column.missing:
            return _required(feature), remark
        floor, is_sure = presence_floor(column.present, self.rows * min(split_weights(self.rows)) / 100)
        feature.presence.min_fraction = floor
        if is_sure:
            feature.presence.min_count = 1
        feature.value_count.min = feature.value_count.max = 1
        return feature, f"{remark} Missing in {counted(column.missing, 'row')} of {column.rows:,}."

    def _date_notes(self) -> Iterator[str]:
        for name, order in self.dates.items():
            texts = self.raw.date_texts(name)
            if len(orders_of(texts)) > 1:
                yield f"{name!r} is read as {EXAMPLES[order]} is: no day is beyond the twelfth, so it may be otherwise."
            if has_short_years(texts):
                yield f"{name!r} has years of two digits: 69 to 99 are 1969 to 1999, 00 to 68 are 2000 to 2068."

    def _code_notes(self) -> list[str]:
        few = [c for c in self.columns if c.is_whole and c.distinct in FEW_CODES and c.name not in self.codes]
        if not few:
            return []
        listed = "\n".join(f"  {c.name} ({', '.join(text.removesuffix('.0') for text in c.values)})" for c in few)
        return [
            "These whole numbers have few values. They are read as quantities; those that are codes are better told "
            f"by --type {shlex.quote(few[0].name + '=category')}, or listed here and INT in the schema:\n{listed}"
        ]


def _required(feature: schema_pb2.Feature) -> schema_pb2.Feature:
    feature.presence.min_fraction, feature.presence.min_count = 1.0, 1
    feature.shape.SetInParent()
    return feature


def _split_note(rows: int, classes: Mapping[str, int]) -> str:
    test = rows * split_weights(rows)[2] / 100
    if not classes:
        return f"About {test:.0f} rows are for the test: rows are dealt out by a hash, so the number varies a little."
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
