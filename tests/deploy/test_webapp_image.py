"""The web app's Dockerfile, as far as it can be checked without an engine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LINES = (ROOT / "webapp" / "Dockerfile").read_text(encoding="utf-8").splitlines()
IGNORED = [
    line
    for line in (ROOT / "webapp" / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    if line and line[0] != "#"
]


def instructions(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def test_it_takes_only_what_the_ignore_file_lets_through() -> None:
    copied = {shlex.split(line)[0].partition("/")[0] for line in instructions("COPY")}
    assert IGNORED[0] == "*"
    assert {line[1:] for line in IGNORED if line.startswith("!")} == copied == {"common", "config", "serving", "webapp"}


def test_the_base_image_is_pinned_and_packages_are_held_to_their_hashes() -> None:
    [image] = [line for line in instructions("ARG") if line.startswith("IMAGE=")]
    assert re.fullmatch(r"IMAGE=python:\d+\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", image)
    assert "--require-hashes" in instructions("RUN")[0]


def test_it_runs_as_a_numbered_user_that_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instructions("USER")[-1])


def test_its_packages_are_those_of_the_main_lock_and_tensorflow_is_not_among_them() -> None:
    def pinned(path: Path) -> set[str]:
        return set(re.findall(r"^([\w.-]+==\S+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE))

    web = pinned(ROOT / "webapp" / "requirements.txt")
    assert web <= pinned(ROOT / "requirements.txt")
    names = {package.partition("==")[0] for package in web}
    assert {"flask", "granian", "pyarrow"} <= names
    assert not {"tensorflow", "tfx", "keras"} & names


@pytest.mark.slow
def test_hadolint_finds_nothing(check_with: Callable[..., str]) -> None:
    check_with("hadolint", "webapp/Dockerfile")
