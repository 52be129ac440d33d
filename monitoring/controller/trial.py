"""How the candidate does beside the stable version, on the rows that people ask while it is on trial.

Both versions are asked the same rows, those that the prediction log has since the trial began, whichever of them
answered: so errors, scores and right answers are compared in pairs. How long answers take is compared between the
requests that each of them answered.

Of two classes that were decided, one may be right. Of two numbers, the one nearer to the true one is better; a number
counts as decided otherwise where it lies outside the interval that the stable version answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from common.errors import VouchError
from common.records.files import INPUT
from common.records.images import images
from common.records.labels import Key
from common.records.reader import Filters, Reader
from common.text import counted
from config.data_settings import IMAGE_BYTES
from serving.client.errors import ModelServerDown
from serving.client.row_files import reader_of
from serving.client.types import DEFAULT_SIGNATURE, ModelClient, VersionSpec
from serving.release.state import State

MOST_ROWS = 1000  # that both versions are asked: those with a label first, then the newest
ROWS_AT_A_TIME = 50
MOST_PICTURES, PICTURES_AT_A_TIME = 200, 8
LEAST_ROWS = 50  # from here on shares are compared
MOST_CHANGED = 0.25  # share of the rows that may be decided otherwise, as long as labels do not show that it is right
LEAST_REQUESTS = 30  # of each version, to compare their times
SLOWER, SLOWER_MS = 1.5, 5.0
NUMBER = ("value", "lower", "upper")  # outputs of a model that predicts numbers
SURE = 0.001  # chance of stopping for a difference that is none, at each look


@dataclass(frozen=True)
class Look:
    """What is known by now. `answered`: rows that the candidate answered to people; `stop`: why the trial must end."""

    answered: int
    stop: str = ""
    sentence: str = ""
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A row of the log: its features by name, a picture as its file; and its true label if that is known."""

    values: Mapping[str, Any]
    truth: str = ""


@dataclass(frozen=True)
class Number:
    """What a model that predicts numbers answers, with the bounds of its interval."""

    value: float
    lower: float
    upper: float


Answer = str | Number


@dataclass(frozen=True)
class Pairs:
    """What both versions answer on the same rows. `refused`: what the candidate said where it answered nothing."""

    stable: list[Answer] = field(default_factory=list)
    candidate: list[Answer] = field(default_factory=list)
    truth: list[str] = field(default_factory=list)  # empty where it is not known
    refused: list[str] = field(default_factory=list)


def look(
    client: ModelClient, log: Path, state: State, since: datetime, truth: Mapping[Key, str], pictures: Path
) -> Look:
    """Compare the candidate with the stable version. `log`: the model's predictions; `truth`: the labels known.

    `pictures`: where the web app keeps those that were predicted; one that is not kept cannot be asked again.

    Raises ModelServerDown and what else is the server's fault if the stable version does not answer, either.
    """
    assert state.candidate
    answered = dict(Reader(log, Filters(start=since)).query("SELECT version, count(*) FROM passing GROUP BY ALL"))
    pairs = ask(client, log.name, state, read_rows(log, since, truth, pictures))
    times = [_times(log, since, version) for version in (state.stable, state.candidate)]
    return judge(pairs, times[0], times[1], answered.get(state.candidate, 0))


def judge(pairs: Pairs, stable_ms: Sequence[float], candidate_ms: Sequence[float], answered: int) -> Look:
    """Say whether the trial must end. The labels have the last word on decisions that differ."""
    rows = len(pairs.candidate)
    numbers: dict[str, float] = {"compared": rows, "refused": len(pairs.refused)}
    if pairs.refused:
        return Look(answered, f"it fails on rows that the stable version answers: {pairs.refused[0]}", "", numbers)
    if min(len(stable_ms), len(candidate_ms)) >= LEAST_REQUESTS:
        before, after = float(np.median(stable_ms)), float(np.median(candidate_ms))
        numbers |= {"stable_ms": before, "candidate_ms": after}
        is_slower = after > max(SLOWER * before, before + SLOWER_MS)
        if is_slower and stats.mannwhitneyu(candidate_ms, stable_ms, alternative="greater").pvalue < SURE:
            return Look(answered, f"it takes {after:.1f} ms, the stable version {before:.1f} ms", "", numbers)
    labelled = [(a, b, true) for a, b, true in zip(pairs.stable, pairs.candidate, pairs.truth, strict=True) if true]
    compared = _beside(labelled)
    numbers |= {"labelled": len(labelled), **compared.numbers}
    words = compared.words or "none of the rows asked has its label yet"
    if compared.is_worse:
        return Look(answered, words, "", numbers)
    changed = sum(_differs(a, b) for a, b in zip(pairs.stable, pairs.candidate, strict=True))
    numbers["changed"] = changed / max(rows, 1)
    if rows >= LEAST_ROWS and not compared.is_better:
        surely = stats.binomtest(changed, rows, MOST_CHANGED, alternative="greater").pvalue < SURE
        if surely:
            stop = (
                f"it decides {changed} of {rows} rows otherwise than the stable version, and no labels show it is right"
            )
            return Look(answered, stop, "", numbers)
    return Look(answered, "", f"it answered {counted(answered, 'row')} on trial; {words}", numbers)


@dataclass(frozen=True)
class _Compared:
    """How the candidate does beside the stable version where the truth is known; surely, or neither."""

    words: str = ""
    is_better: bool = False
    is_worse: bool = False
    numbers: dict[str, float] = field(default_factory=dict)


