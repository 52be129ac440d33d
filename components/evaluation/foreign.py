"""How often a model of pictures takes for one of its classes what is none of them: drawn noise, stripes and blobs.

They are no photographs of other things, so that the share is a floor of what is to be expected of those.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.images import encoded
from components.evaluation.bounds import clopper_pearson
from components.verdict import Finding
from config.data_settings import IMAGE_BYTES, STRANGENESS
from config.settings import Settings
from serving.repository.layout import DEFAULT_SIGNATURE
from serving.server.core.servable import Servable

PICTURES, BATCH = 200, 50
SIDE = 96


def foreign_pictures(seed: int) -> list[bytes]:
    """Return drawn pictures that show nothing: noise, coarse noise, stripes, blends of two colours."""
    rng = np.random.default_rng(seed)
    return [encoded(Image.fromarray(_drawn(rng, number % 4))) for number in range(PICTURES)]


def _drawn(rng: np.random.Generator, kind: int) -> NDArray[np.uint8]:
    first, second = rng.integers(0, 256, (2, 3))
    if kind == 0:
        return rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    if kind == 1:
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    along = np.cos(angle := rng.uniform(0, np.pi)) * x + np.sin(angle) * y
    share = (np.sin(along / rng.uniform(2, 12)) > 0) if kind == 2 else (along - along.min()) / np.ptp(along)
    return np.round(first + (second - first) * share[..., np.newaxis]).astype(np.uint8)


def none_of_these(model: Path, on_test: NDArray[Any] | None, settings: Settings) -> list[Finding]:
    """Measure `image.none_of_these`: how many foreign pictures pass for a class, and how many test pictures do not.

    `on_test [rows]`: the strangeness of each test picture, None of a model that does not tell it.
    """
    if on_test is None or not len(on_test):
        return []
    pictures = np.array(foreign_pictures(settings.seed), object)
    servable = Servable.load(model)
    try:
        parts = [
            servable.run(DEFAULT_SIGNATURE, {IMAGE_BYTES: pictures[first : first + BATCH]})[STRANGENESS]
            for first in range(0, PICTURES, BATCH)
        ]
    finally:
        servable.close()
    accepted = int((np.concatenate(parts) <= 1).sum())
    lower, upper = clopper_pearson(float(accepted), PICTURES, settings.evaluation.confidence)
    refused = float((on_test > 1).mean())
    sentence = (
        f"of {PICTURES} drawn pictures that show nothing {accepted} pass for a class ({lower:.1%} to {upper:.1%}); "
        f"{refused:.1%} of the test pictures are called none of these."
    )
    details = {"accepted": accepted, "of": PICTURES, "lower": lower, "upper": upper}
    return [Finding("NONE_OF_THESE", "info", sentence, details=details | {"refused_on_test": refused})]
