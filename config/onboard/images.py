"""Write a configuration for a folder of pictures, a folder of them for each class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from common.errors import ConfigError, DataError
from common.files import write_text
from common.images import MAX_BYTES, SUFFIXES, ImageProblem, read_header
from config.load import CONFIG_NAME, load_settings
from config.onboard.guesses import recipe, split_weights
from config.reference import pipeline_text

LEAST_PICTURES, FEW = 50, 20
MOST_LEVELS = 6
LOOKED_AT = 200
SIZES = (32, 64, 96)
STEPS = ("learning_rate", "epochs", "batch_size", "early_stopping_patience")  # of a recipe for tables
SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "eval"})


@dataclass(frozen=True)
class Found:
    """Pictures by class, how far below the folder the classes' folders lie, and how large a picture usually is."""

    classes: Mapping[str, int]
    outside: int
    side: int


def is_folder_of_images(data: str) -> bool:
    """Return whether a path is a folder with pictures in folders below."""
    folder = Path(data)
    return folder.is_dir() and any("/" in path for path in islice(_pictures(folder), LOOKED_AT))


def onboard_images(folder: Path, *, name: str, out: Path, force: bool) -> str:
    """Write `<out>/<name>/pipeline.yaml`, and return what was found in words. Raises DataError and ConfigError."""
    target = out / name / CONFIG_NAME
    if target.exists() and not force:
        raise ConfigError("refusing to overwrite", got=target, fix="--force, or another --name")
    found = look(folder)
    write_text(target, settings_text(found, folder, target))
    load_settings(target)
    counts = ", ".join(f"{text} {count}" for text, count in found.classes.items())
    lines = [f"{sum(found.classes.values())} pictures, {len(found.classes)} classes: {counts}"]
    lines += [f"left out: {found.outside} pictures that lie in no class's folder"] if found.outside else []
    few = [text for text, count in found.classes.items() if count < FEW]
    lines += [f"look at {', '.join(few)}: fewer than {FEW} pictures say little of a class"] if few else []
    return "\n".join([*lines, f"wrote {target}", f"next: local_runner.py run {target.parent}"])


def look(folder: Path) -> Found:
    """Find the classes: the first level of folders that has several and does not name splits."""
    paths = [path.split("/") for path in _pictures(folder)]
    for level in range(MOST_LEVELS):
        counts = Counter(path[level] for path in paths if len(path) > level + 1)
        if len(counts) > 1 and not {text.lower() for text in counts} <= SPLITS:
            break
    else:
        raise DataError(
            f"{folder} holds no folders of pictures that could be classes",
            got=f"{len(paths)} pictures",
            wanted="a folder for each class, as daisy/1.jpg and rose/2.jpg",
            fix="sort the pictures into folders",
        )
    inside = sum(counts.values())
    if inside < LEAST_PICTURES:
        raise DataError(
            f"{folder} has too few pictures to train, tune and test a model",
            got=inside,
            wanted=f"at least {LEAST_PICTURES}, better some hundreds",
        )
    every = max(1, len(paths) // LOOKED_AT)
    sides = [side for path in paths[::every] if (side := _side(folder.joinpath(*path)))]
    return Found(dict(sorted(counts.items())), len(paths) - inside, int(median(sides)) if sides else SIZES[-1])


def settings_text(found: Found, folder: Path, target: Path) -> str:
    rows, name = sum(found.classes.values()), target.parent.name
    weights = dict(zip(("train", "eval", "test"), split_weights(rows), strict=True))
    is_binary, steps = len(found.classes) == 2, recipe(rows * weights["train"] // 100, is_number=False)
    accuracy = "binary_accuracy" if is_binary else "accuracy"
    title = name.replace("_", " ").capitalize()
    values = {
        "name": name,
        "title": title,
        "description": f"Tells pictures of {', '.join(found.classes)} apart.",
        "seed": 42,
        "data": {
            "source": Path(os.path.relpath(folder.resolve(), target.parent.resolve())).as_posix(),
            "format": "images",
            "classes": [*found.classes],
        },
        "split": weights,
        "image": {
            "size": next((size for size in SIZES if size >= found.side), SIZES[-1]),
            "augmentation": "flip",
            "bad_files": "skip",
        },
        "model": {"kind": "cnn", "weights": "none", "learning_rate_schedule": "cosine"}
        | {key: steps[key] for key in STEPS},
        "evaluation": {"metrics": ["auc", "precision", "recall", "f1", accuracy, "example_count"]},
    }
    notes = {
        "data.classes": [f"Pictures: {', '.join(f'{text} {count}' for text, count in found.classes.items())}."],
        "image.size": [f"A picture is usually {found.side} pixels wide or high."],
        "image.augmentation": ["Say `shift` where a mirrored picture is another thing, as with letters."],
        "model.kind": [
            "With few pictures, weights pay: `make weights`, then kind: efficientnet_lite0, weights: imagenet and "
            "image.size: 224."
        ],
    }
    head = (
        f"Written by `local_runner.py init` from the folder {folder.name}: {rows} pictures, {len(found.classes)} "
        "classes.\nThe brackets say what may stand there and what the default is. Keys not listed here have defaults: "
        "docs/configuration.md, docs/images.md."
    )
    return pipeline_text(head, values, notes)


def _pictures(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for file in sorted(files):
            path = Path(place, file)
            if path.suffix.lower() in SUFFIXES and not file.startswith("."):
                yield path.relative_to(folder).as_posix()


def _side(path: Path) -> int | None:
    """Return the longer side of a picture, None where it cannot be read."""
    try:
        with path.open("rb") as file:
            header = read_header(file.read(MAX_BYTES))
    except (ImageProblem, OSError):
        return None
    return max(header.width, header.height)
