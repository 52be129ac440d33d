"""The Dockerfile, as far as it can be checked without an engine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from components.pusher import push
from serving.launch import launcher as launch
from serving.release import state as release_state
from tests.support.paths import ROOT

LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
IGNORED = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]


def instructions(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def copied() -> list[str]:
    """What the image takes from the repository, without build arguments."""
    return [
        word.partition("/$")[0]
        for line in instructions("COPY")
        for word in shlex.split(line)[:-1]
        if not word.startswith("--")
    ]


def test_the_image_takes_what_is_there_and_what_the_ignore_file_lets_through() -> None:
    assert "serving/entrypoint.sh" in copied()
    assert all((ROOT / path).exists() for path in copied() if not path.startswith("var/"))
    assert IGNORED[0] == "*"
    allowed = {line[1:] for line in IGNORED if line.startswith("!")}
    assert allowed == {path for path in copied() if path != "var/serving/models.config"}  # below var/serving


def test_an_image_of_one_model_keeps_its_release_state() -> None:
    assert "var/serving/models.config" in copied()
    assert any(line.startswith("MODEL_NAME=${MODEL} entrypoint.sh --print-config >") for line in instructions("RUN"))
    assert instructions("ENV") == ['MODEL_NAME="" MODEL_BASE_PATH=/models']  # the base image names one of its own


def test_what_pushes_and_releases_keep_for_themselves_is_left_out() -> None:
    assert IGNORED[-1] == "var/serving/**/.*"
    for kept in (push.STAGING, push.LAST, release_state.STATE, release_state.LOG, release_state.LOCK, launch.LOG):
        assert kept.startswith(".")
    assert not release_state.CONFIG.startswith(".")  # the labels go along


def test_the_version_of_the_model_server_is_pinned() -> None:
    [image] = [line for line in instructions("ARG") if line.startswith("IMAGE=")]
    assert re.fullmatch(r"IMAGE=tensorflow/serving:\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?", image)
    assert instructions("FROM") == ["${IMAGE}"]


def test_it_runs_as_a_numbered_user_that_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instructions("USER")[-1])


def test_the_entry_point_and_the_health_check_are_programs_that_were_copied() -> None:
    programs = [Path(path).name for path in copied() if path.endswith(".sh")]
    assert instructions("ENTRYPOINT") == ['["entrypoint.sh"]']
    assert instructions("HEALTHCHECK")[0].endswith('CMD ["healthcheck.sh"]')
    assert programs == ["entrypoint.sh", "healthcheck.sh"]
    assert all((ROOT / "serving" / program).stat().st_mode & 0o111 for program in programs)


@pytest.mark.slow
def test_hadolint_finds_nothing(check_with: Callable[..., str]) -> None:
    check_with("hadolint", "Dockerfile")
