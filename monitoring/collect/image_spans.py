"""Spans of pictures: labelled ones become a folder of their own below `data.source`, whole or not there.

    <data.source>/collected-0001/<class>/<sha256>.png

A run reads all folders below its source, so what was there before stays as it is, and is not copied; a picture is dealt
by its bytes, so it stays in its split. Names that begin with a dot are no pictures:

    .provenance.parquet   where each picture of this span comes from
    .set_aside.parquet    labelled pictures that were not taken, and why
    .span.json            what was done
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import ConfigError, DataError
from common.files import disk_problems, locked, sync, write_text
from common.records.files import SYNTHETIC, replacing, start_of
from config.settings import Settings
from monitoring.collect.collect import Wanted
from monitoring.collect.kept_images import KeptImages
from monitoring.collect.spans import sha256

PROVENANCE, SET_ASIDE, SUMMARY = ".provenance.parquet", ".set_aside.parquet", ".span.json"
LOCK, INCOMING, COLLECTED, WITHDRAWN = ".collect_lock", ".incoming-", "collected-", ".withdrawn-"
_PROVENANCE = pa.schema(
    [
        pa.field("file", pa.string()),  # below the span
        pa.field("sha256", pa.string()),
        pa.field("label", pa.string()),
        pa.field("told_by", pa.list_(pa.string())),
        pa.field("told", pa.timestamp("us", "UTC")),
        pa.field("kept", pa.date32()),
        pa.field("predicted", pa.timestamp("us", "UTC")),  # last; null: the log does not have it any more
        pa.field("predicted_label", pa.string()),
        pa.field("version", pa.int64()),
        pa.field("request_id", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("references", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class ImageSpans:
    """The spans that were collected. What `source` has besides is older than any of them: span 0."""

    source: Path

    @staticmethod
    def of(settings: Settings) -> ImageSpans:
        """Raises ConfigError."""
        source = settings.data.source
        if not isinstance(source, Path) or not source.is_dir():
            raise ConfigError("data.source is no folder that pictures could be added to", got=source)
        return ImageSpans(source)

    def folders(self) -> dict[int, Path]:
        return self._numbered(COLLECTED)

    def newest(self) -> int:
        return max(self.folders(), default=0)

    def following(self) -> int:
        return max([self.newest(), *self.withdrawn()]) + 1

    def rows_of(self, number: int) -> int:
        """Return how many pictures were added with a span."""
        return int(json.loads((self.folders()[number] / SUMMARY).read_text(encoding="utf-8"))["added"])

    def withdrawn(self) -> dict[int, Path]:
        return self._numbered(WITHDRAWN)

    def withdraw(self, number: int) -> None:
        """Put a span out of sight; its pictures are kept, and collected again."""
        with self.adding():
            if folder := self.folders().get(number):
                folder.rename(self.source / f"{WITHDRAWN}{number:04d}")
                sync(self.source)

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Keep out who else would add a span. Raises EnvironmentProblem."""
        with locked(self.source / LOCK, f"another process adds a span to {self.source}"):
            for leftover in self.source.glob(f"{INCOMING}*"):
                shutil.rmtree(leftover)
            yield

    def _numbered(self, prefix: str) -> dict[int, Path]:
        folders = {child.name.removeprefix(prefix): child for child in self.source.glob(f"{prefix}*") if child.is_dir()}
        return dict(sorted((int(name), child) for name, child in folders.items() if name.isdecimal()))


@dataclass(frozen=True)
class CollectedImages:
    """The new span's folder, what was taken, and why the others were not."""

    folder: Path
    taken: tuple[str, ...]
    reasons: Counter[str]


def collect_images(kept: KeptImages, wanted: Wanted) -> CollectedImages:
    """Add a span of the pictures whose label people agree on.

    Raises ConfigError, DataError if there is none to add, EnvironmentProblem.
    """
    spans = ImageSpans.of(kept.settings)
    source = spans.source
    with spans.adding():
        reasons = _reasons(kept, wanted, spans)
        taken = [sha for sha, reason in reasons.items() if not reason]
        counts = Counter(reason for reason in reasons.values() if reason)
        if not taken:
            raise DataError(
                "there is no new picture to collect",
                got=", ".join(f"{count} {reason}" for reason, count in counts.most_common()) or "no label",
                fix="label pictures: on the page Label, or by --export and --import",
            )
        number = spans.following()
        folder = source / f"{COLLECTED}{number:04d}"
        with disk_problems(f"{folder} cannot be written", "make room, or let this user write there"):
            staged = Path(tempfile.mkdtemp(prefix=f"{INCOMING}{number}-", dir=source))
            try:
                _fill(staged, kept, taken, {sha: reason for sha, reason in reasons.items() if reason})
                facts = {"span": number, "version": 1, "model": kept.settings.name, "added": len(taken)}
                facts |= {"from": wanted.start.isoformat(), "to": wanted.end.isoformat(), "set_aside": dict(counts)}
                write_text(staged / SUMMARY, json.dumps(facts, indent=2) + "\n")
                staged.chmod(0o755)  # what mkdtemp makes is for its maker alone
                sync(staged)
                staged.rename(folder)
                sync(source)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
    return CollectedImages(folder, tuple(taken), counts)


def collectable_images(kept: KeptImages, wanted: Wanted) -> int:
    """Return how many pictures `collect_images` would add now. Raises ConfigError."""
    return sum(not reason for reason in _reasons(kept, wanted, ImageSpans.of(kept.settings)).values())


