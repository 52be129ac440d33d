"""Servers that are not as the releases left them, and several of them. Each test has a model of its own."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import DataError, EnvironmentProblem, GateRefused
from serving.client.errors import ModelServerDown
from serving.client.grpc import GrpcClient
from serving.release import commands as release
from serving.release.servers import Plan, make_config, resolve
from serving.release.state import CONFIG, LOG, STATE, Record, State, Store
from tests.support.serving.release_server import Hall
from tests.support.serving.running import Running, begin, end, wait_until_up
from tests.support.serving.versions import copy_version, unloadable


def tell(hall: Hall, model: str, stable: int, client: GrpcClient | None = None) -> None:
    """Give a server a config that no release made."""
    client = client or hall.client
    for labels in ({}, {"stable": stable}):
        client.reload_config(make_config(hall.context.root, {model: Plan((stable,), labels)}))
        Hall(hall.running, client, hall.tiny).settles(model, stable)


@pytest.mark.slow
def test_a_server_that_was_given_another_config_is_told_of_and_put_right(hall: Hall) -> None:
    model = hall.model(1, 2, 3)
    release.promote(hall.context, model, 2)
    release.promote(hall.context, model, 3)
    assert list(release.differences(hall.context, model).values()) == [""]
    tell(hall, model, 2)
    [difference] = release.differences(hall.context, model).values()
    assert "label stable answers with version 2 instead of 3" in difference
    assert release.promote(hall.context, model, 3) == State(3, 2)
    assert hall.version(model, "stable") == 3
    assert list(release.differences(hall.context, model).values()) == [""]

    tell(hall, model, 1)
    assert release.rollback(hall.context, model) == State(2)
    assert (hall.version(model, "stable"), hall.version(model)) == (2, 2)
    hall.settles(model, 2)


@pytest.mark.slow
def test_after_the_stable_version_was_lost_another_can_be_promoted(hall: Hall) -> None:
    model = hall.model(1, 2, 3, 4)
    release.promote(hall.context, model, 4)
    assert release.promote(hall.context, model, 3) == State(3), "no way back: 4 is larger"
    shutil.rmtree(hall.base(model) / "3")
    hall.settles(model)
    with pytest.raises(DataError, match="no version 3"):
        release.promote(hall.context, model, 3)
    assert release.promote(hall.context, model, 2) == State(2), "what is gone is not kept for a rollback"
    assert (hall.version(model, "stable"), hall.version(model)) == (2, 2)


@pytest.mark.slow
def test_a_failed_promotion_of_a_model_that_lost_its_stable_version_leaves_nothing_loaded(hall: Hall) -> None:
    model = hall.model(1)
    copy_version(hall.tiny, hall.base(model), 2, unloadable)
    shutil.rmtree(hall.base(model) / "1")
    hall.settles(model)
    with pytest.raises(GateRefused, match="could not load version 2"):
        release.promote(hall.context, model, 2)
    hall.settles(model)
    copy_version(hall.tiny, hall.base(model), 3)
    assert release.promote(hall.context, model, 3) == State(3)


@pytest.mark.slow
def test_a_rollback_to_a_version_that_is_gone_is_refused_at_once(hall: Hall) -> None:
    model = hall.model(1, 2)
    release.promote(hall.context, model, 2)
    shutil.rmtree(hall.base(model) / "1")
    with pytest.raises(DataError, match="no version 1"):
        release.rollback(replace(hall.context, load_timeout_s=float("inf")), model)
    assert hall.version(model, "stable") == 2
    hall.settles(model, 2)
    assert "version 1 is not loaded for a rollback" in "".join(release.differences(hall.context, model).values())


@pytest.mark.slow
def test_a_version_that_failed_to_load_can_be_promoted_once_it_is_repaired(hall: Hall) -> None:
    model = hall.model(1)
    folder = copy_version(hall.tiny, hall.base(model), 2, unloadable)
    tell(hall, model, 1)
    hall.client.reload_config(make_config(hall.context.root, {model: Plan((1, 2), {"stable": 1})}))  # asked for, failed
    with pytest.raises(GateRefused, match="could not load"):
        release.promote(hall.context, model, 2)
    shutil.rmtree(folder)
    copy_version(hall.tiny, hall.base(model), 2)
    assert release.promote(hall.context, model, 2) == State(2, 1)


@pytest.mark.slow
def test_one_models_trouble_stops_no_other(hall: Hall) -> None:
    lost, broken, model = hall.model(1, 2), hall.model(1), hall.model(1, 2)
    release.promote(hall.context, lost, 2)
    tell(hall, lost, 1)  # its label is elsewhere, and what it should be on is gone: a server refuses to move it
    shutil.rmtree(hall.base(lost) / "2")
    for name in (STATE, LOG):
        (hall.base(broken) / name).write_text("{")
    assert release.promote(hall.context, model, 2) == State(2, 1)
    assert hall.version(lost, "stable") == 1, "it goes on with what it has"
    assert hall.version(broken, "stable") == 1, "models.config knows what it was"
    assert release.promote(hall.context, broken, 1) == State(1)
    assert release.promote(hall.context, lost, 1) == State(1)


@pytest.mark.parametrize("text", ["", "{", '{"state": {"stable": null}, "intent": null}', None])
@pytest.mark.slow
def test_a_state_that_is_broken_or_lost_is_restored_from_the_log(hall: Hall, text: str | None) -> None:
    model = hall.model(1, 2, 3)
    release.promote(hall.context, model, 2)
    path = hall.base(model) / STATE
    path.unlink() if text is None else path.write_text(text)
    assert release.canary(hall.context, model, 10, 3) == State(2, 1, 3, 10)
    path.write_text("{")
    assert release.rollback(hall.context, model) == State(2, 1)


@pytest.mark.slow
def test_a_first_release_takes_the_version_that_is_named(hall: Hall) -> None:
    model = hall.model(1)
    (hall.base(model) / STATE).unlink()
    (hall.base(model) / LOG).unlink()
    (hall.context.root / CONFIG).unlink()
    copy_version(hall.tiny, hall.base(model), 2)
    assert release.promote(hall.context, model, 1) == State(1)
    assert [entry.what for entry in Store(hall.context.root, model).history()] == ["first"]


@pytest.mark.parametrize("error", [RuntimeError("a fault"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
@pytest.mark.parametrize("step", ["intended", "loaded", "checked", "decided", "labelled"])
@pytest.mark.slow
def test_whatever_is_raised_on_the_way_undoes(hall: Hall, step: str, error: BaseException) -> None:
    model = hall.model(1, 2)

    def fail(reached: str) -> None:
        if reached == step:
            raise error

    with pytest.raises(type(error)):
        release.promote(replace(hall.context, reached=fail), model, 2)
    assert Store(hall.context.root, model).read() == Record(State(1))
    assert hall.version(model, "stable") == 1
    hall.settles(model, 1)


@pytest.fixture(scope="module")
def started() -> Iterator[list[Running]]:
    servers: list[Running] = []
    yield servers
    for server in servers:
        if server.process.poll() is None:
            end(server.process)


@pytest.fixture
def second(hall: Hall, started: list[Running], tmp_path: Path) -> Running:
    """Another server on the same folder: the last one that was started, unless a test killed it."""
    if not started or started[-1].process.poll() is not None:
        flags = ("--allow_version_labels_for_unavailable_models=true", "--max_num_load_retries=0")
        hall.model(1)  # writes the config anew, without what other tests spoiled
        started.append(begin(tmp_path / "second.log", f"--model_config_file={hall.context.root / CONFIG}", *flags))
        wait_until_up(started[-1])
    return started[-1]


@pytest.mark.slow
def test_a_release_reaches_every_server_and_each_is_compared(hall: Hall, second: Running) -> None:
    model = hall.model(1, 2, 3)
    with closing(GrpcClient(second.grpc_address)) as other:
        context = replace(hall.context, clients=(hall.client, other))
        there = Hall(hall.running, other, hall.tiny)
        assert "nothing" in release.differences(context, model)[other.address], "it does not know the model yet"
        assert release.promote(context, model, 2) == State(2, 1)
        assert release.canary(context, model, 10, 3) == State(2, 1, 3, 10)
        for each in (hall, there):
            assert (each.version(model, "stable"), each.version(model, "candidate")) == (2, 3)
        assert release.rollback(context, model) == State(2, 1)
        assert release.rollback(context, model) == State(1)
        for each in (hall, there):
            each.settles(model, 1)
        tell(hall, model, 3, other)
        seen = release.differences(context, model)
        assert (seen[hall.client.address], "version 3 instead of 1" in seen[other.address]) == ("", True)
        release.promote(context, model, 1)
        assert set(release.differences(context, model).values()) == {""}


@pytest.mark.slow
def test_with_a_server_that_is_down_no_label_moves(hall: Hall) -> None:
    model = hall.model(1, 2)
    with closing(GrpcClient("127.0.0.1:1")) as nobody, pytest.raises(ModelServerDown, match=r"127\.0\.0\.1:1"):
        release.promote(replace(hall.context, clients=(hall.client, nobody)), model, 2)
    with closing(GrpcClient("127.0.0.1:1")) as nobody:
        differences = release.differences(replace(hall.context, clients=(hall.client, nobody)), model)
    assert differences[hall.client.address] == ""
    assert "no answer" in differences["127.0.0.1:1"]
    assert Store(hall.context.root, model).read() == Record(State(1))
    assert hall.version(model, "stable") == 1


@pytest.mark.parametrize("step", ["loaded", pytest.param("decided", marks=pytest.mark.exhaustive)])
@pytest.mark.slow
def test_a_server_that_dies_midway_undoes_the_release_everywhere(hall: Hall, second: Running, step: str) -> None:
    model = hall.model(1, 2)
    with closing(GrpcClient(second.grpc_address)) as other:

        def die(reached: str) -> None:
            if reached == step:
                second.process.kill()
                second.process.wait()

        context = replace(hall.context, clients=(hall.client, other), reached=die)
        with pytest.raises(EnvironmentProblem, match=f"could be told to go back[\\s\\S]*{other.address}"):
            release.promote(context, model, 2)
    assert Store(hall.context.root, model).read() == Record(State(1))
    assert hall.version(model, "stable") == 1
    hall.settles(model, 1)
    assert release.promote(hall.context, model, 2) == State(2, 1), "by those that are left"


@pytest.mark.parametrize(
    ("addresses", "wanted"),
    [
        ("127.0.0.1:8500", ("127.0.0.1:8500",)),
        ("localhost:8500", ("localhost:8500",)),
        ("127.0.0.1:1, 127.0.0.1:2,127.0.0.1:1,", ("127.0.0.1:1", "127.0.0.1:2")),
        ("unix:/run/model.sock", ("unix:/run/model.sock",)),
        ("[::1]:8500", ("[::1]:8500",)),
        ("no-such-host.invalid:8500", ("no-such-host.invalid:8500",)),
    ],
)
def test_each_server_has_an_address(addresses: str, wanted: tuple[str, ...]) -> None:
    assert resolve(addresses) == wanted


@pytest.mark.parametrize(
    ("family", "hosts", "wanted"),
    [
        (socket.AF_INET, ("10.0.0.2", "10.0.0.1"), ("10.0.0.1:8500", "10.0.0.2:8500")),
        (socket.AF_INET6, ("fd00::1", "fd00::2"), ("[fd00::1]:8500", "[fd00::2]:8500")),
    ],
)
def test_the_name_of_a_headless_service_is_all_its_servers(
    monkeypatch: pytest.MonkeyPatch, family: int, hosts: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    def name_service(host: str, port: int, asked: int, kind: int) -> list[tuple[object, ...]]:
        if asked != family:
            raise socket.gaierror("no address of this family")
        return [(family, kind, 6, "", (address, port)) for address in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", name_service)
    assert resolve("models-headless:8500") == wanted
