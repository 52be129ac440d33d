"""What every request meets: bounds, limits, errors, headers, metrics, health."""
