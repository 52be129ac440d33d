"""A CSV in, a CSV with predictions out."""
