"""The model config: which models to serve, from where, which versions, under which labels."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from serving.server.status import StatusError, invalid_argument

PLATFORM = "tensorflow"
NO_LABELS: Mapping[str, int] = MappingProxyType({})
_URI = re.compile(r"[a-zA-Z][0-9a-zA-Z.]*://")


@dataclass(frozen=True)
class Latest:
    """Serve the largest versions."""

    count: int = 1


@dataclass(frozen=True)
class All:
    """Serve every version."""


@dataclass(frozen=True)
class Specific:
    """Serve these versions and no others."""

    versions: frozenset[int]


Policy = Latest | All | Specific


@dataclass(frozen=True)
class ModelConfig:
    """One model. The base path is absolute or a URI and holds one folder per version."""

    name: str
    base_path: str
    policy: Policy = Latest()
    labels: Mapping[str, int] = field(default_factory=lambda: NO_LABELS)  # label: version


def single_model(name: str, base_path: str) -> tuple[ModelConfig, ...]:
    """Return the config of `--model_name` and `--model_base_path`. Raises StatusError for a relative path."""
    _check_path(name, base_path)
    return (ModelConfig(name, base_path),)


def from_proto(message: Any, known: Container[str] = ()) -> tuple[ModelConfig, ...] | None:
    """Return the models of a ModelServerConfig; None if it has no list at all, which changes nothing.

    `known` are the names served already: the words about their platform are others. Raises StatusError
    INVALID_ARGUMENT for a list that cannot be served, and for a custom config.
    """
    kind = message.WhichOneof("config")
    if kind is None:
        return None
    if kind != "model_config_list":
        raise invalid_argument("ModelServer does not yet support custom model config.")
    by_name: dict[str, ModelConfig] = {}
    for model in message.model_config_list.config:
        if model.name in by_name:
            raise invalid_argument(f"Illegal to list model {model.name} multiple times in config list")
        _check_path(model.name, model.base_path)
        by_name[model.name] = ModelConfig(
            model.name, model.base_path, _policy(model.model_version_policy), dict(model.version_labels)
        )
    for model in message.model_config_list.config:
        _check_platform(model.name, _platform(model), known)
    if any(model.HasField("logging_config") for model in message.model_config_list.config):
        raise invalid_argument("No request-logger-creator provided.")
    return tuple(by_name.values())


def _check_platform(name: str, platform: str, known: Container[str]) -> None:
    if platform == PLATFORM:
        return
    if name in known:
        raise invalid_argument(
            f"Illegal to change a model's platform. For model {name} platform was {PLATFORM} "
            f"and new platform requested is {platform}"
        )
    raise invalid_argument(f"Model {name} requests unsupported platform {platform}")


def _platform(model: Any) -> str:
    if not model.model_type:
        if model.model_platform:
            return str(model.model_platform)
        raise _platform_error("neither", "nor")
    if model.model_platform:
        raise _platform_error("both", "and")
    if model.model_type != 1:  # ModelType.TENSORFLOW
        raise invalid_argument(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
    return PLATFORM


def _platform_error(first: str, second: str) -> StatusError:
    return invalid_argument(
        f"Illegal setting {first} ModelServerConfig::model_type (deprecated) "
        f"{second} ModelServerConfig::model_platform."
    )


def _policy(policy: Any) -> Policy:
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return All()
    if kind == "specific":
        return Specific(frozenset(policy.specific.versions))
    return Latest(max(policy.latest.num_versions, 1))


def _check_path(name: str, path: str) -> None:
    if not path.startswith("/") and not _URI.match(path):
        raise invalid_argument(f"Expected model {name} to have an absolute path or URI; got base_path()={path}")
