"""Read `pipeline.yaml` into settings; every mistake is told with file, line, key and the nearest right key.

Values are taken as the text that stands in the file and typed by the settings, not by YAML: so the classes `[no, yes]`
or `[0, 1]` stay text, `1e-4` is a number, and `epochs: yes` is a mistake instead of 1.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from common.errors import ConfigError
from common.paths import var_root
from common.text import nearest
from config.settings import Settings

Location = tuple[str | int, ...]
Places = dict[Location, str]  # where each key stands: "pipeline.yaml:12" or "--set a.b=c"
CONFIG_NAME = "pipeline.yaml"
REFERENCE = "docs/configuration.md lists every key with its range and default"
MAX_DEPTH = 10
VAR = "{VAR}"  # at a path's beginning: the root of all run-time state


def load_settings(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Read a YAML file, or the `pipeline.yaml` of a folder, apply `key.path=value` overrides, and validate.

    Paths in the file are relative to the file, paths in an override to the working directory, those that begin with
    `{VAR}` to the root of run-time state; all come back absolute. Raises ConfigError.
    """
    file = path / CONFIG_NAME if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(
            f"no configuration at {path}",
            wanted=f"a YAML file or a folder with {CONFIG_NAME}",
            fix="local_runner.py init DATA.csv --label COLUMN writes one",
        )
    tree, places = _read(file)
    for override in overrides:
        _override(tree, places, override)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        problems = [_place_and_sentence(problem, file, places) for problem in error.errors()]
        raise ConfigError("the configuration is not valid:\n  " + "\n  ".join(problems), fix=REFERENCE) from None
    source = settings.data.source
    if isinstance(source, Path):
        source = _absolute(source, ("data", "source"), file, places)
    schema = settings.schema_file and _absolute(settings.schema_file, ("schema",), file, places)
    if schema and not schema.is_file():
        raise ConfigError(
            f"{_place(('schema',), file, places)}: schema: there is no such file",
            got=schema,
            wanted="a schema.pbtxt, or no `schema` key: then one is inferred at each run",
        )
    changed: dict[str, Any] = {"data": settings.data.model_copy(update={"source": source}), "schema_file": schema}
    if weights := settings.model.weights_file:
        place = _absolute(weights, ("model", "weights"), file, places)
        changed["model"] = settings.model.model_copy(update={"weights": str(place)})
    return settings.model_copy(update=changed)


def settings_hash(settings: Settings) -> str:
    """Return a short digest of all values, the same whatever the order of keys and the place of the files."""
    values = _placeless(settings).model_dump(mode="json")
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def settings_values(settings: Settings) -> dict[str, Any]:
    """Return all values by the names that YAML has for them, those of files without their folders."""
    return _placeless(settings).model_dump(mode="json", by_alias=True)


def settings_yaml(values: Mapping[str, Any]) -> str:
    """Return values as a file that `load_settings` reads beside the data; nothing is left for the tuner to search."""
    fixed = {**values, "tuner": {**values["tuner"], "enabled": False}}
    return yaml.safe_dump(fixed, sort_keys=False, allow_unicode=True)


def _placeless(settings: Settings) -> Settings:
    schema = settings.schema_file and Path(settings.schema_file.name)
    weights = settings.model.weights_file
    model = settings.model.model_copy(update={"weights": weights.name}) if weights else settings.model
    return settings.model_copy(update={"data": settings.data.without_place(), "schema_file": schema, "model": model})


