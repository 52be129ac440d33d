"""What rows are drawn from: the sample of the train split that travels with a version, and never test rows."""

from __future__ import annotations

from pathlib import Path

from common.errors import DataError
from config.data_settings import IMAGE_BYTES
from config.schema import read_schema
from monitoring.simulate.copula import Population
from monitoring.simulate.shifts import Table
from serving.repository.drift_reference import DriftReference
from serving.repository.layout import SCHEMA
from serving.repository.showcase import Showcase

LEAST_ROWS = 10


def read_table(folder: Path) -> Table:
    """Fit the training rows of a version. Raises DataError if it has none, or no drift reference."""
    reference, showcase = DriftReference.read(folder), Showcase.read(folder)
    if showcase is not None and IMAGE_BYTES in showcase.train.columns:
        raise DataError(
            f"{folder.parent.name} reads pictures, which cannot be made up from statistics",
            fix="send pictures: on the page, or POST /api/v1/predict/image",
        )
    if showcase is None or len(showcase.train) < LEAST_ROWS:
        raise DataError(
            f"version {folder.name} of {folder.parent.name} carries too few training rows to draw others like them",
            got=len(showcase.train) if showcase else "none",
            wanted=f"{LEAST_ROWS} or more",
            fix="raise showcase.train_rows in pipeline.yaml and push the model again",
        )
    sample = showcase.train
    schema = read_schema(folder / SCHEMA)
    optional = frozenset(feature.name for feature in schema.feature if feature.presence.min_fraction < 1.0)
    as_codes = {name: {str(value): value for value in sample.columns[name]} for name in reference.categories}
    if reference.scores and not reference.scores.confusion:
        numbers = [float(label) for label in sample.labels]
        population = Population.of_numbers(sample.columns, numbers, codes=reference.categories)
    else:
        population = Population.of(sample.columns, sample.labels, codes=reference.categories)
    return Table(
        population,
        tuple(reference.numbers),
        tuple(reference.categories),
        optional,
        {
            name: tuple(as_codes[name][value] for value in categories.counts if value in as_codes[name])
            for name, categories in reference.categories.items()
        },
    )
