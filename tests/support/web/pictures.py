"""Pictures of one colour, and a model of them: how red, green and blue a picture is."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = ("blue", "green", "red")  # the classes
SHARPNESS = 40.0
LEAST = 0.5  # of the likeliest class: below, a picture is strange
RGB = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "grey": (128, 128, 128)}


def picture(colour: str = "red", size: tuple[int, int] = (64, 48), kind: str = "JPEG", **options: Any) -> bytes:
    """Return a file with a picture of one colour."""
    return saved(Image.new("RGB", size, RGB[colour]), kind, **options)


def spotted(colour: str, row: int, column: int, cells: int) -> bytes:
    """Return a grey picture with one cell of a colour."""
    image = Image.new("RGB", (20 * cells, 20 * cells), RGB["grey"])
    image.paste(RGB[colour], (20 * column, 20 * row, 20 * (column + 1), 20 * (row + 1)))
    return saved(image)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def likeness(files: Sequence[bytes]) -> NDArray[np.float32]:
    """Return [pictures, COLOURS]: the more of a colour, the likelier its class. Only what TensorFlow reads is read."""
    means = []
    for data in files:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            assert image.mode == "RGB"
            means.append(np.asarray(image, float).mean(axis=(0, 1))[::-1] / 255)
    scores = np.exp(SHARPNESS * np.array(means))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True), np.float32)


def as_golden(data: bytes) -> dict[str, str]:
    """Return bytes as REST has them."""
    return {"b64": base64.b64encode(data).decode()}


def kept_files(var: Path) -> list[Path]:
    """Return what is kept of pictures."""
    return sorted(path for path in (var / "collected").rglob("*") if path.is_file())
