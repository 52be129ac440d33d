"""How a version's rows are read and what may stand in them: by the settings and the schema that travel with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from common.errors import ConfigError
from common.tables.cleaning import Cleaning
from common.tables.dates import EXAMPLES, Order, is_date
from common.text import MISSING_CODE
from config.schema import Feature, model_features, read_schema
from config.settings import Settings
from serving.repository.layout import SCHEMA, TRAINING

LISTED = 12


@dataclass(frozen=True)
class Rules:
    cleaning: Cleaning
    features: Mapping[str, Feature]
    dates: Mapping[str, Order]

    @staticmethod
    def of_version(folder: Path) -> Rules | None:
        """Return a version's rules; None where they are not known, as of a model that we did not push."""
        try:
            training = json.loads((folder / TRAINING).read_text(encoding="utf-8"))
            settings = Settings.model_validate(training["settings"])
            features = model_features(read_schema(folder / SCHEMA), settings)
        except (OSError, ValueError, KeyError, TypeError, ValidationError, ConfigError):
            return None
        return Rules(settings.data.cleaning, {feature.name: feature for feature in features}, settings.dates)

    def is_optional(self, column: str) -> bool:
        return column in self.features and not self.features[column].required

    def text(self, column: str, text: str) -> str:
        """Return a text as the model takes it: cleaned, unless it is one of the column's as it stands."""
        feature = self.features.get(column)
        return text if feature and text in feature.values else self.cleaning.text(column, text)

    def broken(self, column: str, value: Any) -> str | None:
        """Return what is wrong with a value that was read, if anything is."""
        feature = self.features.get(column)
        if feature is None:
            return None
        if value == "" or value == MISSING_CODE or value != value:
            return "a value must be given" if feature.required else None
        if column in self.dates and not is_date(str(value).removesuffix(".0"), self.dates[column]):
            return f"this is no date such as {EXAMPLES[self.dates[column]]}"
        if isinstance(value, str):
            more = f" or {len(feature.values) - LISTED} others" if len(feature.values) > LISTED else ""
            is_known = not feature.values or value in feature.values
            return None if is_known else f"this is none of {', '.join(feature.values[:LISTED])}{more}"
        # bounds are 32-bit floats, as the values will be
        if feature.minimum is not None and np.float32(value) < np.float32(feature.minimum):
            return f"this is less than {feature.minimum:g}"
        if feature.maximum is not None and np.float32(value) > np.float32(feature.maximum):
            return f"this is more than {feature.maximum:g}"
        return None
