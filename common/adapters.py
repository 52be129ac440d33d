"""What reads a dataclass from JSON, by its types."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


@lru_cache
def adapter(kind: type[T]) -> TypeAdapter[T]:
    """Return a type's adapter, made at the first need, which takes milliseconds."""
    return TypeAdapter(kind)
