"""Start a model server, and what runs beside it."""
