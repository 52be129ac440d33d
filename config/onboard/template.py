"""Write `pipeline.yaml` and `schema.pbtxt` as a person would: each key under a comment on what may stand there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from config.reference import Key, flow, keys

WIDTH = 118
Notes = Mapping[str, Sequence[str]]


def pipeline_text(head: str, values: Mapping[str, Any], notes: Notes) -> str:
    """Return a whole `pipeline.yaml`.

    `values` nests as the file does, with `data.ignore` as {column: why}; `notes` holds sentences by dotted key.
    """
    body = "\n".join(_lines(values, "", notes, keys()))
    return f"{_comment(head)}\n{body.replace(_BLANK * 2, _BLANK)}\n"


def schema_text(head: str, features: Sequence[tuple[schema_pb2.Feature, str]]) -> str:
    """Return a whole `schema.pbtxt`, each feature under its remark."""
    parts = [_comment(head)]
    for feature, remark in features:
        schema = text_format.MessageToString(schema_pb2.Schema(feature=[feature]), as_utf8=True).strip()
        parts.append(f"{_comment(remark)}\n{schema}" if remark else schema)
    return "\n\n".join(parts) + "\n"


_BLANK = "\n\n"


def _lines(values: Mapping[str, Any], prefix: str, notes: Notes, known: Mapping[str, Key]) -> Iterator[str]:
    pad = "  " * prefix.count(".")
    for name, value in values.items():
        path = f"{prefix}{name}"
        is_section = path not in known
        if is_section or not prefix:
            yield ""
        if not is_section:
            key = known[path]
            yield _comment(f"{key.description} [{key.range_and_default}]", pad)
        for note in notes.get(path, ()):
            yield _comment(note, pad)
        if path == "data.ignore":
            yield f"{pad}{name}:"
            for column, why in value.items():
                yield _comment(why, f"{pad}  ")
                yield f"{pad}  - {flow(column)}"
        elif path == "features":
            yield f"{pad}{name}:"
            yield from (f"  {flow(column)}: {flow(display)}" for column, display in value.items())
        elif is_section:
            yield f"{pad}{name}:"
            yield from _lines(value, f"{path}.", notes, known)
        else:
            yield from _pair(pad, name, value)


def _pair(pad: str, name: str, value: Any) -> Iterator[str]:
    line = f"{pad}{name}: {flow(value)}"
    if isinstance(value, dict):
        yield f"{pad}{name}:"
        yield from (f"{pad}  {flow(key)}: {flow(inner)}" for key, inner in value.items())
    elif isinstance(value, (list, tuple)) and len(line) > WIDTH:
        yield f"{pad}{name}:"
        yield from (f"{pad}  - {flow(item)}" for item in value)
    else:
        yield line


def _comment(text: str, pad: str = "") -> str:
    """Return a text as comment lines, broken between words; line ends in `text` stay."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = f"{pad}#"
        for word in paragraph.split():
            if len(line) + len(word) >= WIDTH:
                lines.append(line)
                line = f"{pad}#"
            line += f" {word}"
        lines.append(line)
    return "\n".join(lines)
