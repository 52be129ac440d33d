"""Read, fit, tune, choose the operating point."""
