"""One case: a form with the model's fields, what was typed or pasted into it, what the model says, and why."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from common.errors import DataError, VouchError
from common.tables.dialect import records
from common.text import counted
from webapp import wording
from webapp.auth import asked_by, requires
from webapp.http.errors import page_with
from webapp.insight.cases import example_rows
from webapp.models.catalog import Field, ModelVersion
from webapp.pages import frame, pictures
from webapp.pages.result import Result, result_of
from webapp.predict.validation import parse_text
from webapp.services import services
from webapp.types import REFERENCE_LENGTH, Caution, InvalidInput, Problem, Role

REFERENCE = "__reference"  # no feature is called so
MOST_OPTIONS = 50  # beyond, values are typed, not picked
blueprint = Blueprint("predict", __name__)
blueprint.record_once(lambda state: frame.init_app(state.app))  # all pages have it, and this is the first


@dataclass(frozen=True)
class Case:
    """What became of a form: a result, or what is wrong with its values, or why there is no answer at all."""

    texts: Mapping[str, str]
    result: Result | None = None
    problems: tuple[Problem, ...] = ()
    failure: VouchError | None = None
    refused_paste: DataError | None = None
    pasted: str = ""

    @property
    def cautions(self) -> tuple[Caution, ...]:
        return self.result.outcome.cautions if self.result else ()


@blueprint.get("/")
@requires(Role.VIEWER)
def home() -> AnyResponse:
    preferred, catalog = services().settings.model, services().catalog
    if not preferred and len(catalog.models()) > 1:
        return redirect(url_for("models.page"))
    return redirect(url_for(".page", model=catalog.opening(preferred)))


@blueprint.route("/predict/<model>", methods=["GET", "POST"])
@requires(Role.VIEWER)
def page(model: str) -> Response:
    model_version = frame.form_version(model)
    if request.method == "GET" and model_version.reads_images:
        return pictures.form_page(model_version)
    model_version.refuse_images()
    if request.method == "GET":
        return make_response(_page(model_version, Case(_example_texts(model_version, request.args.get("example", "")))))
    case = _decide(model_version, request.form)
    return page_with(_page(model_version, case), case.failure, 400 if case.problems else 200)


@blueprint.route("/predict/<model>/images", methods=["GET", "POST"])
@requires(Role.VIEWER)
def images(model: str) -> Response:
    model_version = frame.form_version(model)
    model_version.require_images()
    return pictures.form_page(model_version) if request.method == "GET" else pictures.answered_page(model_version)


@blueprint.post("/predict/<model>/paste")
@requires(Role.VIEWER)
def paste(model: str) -> Response:
    model_version, pasted = frame.rows_version(model), request.form.get("pasted", "")
    try:
        return make_response(_page(model_version, Case(pasted_texts(model_version, pasted))))
    except DataError as error:
        return make_response(_page(model_version, Case({}, refused_paste=error, pasted=pasted)), 400)


def _decide(model_version: ModelVersion, texts: Mapping[str, str]) -> Case:
    reference = texts.get(REFERENCE, "").strip()[:REFERENCE_LENGTH]
    try:
        row = parse_text(model_version, with_points(model_version, texts))
        answer = services().predictor.predict(model_version.model, [row], asked_by("page", reference=reference))
        return Case(texts, result_of(answer, row, reference))
    except InvalidInput as error:
        return Case(texts, problems=error.problems)
    except VouchError as error:
        return Case(texts, failure=error)


def _page(model_version: ModelVersion, case: Case) -> str:
    inputs = inputs_of(model_version, case.texts, case.problems, case.cautions)
    context = {"model_version": model_version, "case": case, "inputs": inputs, "problem_links": problem_links(inputs)}
    if frame.is_partial():
        return render_template("_predict_parts.html", **context)
    groups = {heading or "Values": [*each] for heading, each in groupby(inputs, lambda each: each.field.group)}
    return render_template("predict.html", **context, groups=groups, examples=_examples(model_version))


def _examples(model_version: ModelVersion) -> list[dict[str, Any]]:
    return [
        {"key": e.key, "title": e.title, "row": e.row, "texts": _texts(model_version, e.row)}
        for e in example_rows(services(), model_version)
    ]


def _example_texts(model_version: ModelVersion, key: str) -> dict[str, str]:
    texts = [example["texts"] for example in _examples(model_version) if example["key"] == key] if key else []
    return texts[0] if texts else {}


def _texts(model_version: ModelVersion, row: Mapping[str, Any]) -> dict[str, str]:
    return {field.name: as_text(row.get(field.name)) for field in model_version.fields}


@dataclass(frozen=True)
class Input:
    """One field in a form. `typed`: the text as it came, where it was read in another way than it stood there."""

    id: str
    field: Field
    value: str
    hint: str
    options: tuple[tuple[str, str], ...] = ()  # to pick from, each with its name; empty where a value is typed
    problem: Problem | None = None
    caution: Caution | None = None
    typed: str = ""

    @property
    def described_by(self) -> str:
        """The ids of what is said about it; the note's place is there even while it is empty."""
        return f"{self.id}-hint {self.id}-note" if self.hint else f"{self.id}-note"


