"""The replay, into a real store of MLflow's: told once and whole, in step with the releases, and no trouble spreads."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from common.errors import EnvironmentProblem, GateRefused
from serving.cli import main
from serving.mlflow_sync import follows, labels_of, released_labels, sync
from serving.registry.queue import MAX_ATTEMPTS, Queue
from serving.registry.replay import MlflowDown, Report, replay, without_secrets
from serving.release import commands as release
from serving.repository.manifest import Manifest
from tests.support.serving.memory_server import MemoryServer, memory_context
from tests.support.serving.tracked import DIGEST, FACTS, released, run_ended
from tests.support.serving.versions import bare_version, copy_version, tiny_files, wrong_golden

pytestmark = pytest.mark.slow

names = (f"m{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all: MLflow takes seconds to make its tables."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


class Site:
    """A model with a name of its own, versions, and a server in memory to release them on."""

    def __init__(self, folder: Path, client: Any) -> None:
        self.model, self.folder, self.client = next(names), folder, client
        self.root = folder / "serving"
        self.server = MemoryServer()
        self.context = memory_context(self.root, self.server)
        self.queue = Queue(self.root)
        client.create_experiment(self.model, artifact_location=(folder / "artifacts").as_uri())

    def push(self, version: int, change: Callable[[Path], None] = lambda folder: None) -> None:
        copy_version(tiny_files(self.folder / f"tiny{version}"), self.root / self.model, version, change)

    def release(self, version: int) -> None:
        release.promote(self.context, self.model, version)

    def sync(self, *, follow: bool = False) -> Report:
        def followed(model: str, version: int) -> Any:
            return labels_of(release.promote(self.context, model, version)) if follow else None

        return replay(self.root, released_labels(self.root), followed)

    def runs(self) -> list[Any]:
        return list(self.client.search_runs([self.client.get_experiment_by_name(self.model).experiment_id]))

    def aliases(self) -> dict[str, str]:
        """Which version of ours each alias points to, by the source that it was registered with."""
        model = self.client.get_registered_model(self.model)
        versions = {a: self.client.get_model_version(self.model, str(number)) for a, number in model.aliases.items()}
        return {alias: version.source.rpartition("/")[2] for alias, version in versions.items()}

    def by_hand(self, alias: str, version: int) -> None:
        found = self.client.search_model_versions(f"name='{self.model}'")
        [number] = [each.version for each in found if each.tags["serving.version"] == str(version)]
        self.client.set_registered_model_alias(self.model, alias, str(number))


@pytest.fixture
def site(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    return Site(tmp_path, MlflowClient(tracking_uri=store, registry_uri=store))


# Runs


def test_a_run_is_told_whole(site: Site) -> None:
    entry = run_ended(site.folder, site.model, "r1")
    site.queue.append(entry)

    report = site.sync()

    assert (report.runs, report.problems, report.waiting) == ([f"{site.model}, run r1"], [], 0)
    [run] = site.runs()
    assert run.info.status == "FINISHED"
    assert run.data.params["model.hidden_units"] == "[256, 128]"
    assert run.data.params["data.positive"] == "M"
    assert not {"title", "class_names.B"} & set(run.data.params)
    assert {key: run.data.metrics[key] for key in ("auc", "auc.lower", "auc.upper")} == {
        "auc": 0.99,
        "auc.lower": 0.95,
        "auc.upper": 1.0,
    }
    assert run.data.metrics["slice/sex__/auc"] == 0.9
    assert run.data.metrics["baseline/SVM _RBF_/auc"] == 0.98
    curve = site.client.get_metric_history(run.info.run_id, "epoch/loss")
    assert [(point.step, point.value) for point in curve] == [(1, 0.9), (2, 0.5)]
    assert run.data.tags["mlmd.run_id"] == "r1"
    assert json.loads(run.data.tags["mlmd.executions"]) == {"Trainer": 9}
    assert run.data.tags["gate.evaluation"] == "Blessed on 102 test rows."
    assert (run.data.tags["data.sha256"], run.data.tags["serving.version"]) == (DIGEST, "1")

    [given] = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("cells.csv", DIGEST[:36])
    assert json.loads(given.dataset.source)["sha256"] == DIGEST
    assert [column["type"] for column in json.loads(given.dataset.schema)["mlflow_colspec"]] == [
        "double",
        "string",
        "string",
    ]

    def files(folder: str | None = None) -> set[str]:
        listed = site.client.list_artifacts(run.info.run_id, folder)
        return {name for each in listed for name in (files(each.path) if each.is_dir else [each.path])}

    assert files() == {
        "class_names.json",
        "confusion_matrix.json",
        "report/model_card.md",
        "report/report.json",
        "schema/schema.pbtxt",
        "statistics/Split-train/FeatureStats.pb",
    }
    back = json.loads((Path(entry.folder) / "mlflow.json").read_text())
    assert back["run_id"] == run.info.run_id


def test_a_run_is_told_once(site: Site) -> None:
    for folder in ("first", "second"):
        site.queue.append(run_ended(site.folder / folder, site.model, "r1"))
        site.sync()
    [run] = site.runs()
    assert len(site.client.get_metric_history(run.info.run_id, "epoch/loss")) == 2


def test_a_telling_that_was_cut_short_is_completed(site: Site) -> None:
    entry = run_ended(site.folder, site.model, "r1")
    site.queue.append(entry)
    experiment = site.client.get_experiment_by_name(site.model).experiment_id
    begun = site.client.create_run(experiment, tags={"mlmd.run_id": "r1"}).info.run_id
    site.client.log_param(begun, "model.dropout", "0.3")

    site.sync()

    [run] = site.runs()
    assert (run.info.run_id, run.info.status, run.data.metrics["auc"]) == (begun, "FINISHED", 0.99)


def test_a_run_that_a_gate_stopped_is_told_with_what_it_left(site: Site) -> None:
    site.queue.append(run_ended(site.folder, site.model, "r1", facts=None, state="failed"))
    site.sync()
    [run] = site.runs()
    assert (run.info.status, run.data.params, run.data.tags["vouch.outcome"]) == ("FAILED", {}, "not pushed")
    assert {each.path for each in site.client.list_artifacts(run.info.run_id)} == {"schema", "statistics"}


def test_a_run_whose_report_is_gone_is_told_as_such(site: Site) -> None:
    entry = run_ended(site.folder, site.model, "r1")
    site.queue.append(entry)
    shutil.rmtree(str(entry.report))
    assert site.sync().problems == []
    [run] = site.runs()
    assert "removed before" in run.data.tags["vouch.missing"]


def test_what_mlflow_will_not_take_holds_up_no_other_and_is_given_up_in_the_end(site: Site) -> None:
    broken = run_ended(site.folder, site.model, "broken", facts={**FACTS, "metrics": [{"name": "auc"}]})
    whole = run_ended(site.folder, site.model, "whole")
    for entry in (broken, whole):
        site.queue.append(entry)

    report = site.sync()
    assert (report.runs, report.waiting) == ([f"{site.model}, run whole"], 1)
    assert "KeyError" in report.problems[0]
    for _ in range(1, MAX_ATTEMPTS):
        site.sync()
    assert ([each.entry.id for each in site.queue.refused()], site.queue.waiting()) == ([broken.id], [])


# Versions and aliases


def test_every_pushed_version_is_registered_once_with_its_place_and_digest(site: Site) -> None:
    site.push(1)
    site.queue.append(run_ended(site.folder, site.model, "run"))  # what the manifest says that it is of
    assert site.sync().versions == [f"{site.model} 1"]
    assert site.sync().versions == []
    [version] = site.client.search_model_versions(f"name='{site.model}'")
    assert version.source == f"vouch://serving/{site.model}/1"
    assert version.tags["serving.path"] == str(site.root / site.model / "1")
    manifest = Manifest.read(site.root / site.model / "1")
    assert (version.tags["serving.version"], version.tags["manifest.sha256"]) == ("1", manifest.digest)
    assert version.run_id == site.runs()[0].info.run_id


def test_another_version_of_the_same_number_is_another_one(site: Site) -> None:
    site.push(1)
    site.release(1)
    site.sync()
    before = site.client.get_model_version_by_alias(site.model, "production").version
    (site.root / site.model / "1").rename(site.folder / "old")
    bare_version(site.root / site.model, 1, digest="another")

    site.sync()

    assert str(site.client.get_model_version_by_alias(site.model, "production").version) != str(before)


def test_the_aliases_follow_the_releases(site: Site) -> None:
    for version in (1, 2):
        site.push(version)
    site.release(1)
    site.sync()
    assert site.aliases() == {"production": "1"}
    release.canary(site.context, site.model, 10, 2)
    site.sync()
    assert site.aliases() == {"production": "1", "candidate": "2"}
    site.release(2)
    site.sync()
    assert site.aliases() == {"production": "2"}
    release.rollback(site.context, site.model)
    assert site.sync().moved == []
    assert site.aliases() == {"production": "1"}
    version = site.client.get_model_version_by_alias(site.model, "production")
    assert (version.tags["release.what"], version.tags["release.who"]) == ("rollback", "tester")
    assert site.queue.waiting() == []


def test_an_alias_moved_by_a_person_is_told_and_left_until_the_next_release(site: Site) -> None:
    for version in (1, 2, 3):
        site.push(version)
    site.release(1)
    site.sync()
    site.by_hand("production", 2)
    for _ in range(2):
        [told] = site.sync().moved
        assert "production was moved to version 2, and version 1 is released" in told
        assert f"python -m serving promote {site.model} 2" in told
        assert site.aliases() == {"production": "2"}
    site.release(3)
    assert site.sync().moved == []
    assert site.aliases() == {"production": "3"}


def test_where_it_is_followed_the_version_passes_the_checks_of_a_release(site: Site) -> None:
    for version in (1, 2):
        site.push(version)
    site.release(1)
    site.sync()
    site.by_hand("production", 2)
    assert site.sync(follow=True).moved == []
    assert released_labels(site.root)[site.model] == {"production": 2, "candidate": None}
    site.sync()
    assert (site.aliases(), site.queue.waiting()) == ({"production": "2"}, [])


def test_a_version_that_a_release_refuses_loses_the_alias_again(site: Site) -> None:
    site.push(1)
    site.push(2, wrong_golden)
    site.release(1)
    site.sync()
    site.by_hand("production", 2)
    [told] = site.sync(follow=True).moved
    assert "was moved to version 2, which was refused" in told
    assert (site.aliases(), released_labels(site.root)[site.model]["production"]) == ({"production": "1"}, 1)
    refused = [v for v in site.client.search_model_versions(f"name='{site.model}'") if "vouch.refused" in v.tags]
    assert [version.tags["serving.version"] for version in refused] == ["2"]


def test_while_no_model_server_answers_a_moved_alias_waits(site: Site) -> None:
    for version in (1, 2):
        site.push(version)
    site.release(1)
    site.sync()
    site.by_hand("production", 2)
    site.server.is_down = True
    [told] = site.sync(follow=True).moved
    assert ("cannot be released now" in told, site.aliases()) == (True, {"production": "2"})
    site.server.is_down = False
    assert site.sync(follow=True).moved == []
    assert released_labels(site.root)[site.model]["production"] == 2


def test_an_alias_on_a_version_that_is_none_of_ours_is_told(site: Site) -> None:
    site.push(1)
    site.release(1)
    site.sync()
    other = site.client.create_model_version(site.model, "s3://elsewhere/model")
    site.client.set_registered_model_alias(site.model, "production", str(other.version))
    [told] = site.sync(follow=True).moved
    assert "which is none of ours" in told


def test_an_alias_taken_away_by_a_person_comes_back(site: Site) -> None:
    site.push(1)
    site.release(1)
    site.sync()
    site.client.delete_registered_model_alias(site.model, "production")
    site.sync()
    assert site.aliases() == {"production": "1"}


@pytest.mark.parametrize(("setting", "is_followed"), [("", False), ("registry: {follow: true}", True)])
def test_a_models_settings_say_whether_it_follows(tmp_path: Path, setting: str, is_followed: bool) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "pipeline.yaml").write_text(
        f"name: m\ndata: {{source: d.csv, label: l, classes: [a, b]}}\n{setting}\n"
    )
    assert follows(tmp_path, "m") is is_followed
    assert not follows(tmp_path, "without_settings")


def test_what_the_settings_say_is_what_a_sync_does(site: Site) -> None:
    for version in (1, 2):
        site.push(version)
    site.release(1)
    folder = site.folder / "config" / site.model
    folder.mkdir(parents=True)
    text = f"name: {site.model}\ndata: {{source: d.csv, label: l, classes: [a, b]}}\nregistry: {{follow: true}}\n"
    (folder / "pipeline.yaml").write_text(text)
    sync(site.context, folder.parent)
    site.by_hand("production", 2)
    sync(site.context, folder.parent)
    assert released_labels(site.root)[site.model]["production"] == 2


# MLflow away, or closed


@pytest.fixture
def hanging() -> Iterator[tuple[str, list[int]]]:
    """A server that takes connections, and never answers."""
    taken: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_connections = []

        def take() -> None:
            while True:
                try:
                    open_connections.append(server.accept()[0])
                except OSError:
                    return
                taken.append(1)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", taken
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in open_connections:
            connection.close()


def test_a_server_that_hangs_is_asked_once_and_nothing_is_lost(
    site: Site, hanging: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.push(1)
    site.release(1)  # goes on: it only appends
    site.queue.append(run_ended(site.folder, site.model, "r1"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", hanging[0])
    with pytest.raises(MlflowDown, match="within 2 s"):
        site.sync()
    assert len(hanging[1]) == 1
    waiting = site.queue.waiting()
    assert ([each.entry.kind for each in waiting], [each.attempts for each in waiting]) == (["run", "release"], [0, 0])


def test_a_server_that_is_not_there_is_told_with_the_cure(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.queue.append(run_ended(site.folder, site.model, "r1"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:1")
    with pytest.raises(MlflowDown, match="correct MLFLOW_TRACKING_URI") as told:
        site.sync()
    assert "MLflow at http://127.0.0.1:1 does not answer" in told.value.what


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://user:secret@host:1/path", "https://host:1/path"),
        ("postgresql+psycopg://user:s%40cret@host/db", "postgresql+psycopg://host/db"),
        ("sqlite:////srv/me@home/mlflow.db", "sqlite:////srv/me@home/mlflow.db"),
    ],
)
def test_a_password_in_the_address_is_never_shown(uri: str, shown: str) -> None:
    assert without_secrets(uri) == shown


def test_a_token_is_sent_and_asked_for_where_it_is_missing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[str | None] = []

    class Guarded(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(self.headers["Authorization"])
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    site.queue.append(run_ended(site.folder, site.model, "r1"))
    with HTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a token")
        with pytest.raises(EnvironmentProblem, match="MLFLOW_TRACKING_TOKEN"):
            site.sync()
        server.shutdown()
    assert tokens == ["Bearer a token"]
    assert [each.attempts for each in site.queue.waiting()] == [0]


def test_one_replay_at_a_time(site: Site) -> None:
    from common.files import locked

    with locked(site.root / ".registry" / "lock", "busy"), pytest.raises(EnvironmentProblem, match="another replay"):
        site.sync()


# The command line


def command(site: Site, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["registry", *arguments], env={"VOUCH_VAR": str(site.folder)})


def test_the_command_line_tells_what_waits_and_then_that_nothing_does(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.push(1)
    release.promote(memory_context(site.root, MemoryServer()), site.model, 1)
    before = command(site, "status", "--json")
    assert (before.exit_code, len(json.loads(before.output)["waiting"])) == (1, 1)
    assert json.loads(before.output)["behind"] == [
        f"{site.model}: version 1 is production, and MLflow was last told of no version"
    ]
    done = command(site, "sync", "--json")
    assert (done.exit_code, json.loads(done.output)["versions"]) == (0, [f"{site.model} 1"]), done.output
    assert command(site, "status").exit_code == 0
    assert "nothing new for MLflow" in command(site, "sync").output

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    down = command(site, "sync")
    assert (down.exit_code, "does not answer" in down.output) == (5, True)


def test_a_release_that_follows_raises_what_every_release_raises(site: Site) -> None:
    site.push(1)
    site.push(2, wrong_golden)
    site.release(1)
    with pytest.raises(GateRefused):
        site.release(2)
    assert len(site.queue.waiting()) == 1


def test_another_models_release_is_told_though_one_model_is_broken(site: Site) -> None:
    site.push(1)
    site.release(1)
    manifest = site.root / "broken" / "1" / "assets.extra"
    manifest.mkdir(parents=True)
    (manifest / "manifest.json").write_text("{")
    site.queue.append(released("broken", "x"))
    report = site.sync()
    assert ["broken" in problem for problem in report.problems] == [True]
    assert (site.aliases(), [each.entry.model for each in site.queue.waiting()]) == ({"production": "1"}, ["broken"])
