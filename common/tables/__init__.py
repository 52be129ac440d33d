"""Tables as files: read once, the same way for everybody."""
