"""How the candidate does beside the stable version, on the rows that people ask while it is on trial.

Both versions are asked the same rows, those that the prediction log has since the trial began, whichever of them
answered: so errors, scores and right answers are compared in pairs. How long answers take is compared between the
requests that each of them answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from common.errors import VouchError
from common.records.files import INPUT
from common.records.labels import Key
from common.records.reader import Filters, Reader
from serving.client.errors import ModelServerDown
from serving.client.row_files import reader_of
from serving.client.types import DEFAULT_SIGNATURE, ModelClient, VersionSpec
from serving.release.state import State

MOST_ROWS = 1000  # that both versions are asked: those with a label first, then the newest
ROWS_AT_A_TIME = 50
LEAST_ROWS = 50  # from here on shares are compared
MOST_CHANGED = 0.25  # share of the rows that may be decided otherwise, as long as labels do not show that it is right
LEAST_REQUESTS = 30  # of each version, to compare their times
SLOWER, SLOWER_MS = 1.5, 5.0
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
    """A row of the log: its features by name, and its true label if that is known."""

    values: Mapping[str, Any]
    truth: str = ""


@dataclass(frozen=True)
class Pairs:
    """Decisions of both versions on the same rows. `refused`: what the candidate said where it answered nothing."""

    stable: list[str] = field(default_factory=list)
    candidate: list[str] = field(default_factory=list)
    truth: list[str] = field(default_factory=list)  # empty where it is not known
    refused: list[str] = field(default_factory=list)


def look(client: ModelClient, log: Path, state: State, since: datetime, truth: Mapping[Key, str]) -> Look:
    """Compare the candidate with the stable version. `log`: the model's predictions; `truth`: the labels known.

    Raises ModelServerDown and what else is the server's fault if the stable version does not answer, either.
    """
    assert state.candidate
    answered = dict(Reader(log, Filters(start=since)).query("SELECT version, count(*) FROM passing GROUP BY ALL"))
    pairs = ask(client, log.name, state, read_rows(log, since, truth))
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
    lost = sum(a == true != b for a, b, true in labelled)
    won = sum(b == true != a for a, b, true in labelled)
    right = sum(b == true for _, b, true in labelled), sum(a == true for a, _, true in labelled)
    numbers |= {"labelled": len(labelled), "right": right[0], "stable_right": right[1]}
    words = f"of {len(labelled)} labelled rows it has {right[0]} right, the stable version {right[1]}"
    words = words if labelled else "none of the rows asked has its label yet"
    if lost > won and stats.binomtest(lost, lost + won, alternative="greater").pvalue < SURE:
        return Look(answered, words, "", numbers)
    is_better = won > lost and stats.binomtest(won, lost + won, alternative="greater").pvalue < SURE
    changed = sum(a != b for a, b in zip(pairs.stable, pairs.candidate, strict=True))
    numbers["changed"] = changed / max(rows, 1)
    if rows >= LEAST_ROWS and not is_better:
        surely = stats.binomtest(changed, rows, MOST_CHANGED, alternative="greater").pvalue < SURE
        if surely:
            stop = (
                f"it decides {changed} of {rows} rows otherwise than the stable version, and no labels show it is right"
            )
            return Look(answered, stop, "", numbers)
    return Look(answered, "", f"it answered {answered} rows on trial; {words}", numbers)


def ask(client: ModelClient, model: str, state: State, rows: Sequence[Asked]) -> Pairs:
    """Have both versions decide rows. Raises what the client raises where the stable version cannot, either."""
    pairs, left = Pairs(), iter(rows)
    while some := list(islice(left, ROWS_AT_A_TIME)):
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


def _decisions_of_candidate(client: ModelClient, model: str, version: int, rows: Sequence[Asked]) -> list[str]:
    """Ask once more before it is said to fail: a moment's trouble of the server is not the version's."""
    try:
        return _decisions(client, model, version, rows)
    except VouchError:
        return _decisions(client, model, version, rows)


def _decisions(client: ModelClient, model: str, version: int, rows: Sequence[Asked]) -> list[str]:
    spec = VersionSpec(version=version)
    inputs = client.metadata(model, spec).signatures[DEFAULT_SIGNATURE].inputs
    columns = {name: [reader_of(info.dtype)(row.values.get(name)) for row in rows] for name, info in inputs.items()}
    return [str(label) for label in client.predict(model, columns, spec)["label"]]


def read_rows(log: Path, since: datetime, truth: Mapping[Key, str]) -> list[Asked]:
    """Return rows of the log since a moment: those with a label first, then the newest."""
    labelled: list[Asked] = []
    others: list[Asked] = []
    for key, row in _logged(log, since):
        (labelled if key in truth else others).append(Asked(row, truth.get(key, "")))
        if len(labelled) >= MOST_ROWS:
            break
    return (labelled + others)[:MOST_ROWS]


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
