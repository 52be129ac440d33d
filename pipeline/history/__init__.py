"""Past runs, read back from ML Metadata."""
