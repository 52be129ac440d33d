"""Releases under the image's entry point, with the embedded server in TensorFlow Serving's place."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
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
names = (f"{MODEL}_{number}" for number in itertools.count(1))
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


@dataclass(frozen=True)
class Pair:
    """Two servers on one folder of models: releases tell one by gRPC, and the other follows."""

    models: Path
    told: EntryPoint
    following: EntryPoint
    context: ReleaseContext

    @property
    def servers(self) -> list[EntryPoint]:
        return [self.told, self.following]

    def serve(self, model: str, version: int | None, label: str = "stable") -> None:
        for server in self.servers:
            server.serves(model, version, label)


@pytest.fixture(scope="module")
def pair(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    models = folder / "serving"
    copy_version(tiny, models / "first", 1)
    release.prepare(ReleaseContext(models, (), "tester"))
    with (
        entry_point(models, folder / "told") as told,
        entry_point(models, folder / "following") as following,
        releasing(models, told) as context,
    ):
        started = Pair(models, told, following, context)
        started.serve("first", 1)
        yield started


@pytest.fixture
def model(pair: Pair, tiny: Path) -> str:
    """A model of the test's own with three versions, of which the first is released."""
    name = next(names)
    copy_version(tiny, pair.models / name, 1)
    release.promote(pair.context, name)
    for version in (2, 3):
        copy_version(tiny, pair.models / name, version)
    pair.serve(name, 1)
    return name


def release_and_see(pair: Pair, model: str, rounds: int) -> None:
    """Canary, promote and roll back, and see each step on every server."""
    for number in range(rounds):
        release.canary(pair.context, model, 10, 3)
        pair.serve(model, 3, "candidate")
        release.promote(pair.context, model, 2 + number % 2)
        pair.serve(model, 2 + number % 2)
        release.rollback(pair.context, model)
        pair.serve(model, 1)


@pytest.mark.parametrize("rounds", [2, pytest.param(17, marks=pytest.mark.exhaustive)])
def test_no_release_is_taken_back_by_the_servers_own_poll(pair: Pair, model: str, rounds: int) -> None:
    """Nor by that of a server that is not told by gRPC: it must load what is released before it moves a label."""
    with load(pair.told.url, model, ROWS) as told, load(pair.following.url, model, ROWS) as following:
        release_and_see(pair, model, rounds)
        release.promote(pair.context, model, 2)
        pair.told.stays(lambda: pair.told.version(model) == 2)
        release.rollback(pair.context, model)
        pair.told.stays(lambda: pair.told.version(model) == 1)
    assert set(told) | set(following) == {"good"}
    assert (pair.told.log.parent / "models.config").readlink() == pair.models / "models.config"


@pytest.mark.exhaustive
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


def test_a_model_that_is_first_released_while_the_server_runs_is_served(pair: Pair, tiny: Path) -> None:
    later = next(names)
    copy_version(tiny, pair.models / later, 1)
    pair.told.stays(lambda: not pair.told.loaded(later))  # pushed, and not promoted yet
    release.promote(pair.context, later)
    pair.serve(later, 1)
    for server in pair.servers:
        server.wait(lambda at=server: at.health(later).returncode == 0, "later is not healthy")  # type: ignore[misc]
        server.stays(lambda at=server: (at.version(later), at.version("first")) == (1, 1))  # type: ignore[misc]


@pytest.mark.exhaustive
def test_a_version_whose_folder_vanishes_is_told_of_and_a_command_heals_it(
    pair: Pair, model: str, tmp_path: Path
) -> None:
    server, models, context = pair.told, pair.models, pair.context
    with own_app(tmp_path / "web", models, server.url) as (app, _):
        release.promote(context, model, 2)
        client = app.test_client()
        assert status(server, models) == (0, "")

        shutil.rmtree(models / model / "1")  # kept for a rollback only
        server.wait(lambda: server.loaded(model) == {2}, "version 1 is not let go")
        code, said = status(server, models)
        assert code == 1
        assert f"{model} on {server.grpc} is not as released: version 1 is not loaded for a rollback" in said
        assert client.get(f"/readyz?model={model}").status_code == 200
        with pytest.raises(DataError, match="no version 1"):
            release.rollback(context, model)
        server.serves(model, 2)

        shutil.rmtree(models / model / "2")  # the stable one
        server.serves(model, None)
        code, said = status(server, models)
        assert code == 1
        assert "label stable answers with nothing instead of 2" in said
        assert f"{model} stays as it was: version 2, which is stable, is not whole" in server.log.read_text()
        ready = wait_for_answer(lambda: client.get(f"/readyz?model={model}"), 503)
        assert ready.json["reasons"] == [f"{model}: version 2 is END"]
        assert client.get("/readyz").status_code == 200, "the other can be asked"
        assert (server.health(model).returncode, server.health().returncode) == (1, 0)
        server.serves("first", 1)

        assert release.promote(context, model, 3) == State(3)
        server.comes_to_stay(lambda: (server.version(model), server.version("first")) == (3, 1))
        assert status(server, models) == (0, "")
        wait_for_answer(lambda: client.get(f"/readyz?model={model}"), 200)


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


@pytest.mark.exhaustive
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
