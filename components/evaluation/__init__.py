"""The evaluation gate: metrics with bounds, plain models, the verdict."""
