from __future__ import annotations

from typing import Any

from google.protobuf import text_format

from serving.wire.messages import message


def parse_config(text: str) -> Any:
    """Return a ModelServerConfig from its text, as a model server reads it."""
    return text_format.Parse(text, message("ModelServerConfig")())
