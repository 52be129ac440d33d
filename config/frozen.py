"""What all settings have in common: unknown keys are refused, and nothing changes after reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from common.tables.remote import URL

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]
Url = Annotated[str, Field(pattern=URL)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Severity = Literal["error", "warn", "ignore"]
Tolerance = Annotated[float, Field(ge=0.0)]
F = TypeVar("F", bound="Frozen")


class Frozen(BaseModel):
    """Refuse unknown keys and any change after reading.

    Checks across keys raise ValueError("key: what is wrong"); the loader finds the line by that key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, values: Any) -> Any:
        """Let `key:` with nothing after it stand for the default, as in a section whose keys are commented out."""
        if not isinstance(values, dict):
            return values
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: value for key, value in values.items() if value is not None or key not in known}

    def model_copy(self: F, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> F:
        """Return a copy, without what was computed of the values before (`cached_property`). Raises KeyError."""
        if unknown := set(update or ()) - type(self).model_fields.keys():
            raise KeyError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields:
            del copied.__dict__[name]
        return copied
