"""Find pictures that are nearly the same: by a perceptual hash, confirmed by pixels.

The hash says of 8 x 8 places whether the picture gets brighter to the right (dHash). Two hashes that differ in at most
three of 64 bits agree in one of four parts, so that only pictures that share a part are compared, not all with all.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDE = 16  # of the small grey picture that confirms a pair
MOST_BITS = 3
MOST_MEAN, MOST_ANYWHERE = 4.0, 40  # of 255, between the small pictures
BRIGHTER = 4  # of 255: less is what JPEG makes of an even background
NEIGHBOURS = 64  # in a part's bucket, each picture is compared with so many next to it by brightness
AT_ONCE = 4096  # pairs whose pixels are compared
PARTS = tuple(np.uint64(16 * part) for part in range(4))
LOOK = np.dtype([("bits", np.uint64), ("small", np.uint8, (SIDE, SIDE))])  # what is kept of a picture to tell copies
Looks = NDArray[np.void]  # [pictures] LOOK
Indices = NDArray[np.int64]


def look_of(image: Image.Image) -> tuple[int, NDArray[np.uint8]]:
    """Return a LOOK's values."""
    grey = image.convert("L")
    steps = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = np.packbits(np.diff(steps, axis=1) > BRIGHTER)
    return int.from_bytes(bits.tobytes(), "big"), np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))


def together(looks: Looks, same: Indices) -> Indices:
    """Return the number of each picture's group, `[pictures]`.

    Pictures of one number in `same` belong together whatever they look like, unless it is negative.
    """
    group = np.arange(len(looks))
    order = np.argsort(same, kind="stable")
    equal = (same[order[:-1]] == same[order[1:]]) & (same[order[1:]] >= 0)
    for left, right in chain([(order[:-1][equal], order[1:][equal])], near_pairs(looks)):
        if np.any(apart := group[left] != group[right]):
            joined = (group[left[apart]], group[right[apart]])
            pairs = coo_array((np.ones(len(joined[0])), joined), shape=(len(looks), len(looks)))
            group = connected_components(pairs, directed=False)[1].astype(np.int64)[group]
    return group


def near_pairs(looks: Looks) -> Iterator[tuple[Indices, Indices]]:
    """Yield pairs of pictures that are nearly the same, some of them more than once, as two arrays of indices."""
    bits, small = looks["bits"], looks["small"]
    brightness = small.mean(axis=(1, 2), dtype=np.float32)
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
            left, right = left[few], right[few]
            for first in range(0, len(left), AT_ONCE):
                a, b = left[first : first + AT_ONCE], right[first : first + AT_ONCE]
                gaps = np.abs(small[a].astype(np.int16) - small[b])
                near = (gaps.mean(axis=(1, 2)) <= MOST_MEAN) & (gaps.max(axis=(1, 2)) <= MOST_ANYWHERE)
                yield a[near], b[near]


def _ones(bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.unpackbits(bits.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1).astype(np.int64)
