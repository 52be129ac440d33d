"""The pipeline: its graph on one page, its runner, and reading runs back from ML Metadata."""
