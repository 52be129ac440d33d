"""Rows that look like the training rows, moved as a test wants them, sent as traffic."""
