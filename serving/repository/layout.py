"""What lies where: the folders of models and versions, and the names of the files in a version."""

from __future__ import annotations

import os
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


def models(root: Path) -> list[str]:
    """Return the models that have a version under `root`; a folder that cannot be read is none."""
    return _classify(root)[0]


def model_folder(root: Path, model: str) -> Path:
    """Return a model's folder. Raises DataError if it has no version."""
    if model not in (present := models(root)):
        raise DataError(f"there is no model {model!r} under {root}", wanted=", ".join(present) or "a pushed one")
    return root / model


def unreadable(root: Path) -> dict[str, DataError]:
    """Return the folders under `root` that cannot be read, and why."""
    return _classify(root)[1]


def _classify(root: Path) -> tuple[list[str], dict[str, DataError]]:
    try:
        names = sorted(os.listdir(root))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise EnvironmentProblem(f"{root} cannot be read", got=error.strerror, fix="let this user read it") from None
    readable, closed = [], {}
    for name in names:
        try:
            if versions(root / name):
                readable.append(name)
        except DataError as error:
            closed[name] = error
    return readable, closed
