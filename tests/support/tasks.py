"""Tasks without settings around them."""

from __future__ import annotations

from components.tasks.classification import Classification

BINARY = Classification(("no", "yes"), 1)
THREE_CLASSES = Classification(("a", "b", "c"))


def of_classes(count: int) -> Classification:
    return BINARY if count == 2 else Classification(tuple(map(str, range(count))))