def _beside(labelled: Sequence[tuple[Answer, Answer, str]]) -> _Compared:
    """Compare right answers by the sign test (McNemar's, exact), distances to true numbers by Wilcoxon's."""
    offs = [(_off(a, true), _off(b, true)) for a, b, true in labelled]
    if not offs:
        return _Compared()
    stable, candidate = np.array(offs).T
    if isinstance(labelled[0][0], Number):
        before, after = float(stable.mean()), float(candidate.mean())
        words = f"on {len(offs)} labelled rows it is off by {after:.4g} in the mean, the stable version by {before:.4g}"
        numbers = {"error": after, "stable_error": before}
        is_equal = bool((stable == candidate).all())
        p_values = [1.0 if is_equal else _signed_ranks(sign * (candidate - stable)) for sign in (1, -1)]
        is_nearer = after < before
    else:
        right, stable_right = int((candidate == 0).sum()), int((stable == 0).sum())
        words = f"of {len(offs)} labelled rows it has {right} right, the stable version {stable_right}"
        numbers = {"right": right, "stable_right": stable_right}
        lost, won = int((candidate > stable).sum()), int((candidate < stable).sum())
        p_values = [_sign(more, lost + won) for more in (lost, won)]
        is_nearer = won > lost
    worse, better = (p_value < SURE for p_value in p_values)
    return _Compared(words, better and is_nearer, worse and not is_nearer, numbers)


def _sign(more: int, of: int) -> float:
    return float(stats.binomtest(more, of, alternative="greater").pvalue) if of else 1.0


def _signed_ranks(differences: NDArray[np.float64]) -> float:
    return float(stats.wilcoxon(differences, alternative="greater").pvalue)


def _off(answer: Answer, true: str) -> float:
    """Return how far an answer is from the truth; of a class 0 or 1."""
    return abs(answer.value - float(true)) if isinstance(answer, Number) else float(answer != true)


def _differs(stable: Answer, candidate: Answer) -> bool:
    if isinstance(stable, Number) and isinstance(candidate, Number):
        return not stable.lower <= candidate.value <= stable.upper
    return stable != candidate


def ask(client: ModelClient, model: str, state: State, rows: Sequence[Asked]) -> Pairs:
    """Have both versions decide rows. Raises what the client raises where the stable version cannot, either."""
    pairs, left = Pairs(), iter(rows)
    at_a_time = PICTURES_AT_A_TIME if rows and IMAGE_BYTES in rows[0].values else ROWS_AT_A_TIME
    while some := list(islice(left, at_a_time)):
        stable = _decisions(client, model, state.stable, some)
        try:
            candidate = _decisions_of_candidate(client, model, state.candidate or 0, some)
        except ModelServerDown:
            raise
        except VouchError as error:
            pairs.refused.append(error.what)
            continue
        pairs.stable.extend(stable)
        pairs.candidate.extend(candidate)
        pairs.truth.extend(row.truth for row in some)
    return pairs


def _decisions_of_candidate(client: ModelClient, model: str, version: int, rows: Sequence[Asked]) -> list[Answer]:
    """Ask once more before it is said to fail: a moment's trouble of the server is not the version's."""
    try:
        return _decisions(client, model, version, rows)
    except VouchError:
        return _decisions(client, model, version, rows)


def _decisions(client: ModelClient, model: str, version: int, rows: Sequence[Asked]) -> list[Answer]:
    spec = VersionSpec(version=version)
    inputs = client.metadata(model, spec).signatures[DEFAULT_SIGNATURE].inputs
    columns = {name: [_read(row.values.get(name), info.dtype) for row in rows] for name, info in inputs.items()}
    outputs = client.predict(model, columns, spec)
    if "value" in outputs:
        return [Number(*map(float, row)) for row in zip(*(outputs[name] for name in NUMBER), strict=True)]
    return [str(label) for label in outputs["label"]]


def _read(value: Any, dtype: str) -> Any:
    return value.read_bytes() if isinstance(value, Path) else reader_of(dtype)(value)


def read_rows(log: Path, since: datetime, truth: Mapping[Key, str], pictures: Path) -> list[Asked]:
    """Return rows of the log since a moment: those with a label first, then the newest."""
    labelled: list[Asked] = []
    others: list[Asked] = []
    kept = {image.sha256: image.path for image in images(pictures)}
    most = MOST_ROWS
    for key, row in _logged(log, since):
        if IMAGE_BYTES in row:
            most = MOST_PICTURES
            if row[IMAGE_BYTES] not in kept:
                continue
            row[IMAGE_BYTES] = kept[row[IMAGE_BYTES]]
        (labelled if key in truth else others).append(Asked(row, truth.get(key, "")))
        if len(labelled) >= most:
            break
    return (labelled + others)[:most]


def _logged(log: Path, since: datetime) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Yield rows, newest first, with their features by name."""
    for table in Reader(log, Filters(start=since)).tables():
        names = [name for name in table.column_names if name.startswith(INPUT)]
        for row in table.select(["request_id", "row", *names]).to_pylist():
            yield (row["request_id"], row["row"]), {name.removeprefix(INPUT): row[name] for name in names}


def _times(log: Path, since: datetime, version: int) -> list[float]:
    """Return how long each request that a version answered took, in milliseconds."""
    reader = Reader(log, Filters(start=since, version=version))
    select = "SELECT any_value(latency_ms) FROM passing GROUP BY request_id"
    return [float(ms) for (ms,) in reader.query(select) if ms is not None]
