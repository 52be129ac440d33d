"""What lies where: the folders of models and versions, and the names of the files in a version."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from common.errors import DataError, EnvironmentProblem

EXTRA = "assets.extra"  # TensorFlow Serving leaves this folder alone
MANIFEST = f"{EXTRA}/manifest.json"
GOLDEN = f"{EXTRA}/golden.json"
SCHEMA = f"{EXTRA}/schema.pbtxt"
STATISTICS = f"{EXTRA}/train_statistics.pb"
DRIFT_REFERENCE = f"{EXTRA}/drift_reference.json"
TRAINING = f"{EXTRA}/training.json"
SETTINGS = f"{EXTRA}/settings.yaml"
EVALUATION = f"{EXTRA}/evaluation.json"
SHOWCASE = f"{EXTRA}/showcase.json"

DEFAULT_SIGNATURE = "serving_default"  # named raw features
EXAMPLES_SIGNATURE = "serving_examples"  # serialized tf.Example
PACKED_SIGNATURE = "serving_packed"  # one dense matrix
PLAIN_SIGNATURE = "serving_plain"  # named raw features; what plain models say, and what the network reads

STABLE, CANDIDATE = "stable", "candidate"  # the labels that a release gives to versions

MAX_VERSION = 2**63 - 1
SETTLED_NS = 2_000_000_000  # a folder changed again within its clock's tick looks the same: ticks are shorter


def version_number(name: str) -> int | None:
    """Return the version that a folder of this name holds: an int64 > 0 in decimal, such as `12`, not `012`."""
    if not (name.isascii() and name.isdecimal()) or name.startswith("0"):
        return None
    number = int(name)
    return number if number <= MAX_VERSION else None


def versions(base: Path) -> list[int]:
    """Return the version numbers under a model's folder, in rising order. Raises DataError if it cannot be read."""
    try:
        with os.scandir(base) as children:
            numbers = (version_number(child.name) for child in children if child.is_dir())
            return sorted(number for number in numbers if number)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{base} cannot be read", got=error.strerror, fix="let this user read it") from None


class Listing:
    """The models under a root and their versions, a folder listed again only when it changed. Safe between threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, tuple[tuple[int, int], list[int]]] = {}

    def models(self) -> list[str]:
        return _classify(self._root, self.versions)[0]

    def versions(self, model: str) -> list[int]:
        """Return what `versions` does, and raise what it raises. `model`: the name of a folder."""
        try:
            status = os.stat(f"{self._root}/{model}")  # a Path would take longer to make than to ask
        except OSError:
            return versions(self._root / model)
        stamp, known = (status.st_ctime_ns, status.st_ino), self._known.get(model)
        if known and known[0] == stamp:
            return known[1]
        numbers = versions(self._root / model)
        if time.time_ns() - status.st_ctime_ns > SETTLED_NS:
            self._known[model] = stamp, numbers
        return numbers


def models(root: Path) -> list[str]:
    """Return the models that have a version under `root`; a folder that cannot be read is none."""
    return _classify(root, lambda name: versions(root / name))[0]


def model_folder(root: Path, model: str) -> Path:
    """Return a model's folder. Raises DataError if it has no version."""
    if model not in (present := models(root)):
        raise DataError(f"there is no model {model!r} under {root}", wanted=", ".join(present) or "a pushed one")
    return root / model


def unreadable(root: Path) -> dict[str, DataError]:
    """Return the folders under `root` that cannot be read, and why."""
    return _classify(root, lambda name: versions(root / name))[1]


def _classify(root: Path, versions_of: Callable[[str], list[int]]) -> tuple[list[str], dict[str, DataError]]:
    try:
        names = sorted(os.listdir(root))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise EnvironmentProblem(f"{root} cannot be read", got=error.strerror, fix="let this user read it") from None
    readable, closed = [], {}
    for name in names:
        try:
            if versions_of(name):
                readable.append(name)
        except DataError as error:
            closed[name] = error
    return readable, closed
