"""Find pictures that are nearly the same: by a perceptual hash, confirmed by pixels.

The hash says of 8 x 8 places whether the picture gets brighter to the right (dHash). Two hashes that differ in at most
three of 64 bits agree in one of four parts, so that only pictures that share a part are compared, not all with all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16  # of the small grey picture that confirms a pair
MOST_BITS = 3
MOST_MEAN, MOST_ANYWHERE = 4.0, 40  # of 255, between the small pictures
BRIGHTER = 4  # of 255: less is what JPEG makes of an even background
NEIGHBOURS = 64  # in a part's bucket, each picture is compared with so many next to it by brightness
PARTS = tuple(np.uint64(16 * part) for part in range(4))
Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Look:
    """What is kept of a picture to tell whether another is nearly the same: 8 and 256 bytes."""

    bits: int
    small: Grey

    @staticmethod
    def of(image: Image.Image) -> Look:
        grey = image.convert("L")
        steps = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), np.int16)
        bits = np.packbits(np.diff(steps, axis=1) > BRIGHTER)
        return Look(int.from_bytes(bits.tobytes(), "big"), np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX)))


def together(looks: Sequence[Look], same: Sequence[str]) -> NDArray[np.int64]:
    """Return the group of each picture, `[pictures]`: the least index among those it belongs with.

    Pictures of the same text in `same` belong together whatever they look like, unless it is empty.
    """
    parent = np.arange(len(looks))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    def join(a: int, b: int) -> None:
        low, high = sorted((root(a), root(b)))
        parent[high] = low

    for a, b in near_pairs(looks):
        join(a, b)
    first: dict[str, int] = {}
    for i, name in enumerate(same):
        if name:
            join(first.setdefault(name, i), i)
    return np.array([root(i) for i in range(len(looks))], np.int64)


def near_pairs(looks: Sequence[Look]) -> Iterator[tuple[int, int]]:
    """Yield pairs of pictures that are nearly the same, some of them more than once."""
    if len(looks) < 2:
        return
    bits = np.array([look.bits for look in looks], np.uint64)
    small = np.stack([look.small for look in looks])
    brightness = small.mean(axis=(1, 2))
    for part in PARTS:
        key = (bits >> part) & np.uint64(0xFFFF)
        order = np.lexsort((brightness, key))
        for step in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
            left, right = order[:-step], order[step:]
            candidates = (key[left] == key[right]) & (np.abs(brightness[left] - brightness[right]) <= MOST_MEAN)
            if not candidates.any():
                break
            left, right = left[candidates], right[candidates]
            few = _ones(bits[left] ^ bits[right]) <= MOST_BITS
            for a, b in zip(left[few].tolist(), right[few].tolist(), strict=True):
                gaps = np.abs(small[a].astype(np.int16) - small[b])
                if gaps.mean() <= MOST_MEAN and gaps.max() <= MOST_ANYWHERE:
                    yield a, b


def _ones(bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.unpackbits(bits.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1).astype(np.int64)