def _read(file: Path) -> tuple[dict[str, Any], Places]:
    try:
        root = yaml.compose(file.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        raise ConfigError(f"{where} is not YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{file} holds no settings", wanted="keys and values", fix=REFERENCE)
    places: Places = {}
    return _build(root, (), places, f"{file}:"), places


def _build(node: yaml.Node, at: Location, places: Places, prefix: str) -> Any:
    """Return a node as dicts, lists, texts and None, and note where each key stands.

    A `prefix` that ends in a colon is a file, and the line is added to it.
    """
    if len(at) > MAX_DEPTH:
        raise ConfigError(f"{prefix} nests deeper than any setting", got=_dotted(at))

    def child(key: str | int, mark: yaml.Mark, value: yaml.Node) -> Any:
        here, place = (*at, key), f"{prefix}{mark.line + 1}" if prefix.endswith(":") else prefix
        if here in places:
            raise ConfigError(
                f"{place}: key {_dotted(here)!r} stands twice", got=f"also in {places[here]}", fix="remove one"
            )
        places[here] = place
        return _build(value, here, places, prefix)

    if isinstance(node, yaml.MappingNode):
        return {key.value: child(_text_key(key, prefix), key.start_mark, value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [child(index, value.start_mark, value) for index, value in enumerate(node.value)]
    is_plain, is_item = getattr(node, "style", None) is None, bool(at) and isinstance(at[-1], int)
    is_null = is_plain and (node.value == "" or (node.tag == "tag:yaml.org,2002:null" and not is_item))
    return None if is_null else node.value


def _text_key(key: yaml.Node, prefix: str) -> str:
    if not isinstance(key, yaml.ScalarNode):
        raise ConfigError(f"{prefix}{key.start_mark.line + 1}: a key must be a word", got="a list or keys and values")
    return str(key.value)


def _override(tree: dict[str, Any], places: Places, override: str) -> None:
    key, equals, text = override.partition("=")
    option = f"--set {override}"
    *parents, last = location = tuple(key.strip().split("."))
    if not equals or not all(location):
        raise ConfigError("cannot read an override", got=option, wanted="--set model.epochs=20")
    branch = tree
    for depth, parent in enumerate(parents, start=1):
        branch[parent] = branch.get(parent) if branch.get(parent) is not None else {}
        branch = branch[parent]
        places.setdefault(location[:depth], option)
        if not isinstance(branch, dict):
            raise ConfigError(
                f"{option}: {_dotted(location[:depth])!r} has no keys in it",
                fix=f"give all of it: --set {_dotted(location[:depth])}=[…]",
            )
    for place in [place for place in places if place[: len(location)] == location]:
        del places[place]
    places[location] = option
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        raise ConfigError(
            f"{option}: the value is not YAML", got=text, fix="quote it twice: --set 'a.b=\"x: y\"'"
        ) from None
    branch[last] = None if node is None else _build(node, location, places, option)


def _absolute(path: Path, location: Location, file: Path, places: Places) -> Path:
    if path.parts[:1] == (VAR,):
        return var_root().joinpath(*path.parts[1:])
    base = Path.cwd() if places.get(location, "").startswith("--set ") else file.resolve().parent
    return base / path


def _place(location: Location, file: Path, places: Places) -> str:
    """Return where a key stands, or its nearest parent that does."""
    while location and location not in places:
        location = location[:-1]
    return places.get(location, f"{file}:1")


def _place_and_sentence(problem: Any, file: Path, places: Places) -> str:
    location, message = tuple(problem["loc"]), problem["msg"]
    if problem["type"] == "value_error":  # a check across keys says its key itself
        message = message.removeprefix("Value error, ")
        if named := re.match(r"([\w.:]+?): (.*)", message, re.DOTALL):
            location, message = (*location, *named[1].split(".")), named[2]
        return f"{_place(location, file, places)}: {_dotted(location)}: {message}"
    return f"{_place(location, file, places)}: {_sentence(problem, location)}"


def _sentence(problem: Any, location: Location) -> str:
    key, got = _dotted(location), problem.get("input")
    if problem["type"] == "extra_forbidden":
        keys = _keys_at(location[:-1])
        near = nearest(str(location[-1]), keys)
        hint = f"; did you mean {near!r}?" if near else ""
        return f"unknown key {key!r}{hint} (known here: {', '.join(keys)})"
    if problem["type"] == "missing":
        return f"key {key!r} is missing"
    message = re.sub(r"^Input should be a valid (tuple|list)$", "should be a list such as [a, b]", problem["msg"])
    message = re.sub(r"^Input should be a valid dictionary.*", "should hold keys and values", message)
    message = re.sub(r"^(Tuple|Dictionary) should have (.*) after validation, not (\d+)", r"should have \2", message)
    message = (
        re.sub(r"^(Input|String) should ", "should ", message)
        .replace(" a valid i", " an i")
        .replace(" a valid ", " a ")
    )
    message = re.sub(r", unable to (parse|interpret).*", "", message)
    near = nearest(str(got), re.findall(r"'([^']+)'", message)) if problem["type"] == "literal_error" else None
    return f"{key}: {message}, got {_shown(got)}" + (f"; did you mean {near!r}?" if near else "")


def _shown(got: Any) -> str:
    if got is None or got == "":
        return "nothing"
    if isinstance(got, dict):
        return "keys " + ", ".join(got) if got else "no keys"
    return f"[{', '.join(map(_shown, got))}]" if isinstance(got, list) else str(got)


def _keys_at(location: Location) -> list[str]:
    """Return the keys that the settings know at a place, by the names used in YAML."""
    model: Any = Settings
    for part in location:
        model = _step(model, part)
    fields = model.model_fields.items() if _is_settings(model) else ()
    return [field.alias or name for name, field in fields]


def _step(annotation: Any, part: str | int) -> Any:
    """Return the type one key or index further in: of a class's field, a dict's value, a tuple's item."""
    if _is_settings(annotation):
        fields = {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
        return fields.get(str(part))
    inner = typing.get_args(annotation)
    return inner[1 if typing.get_origin(annotation) is dict else 0] if inner else None


def _is_settings(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location)
