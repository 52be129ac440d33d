"""Say what each key means, from the settings themselves. `python -m config.reference > docs/configuration.md`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.errors import ConfigError
from config.load import CONFIG_NAME, load_settings
from config.settings import Settings

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
    described, sections = keys(), dict(_sections(root, root["$defs"], ""))
    parts = [_INTRODUCTION.format(example=EXAMPLE)]
    for section, definition in sections.items():
        title = f"`{section}`" if section else "Top level"
        inside = [key for path, key in described.items() if _section_of(path, sections) == section]
        rows = [
            f"| `{key.path}` | {_cell(key.wanted)} | {_default_cell(key)} | {_cell(key.description)} |"
            for key in inside
        ]
        about = definition.get("description", "")
        parts.append(
            "\n".join([f"## {title}", about, "", "| key | wanted | default | |", "|---|---|---|---|", *rows, ""])
        )
    parts.append(_MISTAKES.format(examples="\n".join(_mistakes())))
    return "\n".join(parts)


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


def _section_of(path: str, sections: Any) -> str:
    return max((s for s in sections if path.startswith(f"{s}.") or not s), key=len)


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
    """Return the type and range in words."""
    if "anyOf" in field:
        return " or ".join(_wanted(option) for option in field["anyOf"])
    if "enum" in field:
        return "one of " + ", ".join(field["enum"])
    kind = field.get("type")
    if kind == "array":
        return f"list of {_wanted(field['items'])}{_at_least(field.get('minItems'))}"
    if kind == "object":
        return f"keys with {_wanted(field['additionalProperties'])}{_at_least(field.get('minProperties'))}"
    if kind in ("integer", "number"):
        return kind + _range(field)
    if "pattern" in field:
        return "lower-case letters, digits and _, at most 63, a letter first"
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


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _default_cell(key: Key) -> str:
    return "**must be given**" if key.default is None else f"`{key.default}`"


def _mistakes() -> Iterator[str]:
    """Plant each mistake in the example and yield what the loader really says."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / CONFIG_NAME
        (file.parent / "schema.pbtxt").touch()
        for right, wrong, overrides in MISTAKES:
            file.write_text(EXAMPLE.replace(right, wrong), encoding="utf-8")
            shown = f"--set {overrides[0]}" if overrides else wrong.strip()
            try:
                load_settings(file, overrides)
            except ConfigError as error:
                yield f"`{shown}`\n```text\n{error}\n```".replace(f"{folder}/", "").replace(
                    f"{file.resolve().parent}/", ""
                )


_INTRODUCTION = """\
# Configuration

Generated from `config/settings.py` by `python -m config.reference`: change the text there.

A model is configured by a folder with two files, `config/<model>/pipeline.yaml` and `config/<model>/schema.pbtxt`.
`python local_runner.py init DATA.csv --label COLUMN` writes both for your data, with comments.

## A whole file
Only `name` and three keys of `data` must be given; the rest has defaults.
```yaml
{example}```

- **Values are text as written, typed by the settings.** The classes `[no, yes]` or `[0, 1]` stay what they are, `1e-4`
  is a number, `epochs: yes` is a mistake. Quote only what YAML itself would trip over: `": "`, ` #`, a leading
  `[`, `{{`, `*`, `&`, `!`, `|`, `>`, `%`, `@`, `?` or quote.
- **A key with nothing after it** stands for its default.
- **Paths** are relative to the file.
- **Unknown keys are errors**, so that a slip of the pen never goes unnoticed.

## Overrides
`--set key.path=value` changes one value for one run and may be repeated. The value is YAML; lists are given whole.
Paths in an override are relative to the working directory.
```sh
python local_runner.py run config/iris --set model.epochs=20 --set model.hidden_units=[64,32]
```
"""

_MISTAKES = """\
## Mistakes
Each is told with file, line, key, what was got, what was wanted, and the nearest right key.

{examples}
"""

if __name__ == "__main__":
    sys.stdout.write(markdown())
