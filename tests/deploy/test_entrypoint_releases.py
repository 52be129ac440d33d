"""Releases under the image's entry point, with the embedded server in TensorFlow Serving's place."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from common.errors import DataError
from serving.cli import main
from serving.client.grpc import GrpcClient
from serving.release import commands as release
from serving.release.servers import ReleaseContext
from serving.release.state import State
from tests.support.serving.entrypoint import EntryPoint, entry_point, load
from tests.support.serving.running import wait_for
from tests.support.serving.versions import copy_version, tiny_model, unloadable
from tests.support.web.apps import own_app

pytestmark = pytest.mark.slow
MODEL = "wine"
ROWS: dict[str, object] = {"inputs": {"x": [0.25, 0.75]}}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def models(tiny: Path, tmp_path: Path) -> Path:
    """Three versions, of which the first is released."""
    root = tmp_path / "serving"
    copy_version(tiny, root / MODEL, 1)
    release.prepare(ReleaseContext(root, (), "tester"))
    for version in (2, 3):
        copy_version(tiny, root / MODEL, version)
    return root


@contextmanager
def releasing(models: Path, server: EntryPoint) -> Iterator[ReleaseContext]:
    with closing(GrpcClient(server.grpc)) as client:
        yield ReleaseContext(models, (client,), "tester", load_timeout_s=60)


def release_and_see(context: ReleaseContext, servers: list[EntryPoint], rounds: int) -> None:
    """Canary, promote and roll back, and see each step on every server."""
    for number in range(rounds):
        release.canary(context, MODEL, 10, 3)
        for server in servers:
            server.serves(MODEL, 3, "candidate")
        release.promote(context, MODEL, 2 + number % 2)
        for server in servers:
            server.serves(MODEL, 2 + number % 2)
        release.rollback(context, MODEL)
        for server in servers:
            server.serves(MODEL, 1)


@pytest.mark.parametrize("rounds", [2, pytest.param(17, marks=pytest.mark.exhaustive)])
def test_no_release_is_taken_back_by_the_servers_own_poll(models: Path, tmp_path: Path, rounds: int) -> None:
    with entry_point(models, tmp_path / "state") as server, releasing(models, server) as context:
        server.serves(MODEL, 1)
        with load(server.url, MODEL, ROWS) as answers:
            release_and_see(context, [server], rounds)
            release.promote(context, MODEL, 2)
            server.stays(lambda: server.version(MODEL) == 2)
            release.rollback(context, MODEL)
            server.stays(lambda: server.version(MODEL) == 1)
        assert set(answers) == {"good"}
        assert (tmp_path / "state" / "models.config").readlink() == models / "models.config"


@pytest.mark.parametrize("rounds", [1, pytest.param(17, marks=pytest.mark.exhaustive)])
def test_a_second_server_on_the_same_folder_follows(models: Path, tmp_path: Path, rounds: int) -> None:
    """It is not told by gRPC: it must load what is released before it moves a label."""
    with (
        entry_point(models, tmp_path / "first") as first,
        entry_point(models, tmp_path / "second") as second,
        releasing(models, first) as context,
    ):
        for server in (first, second):
            server.serves(MODEL, 1)
        with load(first.url, MODEL, ROWS) as told, load(second.url, MODEL, ROWS) as following:
            release_and_see(context, [first, second], rounds)
        assert set(told) | set(following) == {"good"}


def test_releases_from_where_the_folder_has_another_name_are_followed(models: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.symlink_to(models)
    elsewhere = ReleaseContext(models, (), "tester")  # writes files and asks no server
    with entry_point(seen, tmp_path / "state") as server:
        server.serves(MODEL, 1)
        with load(server.url, MODEL, ROWS) as answers:
            release.promote(elsewhere, MODEL, 2)
            server.serves(MODEL, 2)
            release.promote(elsewhere, MODEL, 3)
            server.serves(MODEL, 3)
            release.rollback(elsewhere, MODEL)
            server.serves(MODEL, 2)
        assert set(answers) == {"good"}


def test_a_broken_model_leaves_the_others_alone(models: Path, tiny: Path, tmp_path: Path) -> None:
    copy_version(tiny, models / "broken", 1, unloadable)
    shutil.copytree(models / MODEL / "1", models / "half" / "1")
    (models / "half" / "1" / "saved_model.pb").unlink()
    release.prepare(ReleaseContext(models, (), "tester"))
    config = models / "models.config"
    config.write_text(
        config.read_text()
        + f"""model_config_list {{ config {{
        name: "half" base_path: "{models}/half" model_platform: "tensorflow" version_labels {{ key: "stable" value: 1 }}
    }} config {{ name: "gone" base_path: "{models}/gone" model_platform: "tensorflow" }} }}"""
    )
    with entry_point(models, tmp_path / "state") as server:
        server.serves(MODEL, 1)
        server.wait(lambda: server.health().returncode == 0, "never healthy")
        assert server.health(MODEL).stdout == f"{MODEL} is available\n"
        assert server.health("broken").returncode == 1
        said = server.log.read_text()
        assert "half is left out: version 1, which is stable, is not whole" in said
        assert "gone is left out: no version is whole" in said
        with releasing(models, server) as context:
            release.promote(context, MODEL, 2)
        server.comes_to_stay(lambda: server.version(MODEL) == 2)


def test_a_model_that_is_first_released_while_the_server_runs_is_served(
    models: Path, tiny: Path, tmp_path: Path
) -> None:
    with (
        entry_point(models, tmp_path / "told") as told,
        entry_point(models, tmp_path / "following") as following,
        releasing(models, told) as context,
    ):
        for server in (told, following):
            server.serves(MODEL, 1)
        copy_version(tiny, models / "later", 1)
        told.stays(lambda: not told.loaded("later"))  # pushed, and not promoted yet
        release.promote(context, "later")
        for server in (told, following):
            server.serves("later", 1)
            server.wait(lambda at=server: at.health("later").returncode == 0, "later is not healthy")  # type: ignore[misc]
            server.stays(lambda at=server: (at.version("later"), at.version(MODEL)) == (1, 1))  # type: ignore[misc]


def test_a_version_whose_folder_vanishes_is_told_of_and_a_command_heals_it(
    models: Path, tiny: Path, tmp_path: Path
) -> None:
    copy_version(tiny, models / "other", 1)
    with (
        entry_point(models, tmp_path / "state") as server,
        releasing(models, server) as context,
        own_app(tmp_path / "web", models, server.url) as (app, _),
    ):
        server.serves(MODEL, 1)
        release.promote(context, MODEL, 2)
        release.promote(context, "other")
        client = app.test_client()
        assert status(server, models) == (0, "")

        shutil.rmtree(models / MODEL / "1")  # kept for a rollback only
        server.wait(lambda: server.loaded(MODEL) == {2}, "version 1 is not let go")
        code, said = status(server, models)
        assert code == 1
        assert f"{MODEL} on {server.grpc} is not as released: version 1 is not loaded for a rollback" in said
        assert client.get(f"/readyz?model={MODEL}").status_code == 200
        with pytest.raises(DataError, match="no version 1"):
            release.rollback(context, MODEL)
        server.serves(MODEL, 2)

        shutil.rmtree(models / MODEL / "2")  # the stable one
        server.serves(MODEL, None)
        code, said = status(server, models)
        assert code == 1
        assert "label stable answers with nothing instead of 2" in said
        assert f"{MODEL} stays as it was: version 2, which is stable, is not whole" in server.log.read_text()
        ready = wait_for_answer(lambda: client.get(f"/readyz?model={MODEL}"), 503)
        assert ready.json["reasons"] == [f"{MODEL}: version 2 is END"]
        assert client.get("/readyz").status_code == 200, "the other can be asked"
        assert (server.health(MODEL).returncode, server.health().returncode) == (1, 0)
        server.serves("other", 1)

        assert release.promote(context, MODEL, 3) == State(3)
        server.comes_to_stay(lambda: (server.version(MODEL), server.version("other")) == (3, 1))
        assert status(server, models) == (0, "")
        wait_for_answer(lambda: client.get(f"/readyz?model={MODEL}"), 200)


def status(server: EntryPoint, models: Path) -> tuple[int, str]:
    """Return the exit code of `python -m serving status`, and what it says of the differences."""
    arguments = ["--rest-url", server.url, "--grpc", server.grpc, "status"]
    done = CliRunner().invoke(main, arguments, env={"VOUCH_VAR": str(models.parent)})
    return done.exit_code, "\n".join(line for line in done.output.splitlines() if "not as released" in line)


def wait_for_answer(ask: Callable[[], Any], code: int) -> Any:
    """Ask until an answer has this status code: an answer about readiness is good for a second."""
    answers = []

    def has_come() -> bool:
        answers.append(ask())
        return bool(answers[-1].status_code == code)

    wait_for(has_come, 30, lambda: answers[-1].text)
    return answers[-1]


def test_a_version_that_is_still_being_copied_is_waited_for(models: Path, tmp_path: Path) -> None:
    slow = models / MODEL / "3"
    shutil.move(slow, tmp_path / "whole")
    with entry_point(models, tmp_path / "state", MODEL_NAME=MODEL) as server:
        server.serves(MODEL, 1)
        (models / "models.config").unlink()  # nothing is released: as tensorflow/serving does, the newest is served
        server.wait(lambda: server.loaded(MODEL) == {2}, "version 2 is not loaded")
        shutil.copytree(tmp_path / "whole", slow, ignore=shutil.ignore_patterns("saved_model.pb"))
        server.stays(lambda: server.loaded(MODEL) == {2})
        shutil.copy(tmp_path / "whole" / "saved_model.pb", slow)
        server.wait(lambda: server.loaded(MODEL) == {3}, "version 3 is not loaded")
