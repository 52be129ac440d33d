"""Labelled pictures become the next span: in a folder of their own, with their provenance, and nothing old changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from common.records import image_labels, images, labels
from common.records.image_labels import ImageLabel
from common.records.images import FOLDER
from config.data_settings import IMAGE_BYTES
from config.load import load_settings
from monitoring.cli import main
from monitoring.controller.deeds import Deeds
from tests.support.web.apps import open_database
from tests.support.web.logged import batch, put
from tests.support.web.pictures import COLOURS, picture
from webapp.types import RequestInfo

AT = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
CONFIG = """
name: garden
data: {source: ../pictures, format: images, classes: [blue, green, red]}
model: {kind: cnn}
evaluation: {metrics: [auc, accuracy]}
"""


class Garden:
    """A configuration, a folder of examples, and pictures that were predicted and kept."""

    def __init__(self, root: Path) -> None:
        self.var, self.source, self.config = root / "var", root / "pictures", root / "config"
        self.config.mkdir()
        (self.config / "pipeline.yaml").write_text(CONFIG)
        for colour in COLOURS:
            (self.source / colour).mkdir(parents=True)
            (self.source / colour / "old.png").write_bytes(picture(colour, kind="PNG"))
        self.database = open_database(self.var / "webapp.sqlite")
        with self.database.reading():
            pass

    def predicted(self, data: bytes, *, at: datetime = AT, reference: str = "", label: str = "red") -> str:
        """Have a picture kept and logged as the web app does; return its hash."""
        sha256 = hashlib.sha256(data).hexdigest()
        images.keep(self.var / FOLDER / "garden", at.date(), sha256, data)
        asked = RequestInfo(f"request-{sha256[:8]}-{reference}", "ann", "page", reference=reference)
        logged = batch(
            1,
            at,
            "garden",
            asked=asked,
            columns={IMAGE_BYTES: [sha256]},
            labels=[label],
            classes=COLOURS,
            positive=None,
            probabilities=np.float32([[0.2, 0.2, 0.6]]),
        )
        put(self.var / "predictions" / "garden", logged)
        return sha256

    def told(self, sha256: str, label: str | None, who: str = "ann") -> None:
        with self.database.writing() as connection:
            image_labels.tell(connection, "garden", ImageLabel(sha256, who, label, AT))

    def files(self) -> dict[str, bytes]:
        """What a run would read, and all else, by path."""
        return {str(p.relative_to(self.source)): p.read_bytes() for p in self.source.rglob("*") if p.is_file()}

    def run(self, *arguments: object) -> Result:
        command = ["collect", "garden", "--config", str(self.config), *map(str, arguments)]
        return CliRunner().invoke(main, command)


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Garden]:
    monkeypatch.setenv("VOUCH_VAR", str(tmp_path / "var"))
    made = Garden(tmp_path)
    yield made
    made.database.close()


def sized(number: int, colour: str = "red") -> bytes:
    """A picture like no other."""
    return picture(colour, (20 + number, 30), "PNG")


def test_labelled_pictures_become_a_span_and_nothing_old_changes(garden: Garden) -> None:
    before = garden.files()
    first, second = garden.predicted(sized(1), reference="bed 7"), garden.predicted(sized(2), label="blue")
    garden.predicted(sized(3))  # nobody said anything
    garden.told(first, "red")
    garden.told(second, "green")
    done = garden.run()
    assert done.exit_code == 0, done.output
    assert "2 pictures added" in done.output
    after = garden.files()
    assert {path: after[path] for path in before} == before
    span = garden.source / "collected-0001"
    assert (span / "red" / f"{first}.png").read_bytes() == sized(1)
    assert (span / "green" / f"{second}.png").read_bytes() == sized(2)
    rows = {row["sha256"]: row for row in pq.read_table(span / ".provenance.parquet").to_pylist()}
    assert rows[first]["references"] == ["bed 7"]
    assert (rows[second]["label"], rows[second]["predicted_label"], rows[second]["version"]) == ("green", "blue", 1)
    assert rows[second]["told_by"] == ["ann"]
    assert rows[second]["predicted"] == AT
    assert json.loads((span / ".span.json").read_text())["added"] == 2
    assert all(path.rpartition("/")[2].startswith((".", "old")) or path.endswith(".png") for path in after)


def test_a_second_span_has_what_is_new_alone(garden: Garden) -> None:
    garden.told(garden.predicted(sized(1)), "red")
    assert garden.run().exit_code == 0
    again = garden.run()
    assert again.exit_code == 3
    assert "1 collected before" in again.output
    garden.told(garden.predicted(sized(2)), "red")
    assert garden.run("--json").exit_code == 0
    assert len(list((garden.source / "collected-0002").rglob("*.png"))) == 1


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([("ann", "red"), ("ben", "blue")], "people contradict each other"),
        ([("ann", None)], "bad picture"),
        ([("ann", "violet")], "a label that is no class"),
    ],
)
def test_what_is_no_example_is_set_aside(garden: Garden, said: list[tuple[str, str | None]], reason: str) -> None:
    good, odd = garden.predicted(sized(1)), garden.predicted(sized(2))
    garden.told(good, "red")
    for who, label in said:
        garden.told(odd, label, who)
    done = garden.run()
    assert f"1 set aside: {reason}" in done.output
    assert "1 picture added" in done.output
    assert pq.read_table(garden.source / "collected-0001" / ".set_aside.parquet").to_pylist() == [
        {"sha256": odd, "reason": reason}
    ]


@pytest.mark.parametrize(("label", "reason"), [("red", "an example already"), ("blue", "an example has another label")])
def test_an_example_that_is_there_is_not_taken_again(garden: Garden, label: str, reason: str) -> None:
    known = garden.predicted((garden.source / "red" / "old.png").read_bytes())
    garden.told(known, label)
    done = garden.run()
    assert done.exit_code == 3
    assert reason in done.output


def test_made_up_ones_and_too_many_of_one_user_are_set_aside(garden: Garden) -> None:
    garden.told(garden.predicted(sized(1), reference="synthetic:none"), "red")
    for number in (2, 3):
        garden.told(garden.predicted(sized(number)), "red")
    done = garden.run("--most-per-user", 1)
    assert "1 set aside: synthetic" in done.output
    assert "1 set aside: too many of one user" in done.output


def test_only_what_was_predicted_in_the_period_is_taken(garden: Garden) -> None:
    garden.told(garden.predicted(sized(1)), "red")
    garden.told(garden.predicted(sized(2), at=AT + timedelta(days=2)), "red")
    assert "1 picture added" in garden.run("--from", "2026-11-21").output


def test_pictures_are_sorted_in_a_file_manager(garden: Garden, tmp_path: Path) -> None:
    hashes = [garden.predicted(sized(number)) for number in range(4)]
    garden.told(hashes[0], "red")
    folder = tmp_path / "sorted"
    assert "4 pictures copied" in garden.run("--export", folder).output
    assert [path.name for path in (folder / "red").iterdir()] == [f"{hashes[0]}.png"]
    assert len(list((folder / "unsorted").iterdir())) == 3
    (folder / "unsorted" / f"{hashes[1]}.png").rename(folder / "green" / "a name of my own.png")
    (folder / "bad_picture").mkdir()
    (folder / "unsorted" / f"{hashes[2]}.png").rename(folder / "bad_picture" / "x.png")
    (folder / "blue" / "stranger.png").write_bytes(sized(40))
    done = garden.run("--import", folder)
    assert "3 labels taken, 0 known, 1 file not kept" in done.output
    assert "3 labels taken" not in garden.run("--import", folder).output
    with garden.database.reading() as connection:
        said = image_labels.of_model(connection, "garden")
        assert [each.label for each in said[hashes[1]]] == ["green"]
        assert [each.label for each in said[hashes[2]]] == [None]
        request = f"request-{hashes[1][:8]}-"
        assert labels.of_requests(connection, "garden", [request])[request, 0].label == "green"
    assert "2 pictures added" in garden.run().output


def test_a_folder_that_is_no_class_is_refused_before_anything_is_taken(garden: Garden, tmp_path: Path) -> None:
    garden.predicted(sized(1))
    folder = tmp_path / "sorted"
    garden.run("--export", folder)
    (folder / "purple").mkdir()
    done = garden.run("--import", folder)
    assert done.exit_code == 3
    assert "purple" in done.output
    assert garden.run("--export", folder).exit_code == 3


def test_a_reference_is_taken_out_of_all_spans(garden: Garden) -> None:
    garden.told(garden.predicted(sized(1), reference="bed 7"), "red")
    garden.told(garden.predicted(sized(2)), "red")
    garden.run()
    done = CliRunner().invoke(main, ["forget", "garden", "bed 7", "--config", str(garden.config)])
    assert done.output == "span 1: 1 picture taken out\n"
    span = garden.source / "collected-0001"
    assert len(list(span.rglob("*.png"))) == 1
    assert pq.read_table(span / ".provenance.parquet").num_rows == 1
    facts = json.loads((span / ".span.json").read_text())
    assert (facts["version"], facts["forgotten"]) == (2, 1)
    assert CliRunner().invoke(main, ["forget", "garden", "bed 7", "--config", str(garden.config)]).exit_code == 3


def test_without_a_database_there_is_nothing_to_collect(
    garden: Garden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOUCH_VAR", str(tmp_path / "elsewhere"))
    done = garden.run()
    assert done.exit_code == 3
    assert "start the web app once" in done.output


def test_what_is_for_tables_is_refused(garden: Garden) -> None:
    assert garden.run("--dvc").exit_code == 2


def test_the_controller_counts_collects_and_withdraws_pictures(garden: Garden) -> None:
    deeds = Deeds(garden.var, garden.config, load_settings(garden.config), "127.0.0.1:1", "tester")
    first = garden.predicted(sized(1), reference="bed 7")
    garden.told(first, "red")
    garden.predicted(sized(2))
    assert (deeds.collectable(), deeds.newest_span()) == (1, 0)
    assert garden.run().exit_code == 0
    assert (deeds.collectable(), deeds.newest_span(), deeds.rows_of(1)) == (0, 1, 1)
    deeds.withdraw(1)
    assert (deeds.collectable(), deeds.newest_span()) == (1, 0)
    assert not any(path.endswith(f"{first}.png") for path in garden.files() if not path.startswith("."))
    assert garden.run().exit_code == 0
    assert deeds.newest_span() == 2, "the number is not given again"
    deeds.clear_up()
    assert sorted(path.name for path in garden.source.glob("[.c]*-*")) == [".withdrawn-0001", "collected-0002"]
    assert CliRunner().invoke(main, ["forget", "garden", "bed 7", "--config", str(garden.config)]).exit_code == 0
    assert not (garden.source / ".withdrawn-0001").exists()
