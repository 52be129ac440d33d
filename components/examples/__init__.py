"""Rows of CSV, Parquet or TFRecord files become the Examples artifact, split by content and counted in and out."""

from components.examples.component import make_example_gen

__all__ = ["make_example_gen"]
