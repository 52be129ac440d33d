"""Retraining: when it may be, how it is carried out step by step, and how the new version is tried."""
