"""An uploaded CSV in, a CSV with predictions out: a block at a time, whatever its size, by one version."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from common.tables.cleaning import Cleaning
from common.tables.columns import safe_text, safe_texts
from common.tables.dialect import Dialect
from common.text import nearest
from webapp.bulk.csv_blocks import Block, CsvBlocks, InvalidFile, Limits
from webapp.bulk.csv_columns import CheckedTable, check_table
from webapp.models.catalog import ModelVersion
from webapp.models.releases import Choice
from webapp.predict.answers import BOUNDS, Scored
from webapp.predict.predictor import Predictor
from webapp.predict.validation import shown
from webapp.types import MAX_PROBLEMS, REFERENCE_LENGTH, InvalidInput, Problem, RequestInfo

CHUNK_ROWS = 8192
BINS = 20
IN_FLIGHT = 2  # the model server works on one while the next is made ready
REFERENCE = "reference"
NUMBER_COLUMNS = ("value", *BOUNDS)
Report = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Upload:
    """A CSV as it comes in. `size_bytes` is what is said of it, for the progress; 0: unknown.

    `reference_column` holds the asker's own names for the cases; by default it is REFERENCE, if the file has that.
    `logged_rows`: by version, how many of the first rows an earlier attempt has left in the prediction log.
    """

    model: str
    stream: BinaryIO
    limits: Limits
    size_bytes: int = 0
    reference_column: str = ""
    logged_rows: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BulkResult:
    """What became of a file. Problems count rows as a spreadsheet does: the header is row 1."""

    model: str
    version: int
    route: str
    threshold: float | None
    rows: int  # predicted
    failed: int  # left out, for what `problems` says
    problems: tuple[Problem, ...]  # the first hundred
    counts: tuple[tuple[str, str, int], ...]  # field, rule, how often: the most frequent first
    cautions: int  # rows with a value outside the training data
    seconds: float
    labels: tuple[tuple[str, int], ...] = ()  # each with its rows, the most frequent first; none of numbers
    bins: tuple[tuple[float, float, int], ...] = ()  # low, high and rows: how the scores, or numbers, spread


def score_csv(
    predictor: Predictor,
    upload: Upload,
    request_info: RequestInfo,
    result: BinaryIO,
    report: Report = lambda rows, done, total: None,
) -> BulkResult:
    """Predict every row of a file and write the result as CSV.

    `report` is called with rows and bytes done, and bytes in all. Raises InvalidInput if the file cannot be
    predicted, before any row is; TooLarge; and what the stream and Predictor.predict raise.
    """
    started = time.perf_counter()
    blocks = CsvBlocks(upload.stream, upload.limits)
    model_version, choice = predictor.pinned(upload.model, request_info)
    blocks.dialect = blocks.dialect.matched(model_version.by_name)
    reference = _reference_column(model_version, upload.reference_column, blocks.dialect.names)
    _require(model_version, blocks.dialect.names)
    writer = _Writer(model_version, blocks.dialect, result)
    logged_rows = upload.logged_rows.get(model_version.version, 0)
    cleaning = model_version.cleaning
    cleaning = cleaning.with_decimal_commas if blocks.dialect.has_decimal_commas else cleaning
    job = _Job(predictor, model_version, choice, request_info, writer, cleaning, reference, logged_rows)
    _run(job, blocks, upload, report)
    result.flush()
    return BulkResult(
        model_version.model,
        model_version.version,
        choice.route,
        model_version.threshold,
        job.rows,
        job.failed,
        tuple(job.problems),
        tuple((*key, count) for key, count in job.counts.most_common()),
        job.cautions,
        time.perf_counter() - started,
        tuple(job.labels.most_common()),
        _bins(job.scores, None if model_version.predicts_numbers else (0.0, 1.0)),
    )


def _bins(scores: list[NDArray[np.float64]], reach: tuple[float, float] | None) -> tuple[tuple[float, float, int], ...]:
    counts, edges = np.histogram(np.concatenate([*scores, np.zeros(0)]), BINS, reach)
    return tuple(zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True))


def _run(job: _Job, blocks: CsvBlocks, upload: Upload, report: Report) -> None:
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="bulk") as pool:
        waiting: deque[tuple[_Chunk, Future[tuple[Scored, float]]]] = deque()

        def finish() -> None:
            chunk, future = waiting.popleft()
            job.finish(chunk, *future.result())
            report(job.rows, chunk.end_bytes, upload.size_bytes)

        for block in blocks:
            for chunk in job.taken(block):
                waiting.append((chunk, pool.submit(copy_context().run, job.ask, chunk)))
                if len(waiting) > IN_FLIGHT:
                    finish()
        while waiting:
            finish()
    if not job.rows + job.failed:
        raise InvalidFile("must hold at least one row", "the header only")


@dataclass(frozen=True)
class _Chunk:
    table: Any  # the rows as they came
    columns: dict[str, Any]
    cautions: Any
    references: list[str]  # empty: there are none
    end_bytes: int


@dataclass
class _Job:
    predictor: Predictor
    model_version: ModelVersion
    choice: Choice
    asked: RequestInfo
    writer: _Writer
    cleaning: Cleaning
    reference_column: str  # empty: there is none
    logged_rows: int
    rows: int = 0
    failed: int = 0
    cautions: int = 0
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    scores: list[NDArray[np.float64]] = field(default_factory=list)

    def taken(self, block: Block) -> Iterator[_Chunk]:
        """Note what is wrong with a block and yield the rest of it."""
        checked = check_table(self.model_version, block.table, block.numbers, self.cleaning)
        self._note(block, checked)
        table = block.table.filter(pa.array(checked.is_good))
        references = _references(table[self.reference_column]) if self.reference_column else []
        for first in range(0, table.num_rows, CHUNK_ROWS):
            part = slice(first, first + CHUNK_ROWS)
            columns = {name: values[part] for name, values in checked.columns.items()}
            rows = table.slice(first, CHUNK_ROWS)
            yield _Chunk(rows, columns, checked.cautions[part], references[part], block.end_bytes)
        self.predictor.cautioned(self.model_version.model, checked.cautions_by_field)

    def ask(self, chunk: _Chunk) -> tuple[Scored, float]:
        started = time.perf_counter()
        return self.predictor.predict_columns(self.model_version, chunk.columns), time.perf_counter() - started

    def finish(self, chunk: _Chunk, scored: Scored, latency_s: float) -> None:
        """Log a chunk that is answered, unless it was before, and write it out."""
        if self.rows >= self.logged_rows:
            self.predictor.record(
                self.model_version,
                self.choice,
                self.asked,
                (chunk.columns, scored),
                latency_s,
                self.rows,
                references=chunk.references,
            )
        self.writer.write(chunk, scored)
        self.rows += chunk.table.num_rows
        self.labels.update(() if self.model_version.predicts_numbers else scored.labels)
        self.scores.append(scored.scores(self.model_version))
        self.cautions += int(np.count_nonzero(chunk.cautions))

    def _note(self, block: Block, checked: CheckedTable) -> None:
        self.failed += checked.wrong + block.ragged
        self.counts.update(checked.counts)
        if block.ragged:
            self.counts["", block.problems[0].rule] += block.ragged
        both = sorted([*checked.problems, *block.problems], key=lambda problem: problem.row or 0)
        self.problems += both[: MAX_PROBLEMS - len(self.problems)]


class _Writer:
    """Writes the columns as they came, and what the model says of them."""

    def __init__(self, model_version: ModelVersion, dialect: Dialect, file: BinaryIO) -> None:
        self._model_version, self._file, self._delimiter = model_version, file, dialect.delimiter
        # a number holds no letter that must be quoted, unless 1,234 is one and commas part the columns
        is_plain = self._delimiter not in (model_version.cleaning.thousands, model_version.cleaning.decimal)
        self._is_number = {f.name for f in model_version.fields if f.dtype != "string" and is_plain}
        self._said = {name: safe_text(name) for name in model_version.classes}
        per_class = [f"probability_{name}" for name in model_version.classes] if model_version.positive is None else []
        said = [*NUMBER_COLUMNS] if model_version.predicts_numbers else ["label", "probability", *per_class]
        ours = [*said, "version", "warnings"]
        names = [*dialect.names, *(f"predicted_{name}" if name in dialect.names else name for name in ours)]
        self._write([self._quoted(safe_texts(pa.array([name], pa.string()))) for name in names])

    def write(self, chunk: _Chunk, scored: Scored) -> None:
        columns = [
            column if name in self._is_number else self._quoted(safe_texts(column))
            for name, column in zip(chunk.table.column_names, chunk.table.columns, strict=True)
        ]
        if not self._model_version.predicts_numbers:
            columns.append(self._quoted(pa.array([self._said[label] for label in scored.labels], pa.string())))
        per_class = scored.probabilities.T if self._model_version.positive is None else ()
        version = np.full(len(scored.labels), self._model_version.version)
        numbers = [scored.scores(self._model_version), *per_class, version, chunk.cautions]
        self._write([*columns, *(pc.cast(pa.array(values), pa.string()) for values in numbers)])

    def _write(self, columns: list[Any]) -> None:
        lines = pc.binary_join_element_wise(*columns, self._delimiter)
        self._file.write("\n".join([*lines.to_pylist(), ""]).encode())

    def _quoted(self, texts: Any) -> Any:
        needs = pc.match_substring_regex(texts, rf'["\r\n{re.escape(self._delimiter)}]')
        if not pc.any(needs).as_py():
            return texts
        doubled = pc.replace_substring(texts, '"', '""')
        return pc.if_else(needs, pc.binary_join_element_wise('"', doubled, '"', ""), texts)


def _reference_column(model_version: ModelVersion, named: str, header: Sequence[str]) -> str:
    """Return the column with the cases' own names, empty if there is none. Raises InvalidInput for one not there."""
    if named and named not in header:
        raise InvalidInput([Problem(shown(named), "must be a column of the file", "no such column", "", 1)])
    return named or (REFERENCE if REFERENCE in header and REFERENCE not in model_version.by_name else "")


def _references(texts: Any) -> list[str]:
    cut: list[str] = pc.utf8_slice_codeunits(pc.utf8_trim_whitespace(texts), 0, REFERENCE_LENGTH).to_pylist()
    return cut


def _require(model_version: ModelVersion, header: Sequence[str]) -> None:
    """Raise InvalidInput with every column that is needed and missing."""
    problems = []
    others = [name for name in header if name not in model_version.by_name][:MAX_PROBLEMS]  # to compare takes long
    for missing in (f for f in model_version.fields if f.required and f.name not in header):
        near = nearest(missing.name, others)
        got = f"no such column; is it {near!r}?" if near else "no such column"
        problems.append(Problem(missing.name, "must be a column of the file", got, missing.example, 1))
    if problems:
        raise InvalidInput(problems, "columns are missing")
