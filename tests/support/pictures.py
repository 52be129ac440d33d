"""Folders of small pictures whose truth is known."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from config.settings import Settings

COLOURS = {"blue": (40, 60, 200), "red": (200, 50, 40)}


def picture(colour: str, number: int, side: int = 24) -> Image.Image:
    """Return a noisy picture of mostly one colour, another one for each number."""
    rng = np.random.default_rng([number, *COLOURS[colour]])
    coarse = rng.normal(0, 40, (6, 6, 3)) + COLOURS[colour]
    return Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)


def as_bytes(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def write_pictures(folder: Path, each: int, side: int = 24) -> Path:
    """Write so many pictures of each colour into a folder of its own, JPEG and PNG in turn."""
    for colour in COLOURS:
        (folder / colour).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            suffix, image_format = (".png", "PNG") if number % 2 else (".jpg", "JPEG")
            (folder / colour / f"{number:03d}{suffix}").write_bytes(
                as_bytes(picture(colour, number, side), image_format)
            )
    return folder


def picture_settings(source: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "name": "colours",
        "data": {"source": source, "format": "images", "classes": [*COLOURS], "positive": "red"},
        "image": {"size": 16, "augmentation": "none"},
        "model": {"kind": "cnn", "epochs": 3, "batch_size": 16, "learning_rate": 0.01},
        "evaluation": {"bootstrap_samples": 200},
    }
    for key, value in changes.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    return Settings.model_validate(values)
