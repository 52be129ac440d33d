"""The serving gate: the exported model must load and answer as it will in the model server."""