def inputs_of(
    model_version: ModelVersion,
    texts: Mapping[str, str],
    problems: Sequence[Problem] = (),
    cautions: Sequence[Caution] = (),
) -> tuple[Input, ...]:
    wrong, odd = {problem.field: problem for problem in problems}, {caution.field: caution for caution in cautions}
    numbers = {field.name: number for number, field in enumerate(model_version.fields)}  # names hold what ids may not
    read = with_points(model_version, texts)
    return tuple(
        Input(
            f"field-{numbers[field.name]}",
            field,
            read.get(field.name, ""),
            wording.seen_range(field),
            _options(field, read.get(field.name, "")),
            wrong.get(field.name),
            odd.get(field.name),
            "" if read.get(field.name) == texts.get(field.name) else texts.get(field.name, ""),
        )
        for _heading, fields in model_version.groups
        for field in fields
    )


def problem_links(inputs: Sequence[Input]) -> list[tuple[str, str]]:
    """Return the id of each wrong input with what to say of it, for the summary at the top of a page."""
    return [(each.id, f"{each.field.title}: {each.problem.rule}") for each in inputs if each.problem]


def with_points(model_version: ModelVersion, texts: Mapping[str, str]) -> dict[str, str]:
    """Return a form's texts with its numbers as they are read: a decimal comma as a point, say."""
    cleaning, fields = model_version.cleaning.with_decimal_commas, model_version.by_name
    numbers = {name for name in texts if name in fields and fields[name].dtype != "string"}
    return {name: (cleaning.number(text) or text) if name in numbers else text for name, text in texts.items()}


def as_text(value: Any) -> str:
    """Return a value as an input holds it: never by locale, whole numbers without a point, nothing if missing."""
    text = "" if value is None else str(value)
    return text.removesuffix(".0") if isinstance(value, float) else text


def pasted_texts(model_version: ModelVersion, pasted: str) -> dict[str, str]:
    """Return the texts of one pasted row by field: cells between tabs, semicolons or commas, with or without a header.

    Without a header the cells are in the order of the batch template. Raises DataError if it is not one row that fits.
    """
    first = pasted.strip().partition("\n")[0]
    delimiter = next((mark for mark in "\t;," if mark in first), "\t")  # a comma may be a decimal one
    try:
        rows = [row for cells in records(pasted, delimiter) if any(row := [cell.strip() for cell in cells])]
    except csv.Error as error:
        raise DataError("this is no row of a table", got=error) from None
    if not rows:
        raise DataError("nothing was pasted", wanted="a row of values, with its header or without")
    names = {name.casefold(): field.name for field in model_version.fields for name in (field.title, field.name)}
    header = [names.get(cell.casefold(), "") for cell in rows[0]]
    if not any(header):
        header = [field.name for field in model_version.fields]
    else:
        rows = rows[1:]
    if len(rows) != 1:
        raise DataError("the form takes one row", got=counted(len(rows), "row"), fix="send several on the page Batch")
    if len(rows[0]) != len(header):
        raise DataError(
            "the row does not fit",
            got=counted(len(rows[0]), "value"),
            wanted=f"{len(header)}, or a header that says which they are",
        )
    return {name: cell for name, cell in zip(header, rows[0], strict=True) if name}


def _options(field: Field, value: str) -> tuple[tuple[str, str], ...]:
    if field.kind == "numeric":
        return ()
    seen = field.stats.seen or frozenset()
    known = field.values or (tuple(sorted(seen, key=_order)) if len(seen) <= MOST_OPTIONS else ())
    listed = (*known, value) if known and value and value not in known else known
    return tuple((each, f"{name} ({each})" if (name := field.value_names.get(each)) else each) for each in listed)


def _order(text: str) -> tuple[float, str]:
    return (float(text) if text.lstrip("-").isdecimal() else 0.0), text
