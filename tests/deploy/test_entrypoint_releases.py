"""Releases under the image's entry point, with the embedded server in TensorFlow Serving's place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from serving.client.grpc import GrpcClient
from serving.release import commands as release
from serving.release.servers import ReleaseContext
from tests.support.serving.entrypoint import EntryPoint, entry_point, load
from tests.support.serving.versions import copy_version, tiny_model, unloadable

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
        server.serves(MODEL, 2)
        server.stays(lambda: server.version(MODEL) == 2)


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
