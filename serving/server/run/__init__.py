"""Session runs: in threads, and in batches."""
