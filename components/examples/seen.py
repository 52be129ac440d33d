"""What reading noticed of a folder of pictures, as a file beside the splits: for the data gate and the report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from components.names import PICTURES_SEEN


@dataclass(frozen=True)
class Skipped:
    path: str
    kind: str
    sentence: str


@dataclass(frozen=True)
class Alike:
    """Pictures that are nearly the same: how many, some of their paths, and small JPEGs of a few (base64)."""

    size: int
    paths: tuple[str, ...]
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """What reading noticed of a folder of pictures, for the data gate and the report.

    `outside`: files that lie in no class's folder, by folder; `large`: whether the largest group of near duplicates is
    so large that it was not kept together.
    """

    files: int
    skipped: tuple[Skipped, ...] = ()
    skipped_files: int = 0
    outside: dict[str, int] = field(default_factory=dict)
    alike: tuple[Alike, ...] = ()
    alike_files: int = 0
    large: int = 0

    def text(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"

    @staticmethod
    def parse(text: str) -> Seen:
        values = json.loads(text)
        values["skipped"] = tuple(Skipped(**each) for each in values["skipped"])
        values["alike"] = tuple(
            Alike(each["size"], tuple(each["paths"]), tuple(each["pictures"])) for each in values["alike"]
        )
        return Seen(**values)


def read_seen(examples: str | Path) -> Seen:
    """Read it from an Examples artifact's folder."""
    return Seen.parse((Path(examples) / PICTURES_SEEN).read_text(encoding="utf-8"))