def forget_images(settings: Settings, reference: str) -> dict[int, int]:
    """Take the pictures of a reference out of all spans; return how many of each.

    A span that was withdrawn is removed as a whole. Raises ConfigError, DataError.
    """
    spans, gone = ImageSpans.of(settings), {}
    with spans.adding():
        for number, folder in {**spans.withdrawn(), **spans.folders()}.items():
            provenance = _provenance(folder).to_pylist()
            mine = [row for row in provenance if reference in (row["references"] or ())]
            if not mine:
                continue
            gone[number] = len(mine)
            if folder.name.startswith(WITHDRAWN):
                shutil.rmtree(folder)
                continue
            others = [row for row in provenance if row not in mine]
            for row in mine:
                (folder / row["file"]).unlink(missing_ok=True)
            with replacing(folder / PROVENANCE) as temporary:
                pq.write_table(pa.Table.from_pylist(others, _PROVENANCE), temporary)
            facts = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
            facts |= {"version": facts["version"] + 1, "forgotten": facts.get("forgotten", 0) + len(mine)}
            write_text(folder / SUMMARY, json.dumps(facts, indent=2) + "\n")
    if not gone:
        raise DataError("nothing was collected under this reference", fix="write it as it was sent with the picture")
    return gone


def _provenance(folder: Path) -> pa.Table:
    path = folder / PROVENANCE
    try:
        return pq.ParquetFile(path).read().cast(_PROVENANCE) if path.is_file() else _PROVENANCE.empty_table()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read", got=error, fix="put it back from a backup") from None


def _reasons(kept: KeptImages, wanted: Wanted, spans: ImageSpans) -> dict[str, str]:
    """Return for each labelled picture why it is not taken, nothing if it is."""
    collected = {sha for folder in spans.folders().values() for sha in _provenance(folder)["sha256"].to_pylist()}
    labelled = [sha for sha in kept.images if kept.labels(sha) and _is_within(kept, sha, wanted)]
    known = dict(_examples(spans.source, {kept.images[sha].path.stat().st_size for sha in labelled}))
    of_user: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    for sha in sorted(labelled, key=lambda sha: (kept.images[sha].day, sha)):
        reasons[sha] = _unfit(kept, sha, collected, known)
        if not reasons[sha]:
            first = min(kept.labels(sha), key=lambda said: said.time).who
            of_user[first] += 1
            if of_user[first] > wanted.most_per_user:
                reasons[sha] = "too many of one user"
    return reasons


def _unfit(kept: KeptImages, sha: str, collected: set[str], known: dict[str, str]) -> str:
    agreement = kept.agreement(sha)
    if sha in collected:
        return "collected before"
    if agreement is None or agreement.is_disputed:
        return "people contradict each other"
    if agreement.label is None:
        return "bad picture"
    if agreement.label not in kept.settings.data.classes:
        return "a label that is no class"
    if sha in known:
        return "an example already" if known[sha] == agreement.label else "an example has another label"
    references = [each.reference for each in kept.predictions.get(sha, ())]
    if references and all(reference.startswith(SYNTHETIC) for reference in references):
        return "synthetic"
    return ""


def _is_within(kept: KeptImages, sha: str, wanted: Wanted) -> bool:
    """Tell whether a picture was predicted in the period; if the log does not know, whether it came then."""
    times: list[datetime] = [each.time for each in kept.predictions.get(sha, ())]
    times = times or [start_of(kept.images[sha].day)]
    return any(wanted.start <= time < wanted.end for time in times)


def _examples(source: Path, sizes: set[int]) -> Iterator[tuple[str, str]]:
    """Yield hash and folder of the examples that are as large as one of the pictures; no other can equal one."""
    for path in source.rglob("*"):
        is_hidden = any(part[0] == "." for part in path.relative_to(source).parts)
        if not is_hidden and path.is_file() and path.stat().st_size in sizes:
            yield sha256(path), path.parent.name


def _fill(staged: Path, kept: KeptImages, taken: list[str], reasons: dict[str, str]) -> None:
    rows: list[dict[str, Any]] = []
    for sha in taken:
        agreement, image = kept.agreement(sha), kept.images[sha]
        label = str(agreement and agreement.label)
        (staged / label).mkdir(exist_ok=True)
        shutil.copy2(image.path, staged / label)
        sync(staged / label / image.path.name)
        said, predictions = kept.labels(sha), kept.predictions.get(sha, [])
        last = predictions[0] if predictions else None
        rows.append(
            {
                "file": f"{label}/{image.path.name}",
                "sha256": sha,
                "label": label,
                "told_by": sorted(each.who for each in said),
                "told": max(each.time for each in said),
                "kept": image.day,
                "predicted": last and last.time,
                "predicted_label": last and last.label,
                "version": last and last.version,
                "request_id": last and last.request_id,
                "row": last and last.row,
                "references": sorted({each.reference for each in predictions if each.reference}),
            }
        )
    pq.write_table(pa.Table.from_pylist(rows, _PROVENANCE), staged / PROVENANCE)
    aside = {"sha256": list(reasons), "reason": list(reasons.values())}
    pq.write_table(pa.table(aside, pa.schema([("sha256", pa.string()), ("reason", pa.string())])), staged / SET_ASIDE)
