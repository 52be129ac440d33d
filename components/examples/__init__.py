"""Rows of CSV, Parquet or TFRecord files become the Examples artifact, split by content and counted in and out."""
