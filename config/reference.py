"""What each key means, from the settings themselves: as a page, and as the comments of a file that `init` writes.

`python -m config.reference > docs/configuration.md`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import text_format
from jinja2 import Environment
from tensorflow_metadata.proto.v0 import schema_pb2

from common.errors import ConfigError
from config.load import CONFIG_NAME, load_settings
from config.settings import Settings

TEMPLATE = Path(__file__).with_name("reference.md.j2")
EXAMPLE = """\
name: iris                      # also the model's name in the model server
schema: schema.pbtxt            # the contract for the data, beside this file
data:
  source: ../../data/iris.csv   # relative to this file
  label: species
  classes: [setosa, versicolor, virginica]
model:
  epochs: 200
evaluation:
  metrics: [auc, accuracy, example_count]
  thresholds:
    accuracy: 0.8
features:
  petal_length:
    unit: cm
"""
# what is planted in EXAMPLE, by what, and the overrides that go with it
MISTAKES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("  epochs: 200", "  epoch: 200", ()),
    ("  epochs: 200", "  epochs: 0", ()),
    ("    accuracy: 0.8", "    acuracy: 0.8", ()),
    ("schema: schema.pbtxt", "schema: shema.pbtxt", ()),
    ("", "", ("modell.epochs=20",)),
)
WIDTH = 118
PATTERNS = {  # by how a pattern begins: what it means
    "^[a-z]": "lower-case letters, digits and _, at most 63, a letter first",
    "^http": "URL",
    "^[0-9a-f]": "64 hexadecimal digits",
}
Notes = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Key:
    """One key of `pipeline.yaml`. `default` is YAML text, or None if the key must be given."""

    path: str
    wanted: str
    default: str | None
    description: str

    @property
    def range_and_default(self) -> str:
        """What may stand there and what does if nothing is said."""
        return f"{self.wanted}; {'must be given' if self.default is None else f'default {self.default}'}"


def keys() -> dict[str, Key]:
    """Return every key by its dotted path, in the order of the settings; `<column>` and `[]` stand for any."""
    root = Settings.model_json_schema()
    return {key.path: key for key in _keys(root, root["$defs"], "")}


def markdown() -> str:
    root = Settings.model_json_schema()
    described, definitions = keys(), dict(_sections(root, root["$defs"], ""))
    owners = {path: max((s for s in definitions if path.startswith(f"{s}.") or not s), key=len) for path in described}
    environment = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["cell"] = lambda text: text.replace("|", "\\|").replace("<", "&lt;")
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        example=EXAMPLE,
        sections=[
            (section, definition, [key for path, key in described.items() if owners[path] == section])
            for section, definition in definitions.items()
        ],
        mistakes=list(_mistakes()),
    )


def flow(value: Any) -> str:
    """Return a value as YAML on one line; texts that YAML would take for something else are quoted."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{flow(k)}: {flow(v)}' for k, v in value.items())}}}"
    if not value.isprintable():
        return json.dumps(value)  # a line end inside quotes would break the line
    return yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10**9)[1:-2]


def _keys(definition: Any, definitions: Any, prefix: str) -> Iterator[Key]:
    for name, field in definition["properties"].items():
        path, inner = f"{prefix}{name}", _inner(field, definitions)
        if inner:
            yield from _keys(inner[1], definitions, f"{path}{inner[0]}.")
            continue
        default = _default(path, field, name in definition.get("required", ()))
        yield Key(path, _wanted(field), default, field["description"])


def _sections(definition: Any, definitions: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, definition
    for name, field in definition["properties"].items():
        if inner := _inner(field, definitions):
            yield from _sections(inner[1], definitions, f"{path}.{name}{inner[0]}".lstrip("."))


def _inner(field: Any, definitions: Any) -> tuple[str, Any] | None:
    """Return how a key leads to keys of its own (directly, by column, by list item), and to which."""
    ways = (("", field), (".<column>", field.get("additionalProperties", {})), ("[]", field.get("items", {})))
    return next(((how, definitions[w["$ref"].rpartition("/")[2]]) for how, w in ways if "$ref" in w), None)


def _default(path: str, field: Any, is_required: bool) -> str | None:
    if is_required:
        return None
    if "default" in field:
        return "none" if field["default"] is None else flow(field["default"])
    model: Any = Settings  # defaults that are made anew each time are not in the JSON schema
    *sections, name = path.split(".")
    for section in sections:
        model = model.model_fields[section].annotation
    return flow(model.model_fields[name].get_default(call_default_factory=True))


def _wanted(field: Any) -> str:
    if "anyOf" in field:
        return " or ".join(_wanted(option) for option in field["anyOf"])
    if "enum" in field:
        return "one of " + ", ".join(text if text.isidentifier() else json.dumps(text) for text in field["enum"])
    kind = field.get("type")
    if kind == "array":
        return f"list of {_wanted(field['items'])}{_at_least(field.get('minItems'))}"
    if kind == "object":
        return f"keys with {_wanted(field['additionalProperties'])}{_at_least(field.get('minProperties'))}"
    if kind in ("integer", "number"):
        return kind + _range(field)
    if "pattern" in field:
        return next(words for start, words in PATTERNS.items() if field["pattern"].startswith(start))
    if field.get("maxLength") == 1:
        return "one character"
    return {"boolean": "true or false", "null": "none"}.get(str(kind), "path" if field.get("format") else "text")


def _range(field: Any) -> str:
    low = f"≥ {flow(field['minimum'])}" if "minimum" in field else ""
    low = low or (f"> {flow(field['exclusiveMinimum'])}" if "exclusiveMinimum" in field else "")
    high = f"≤ {flow(field['maximum'])}" if "maximum" in field else ""
    high = high or (f"< {flow(field['exclusiveMaximum'])}" if "exclusiveMaximum" in field else "")
    return " " + " and ".join(filter(None, (low, high))) if low or high else ""


def _at_least(count: int | None) -> str:
    return f", at least {count}" if count else ""


def _mistakes() -> Iterator[tuple[str, str]]:
    """Plant each mistake in the example and yield it with what the loader really says."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder).resolve() / CONFIG_NAME
        (file.parent / "schema.pbtxt").touch()
        for right, wrong, overrides in MISTAKES:
            file.write_text(EXAMPLE.replace(right, wrong), encoding="utf-8")
            try:
                load_settings(file, overrides)
            except ConfigError as error:
                shown = f"--set {overrides[0]}" if overrides else wrong.strip()
                yield shown, str(error).replace(f"{file.parent}/", "")


def pipeline_text(head: str, values: Mapping[str, Any], notes: Notes) -> str:
    """Return a whole `pipeline.yaml`.

    `values` nests as the file does, with `data.ignore` as {column: why}; `notes` holds sentences by dotted key.
    """
    body = "\n".join(_lines(values, "", notes, keys()))
    blank = "\n\n"
    return f"{_comment(head)}\n{body.replace(blank * 2, blank)}\n"


def schema_text(head: str, features: Sequence[tuple[schema_pb2.Feature, str]]) -> str:
    """Return a whole `schema.pbtxt`, each feature under its remark."""
    parts = [_comment(head)]
    for feature, remark in features:
        schema = text_format.MessageToString(schema_pb2.Schema(feature=[feature]), as_utf8=True).strip()
        parts.append(f"{_comment(remark)}\n{schema}" if remark else schema)
    return "\n\n".join(parts) + "\n"


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


if __name__ == "__main__":
    sys.stdout.write(markdown())
