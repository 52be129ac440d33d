"""How a missing value travels where the type has none of its own; numbers have NaN, text the empty text."""

MISSING_CODE = -(2**63)  # of an integer code; exact as a double too
