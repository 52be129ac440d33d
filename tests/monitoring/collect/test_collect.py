"""The next span from a log and its labels: what is taken, what is set aside, and what is never touched."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from common.errors import ConfigError, DataError
from common.records.labels import Feedback
from common.records.spans import synthetic_rows
from common.tables.splitting import Splitter
from config.load import load_settings
from config.schema import Feature, model_features, read_schema
from config.settings import Settings
from monitoring.cli import main
from monitoring.collect.examples import examples_of
from monitoring.collect.rows import LabelledRow
from monitoring.collect.spans import Spans, write_dvc_pointers
from tests.support.drift import Watched
from tests.support.web.logged import batch, put
from webapp.types import RequestInfo

DVC = "dvc==3.67.1"
OLD = [(20.0, "a", "no"), (30.5, "b", "yes"), (40.0, "", "no")]
AT = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
SCHEMA = """
feature { name: "size" type: FLOAT presence { min_fraction: 1.0 } float_domain { min: 0 max: 100 } }
feature { name: "kind" type: BYTES string_domain { value: "a" value: "b" value: "c" } }
feature { name: "outcome" type: BYTES presence { min_fraction: 1.0 } string_domain { value: "no" value: "yes" } }
"""
CONFIG = """
name: patients
schema: schema.pbtxt
data: {{source: "{source}", format: {format}, label: outcome, classes: [no, yes], ignore: [id]}}
{more}
"""


class Hospital:
    """A configuration, a span of examples, and a log of predictions."""

    def __init__(self, root: Path, data_format: str = "csv", source: str = "", more: str = "") -> None:
        self.config, self.data, self.watched = root / "config", root / "data", Watched(root / "var")
        self.config.mkdir()
        (self.config / "schema.pbtxt").write_text(SCHEMA)
        source = source or f"../data/span-{{SPAN}}/*.{data_format}"
        (self.config / "pipeline.yaml").write_text(CONFIG.format(source=source, format=data_format, more=more))
        first = self.data / "span-1"
        first.mkdir(parents=True)
        if data_format == "csv":
            rows = [f"{number};{size};{kind};{label}" for number, (size, kind, label) in enumerate(OLD)]
            (first / "rows.csv").write_text("\r\n".join(["id;size;kind;outcome", *rows]) + "\r\n")
            text = (self.config / "pipeline.yaml").read_text().replace("ignore: [id]", "ignore: [id], delimiter: ';'")
            (self.config / "pipeline.yaml").write_text(text)
        else:
            table = pa.table(dict(zip(("size", "kind", "outcome"), zip(*OLD, strict=True), strict=True)))
            pq.write_table(table.append_column("id", pa.array([1, 2, 3])), first / "rows.parquet")

    @property
    def settings(self) -> Settings:
        return load_settings(self.config)

    def asked(self, rows: list[tuple[Any, str | None]], labels: dict[int, str], **given: Any) -> None:
        """Have rows predicted, and some of them labelled by a user."""
        at, who, reference = (given.get(k, v) for k, v in (("at", AT), ("who", "ann"), ("reference", "")))
        put(
            self.watched.var / "predictions" / "patients",
            batch(
                len(rows),
                at,
                "patients",
                columns={"size": np.array([size for size, _ in rows], float), "kind": [kind or "" for _, kind in rows]},
                labels=["no"] * len(rows),
                asked=RequestInfo(f"request-{at:%d%H%M%S%f}", "ann", "api", reference=reference),
            ),
        )
        self.watched.label(at, labels, who=who)

    def collect(self, *arguments: str) -> Result:
        command = ["collect", "patients", "--config", str(self.config), *arguments]
        return CliRunner(env={"VOUCH_VAR": str(self.watched.var)}).invoke(main, command)

    def new_rows(self, span: int = 2) -> list[list[str]]:
        text = (self.data / f"span-{span}" / f"collected-{span:04d}.csv").read_text(encoding="utf-8")
        return [line.split(";") for line in text.splitlines()]

    def summary(self, span: int = 2) -> dict[str, Any]:
        return json.loads((self.data / f"span-{span}" / "_span.json").read_text())


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)


def test_labelled_rows_are_a_span_more_and_nothing_old_is_touched(hospital: Hospital) -> None:
    before = (hospital.data / "span-1" / "rows.csv").read_bytes()
    hospital.asked([(50.25, "c"), (60.0, None), (70.0, "a")], {0: "yes", 1: "no"})
    done = hospital.collect()
    assert done.exit_code == 0, done.output
    assert f"2 rows added: {hospital.data / 'span-2'}" in done.stdout
    assert hospital.new_rows() == [["id", "size", "kind", "outcome"], ["", "50.25", "c", "yes"], ["", "60.0", "", "no"]]
    assert (hospital.data / "span-1" / "rows.csv").read_bytes() == before
    assert (hospital.data / "span-2" / "rows.csv").read_bytes() == before


def test_each_row_says_where_it_comes_from_and_each_file_its_sum(hospital: Hospital) -> None:
    hospital.asked([(50.25, "c")], {0: "yes"}, who="bob")
    hospital.collect()
    folder = hospital.data / "span-2"
    [origin] = pq.read_table(folder / "_provenance.parquet").to_pylist()
    assert (origin["file"], origin["example"], origin["told_by"], origin["label"]) == (
        "collected-0002.csv",
        0,
        "bob",
        "yes",
    )
    assert (origin["predicted"], origin["version"], origin["is_synthetic"]) == (AT, 1, False)
    told = hospital.summary()
    assert (told["span"], told["before"], told["added"]) == (2, 1, 1)
    assert told["sha256"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("_provenance.parquet", "_set_aside.parquet", "collected-0002.csv", "rows.csv")
    }


def test_no_row_is_collected_twice(hospital: Hospital) -> None:
    hospital.asked([(50.0, "c")], {0: "yes"})
    assert hospital.collect().exit_code == 0
    again = hospital.collect()
    assert again.exit_code == 3
    assert "no new row to collect" in again.output
    hospital.asked([(51.0, "c")], {0: "no"}, at=AT + timedelta(hours=1))
    assert hospital.collect().exit_code == 0
    assert sorted(path.name for path in (hospital.data / "span-3").glob("*.csv")) == [
        "collected-0002.csv",
        "collected-0003.csv",
        "rows.csv",
    ]
    assert pq.read_table(hospital.data / "span-3" / "_provenance.parquet").num_rows == 2


@pytest.mark.parametrize(
    ("rows", "labels", "reasons"),
    [
        ([(50.0, "c"), (50.0, "c"), (61.0, "a")], {0: "yes", 1: "yes", 2: "no"}, {"equal to another": 1}),
        ([(50.0, "c"), (50.0, "c"), (61.0, "a")], {0: "yes", 1: "no", 2: "no"}, {"equal rows with other labels": 2}),
        ([(20.0, "a"), (61.0, "a")], {0: "no", 1: "no"}, {"an example already": 1}),
        ([(20.0, "a"), (61.0, "a")], {0: "yes", 1: "no"}, {"an example has another label": 1}),
        ([(40.0, None), (61.0, "a")], {0: "no", 1: "no"}, {"an example already": 1}),
        ([(500.0, "a"), (61.0, "a")], {0: "no", 1: "no"}, {"size lies outside the schema": 1}),
        ([(np.nan, "a"), (61.0, "a")], {0: "no", 1: "no"}, {"size is missing": 1}),
        ([(50.0, "z"), (61.0, "a")], {0: "no", 1: "no"}, {"kind has a value that the schema does not have": 1}),
        ([(50.0, "c"), (61.0, "a")], {0: "perhaps", 1: "no"}, {"a label that is no class": 1}),
    ],
    ids=["twice", "disagree", "known", "contradicts", "known gap", "range", "missing", "value", "class"],
)
def test_what_may_not_be_an_example_is_set_aside_and_shown(
    hospital: Hospital, rows: Any, labels: dict[int, str], reasons: dict[str, int]
) -> None:
    hospital.asked(rows, labels)
    done = hospital.collect()
    assert done.exit_code == 0, done.output
    assert hospital.summary()["set_aside"] == reasons
    assert all(f"{count} set aside: {reason}" in done.stdout for reason, count in reasons.items())
    aside = pq.read_table(hospital.data / "span-2" / "_set_aside.parquet").to_pylist()
    assert [row["reason"] for row in aside] == [reason for reason, count in reasons.items() for _ in range(count)]
    assert {row["told_by"] for row in aside} == {"ann"}


def test_no_user_fills_a_span_alone(hospital: Hospital) -> None:
    hospital.asked([(50.0 + i, "c") for i in range(5)], dict.fromkeys(range(5), "yes"), who="eve")
    hospital.asked([(70.0, "a")], {0: "no"}, at=AT + timedelta(hours=1), who="ann")
    hospital.collect("--most-per-user", "2")
    assert [row[1] for row in hospital.new_rows()[1:]] == ["50.0", "51.0", "70.0"]
    assert hospital.summary()["set_aside"] == {"too many of one user": 3}


def test_made_up_rows_are_taken_only_if_asked_for_and_never_into_test(hospital: Hospital) -> None:
    rows = [(round(50 + i / 10, 1), "c") for i in range(60)]
    hospital.asked(rows, dict.fromkeys(range(60), "yes"), reference="synthetic:none-1-0")
    assert "60 synthetic" in hospital.collect().output
    assert hospital.collect("--with-synthetic").exit_code == 0
    taken = [float(row[1]) for row in hospital.new_rows()[1:]]
    aside = hospital.summary()["set_aside"]["synthetic, and dealt to test"]
    assert len(taken) + aside == 60
    assert aside > 3
    settings = hospital.settings
    batch = pa.RecordBatch.from_pydict({"size": pa.array(taken, pa.float32()), "kind": ["c"] * len(taken)})
    splits = Splitter([*settings.split.weights.values()], "outcome", None, settings.split_seed).assign(batch)
    assert set(splits.tolist()) == {0, 1}
    assert hospital.summary()["synthetic"] == len(taken)


def test_in_a_table_of_few_kinds_equal_rows_are_rows(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, more="split: {by: row}")
    hospital.asked([(20.0, "a"), (20.0, "a")], {0: "yes", 1: "no"})
    assert hospital.collect().exit_code == 0
    assert len(hospital.new_rows()) == 3


def test_parquet_is_added_as_parquet_with_the_same_columns(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, "parquet")
    hospital.asked([(50.0, "c"), (20.0, "a")], {0: "yes", 1: "no"})
    assert hospital.collect().exit_code == 0
    added = pq.read_table(hospital.data / "span-2" / "collected-0002.parquet")
    assert added.to_pylist() == [{"size": 50.0, "kind": "c", "outcome": "yes", "id": None}]


def test_a_period_leaves_out_what_is_older_and_newer(hospital: Hospital) -> None:
    for hours in range(3):
        hospital.asked([(50.0 + hours, "c")], {0: "yes"}, at=AT + timedelta(hours=hours))
    hospital.collect(
        "--from", f"{AT + timedelta(hours=1):%Y-%m-%dT%H:%M}", "--to", f"{AT + timedelta(hours=2):%Y-%m-%dT%H:%M}"
    )
    assert [row[1] for row in hospital.new_rows()[1:]] == ["51.0"]


@pytest.mark.parametrize(
    "source",
    [
        "../data/rows.csv",
        "../data/span-{SPAN}/rows.csv",
        "../data/rows-{SPAN}*.csv",
        "../data/span-{SPAN}/v{VERSION}/*.csv",
    ],
)
def test_where_a_span_is_no_folder_of_files_it_says_what_is_wanted(tmp_path: Path, source: str) -> None:
    hospital = Hospital(tmp_path, source=source)
    done = hospital.collect()
    assert done.exit_code == 2
    assert "span-{SPAN}/*.csv" in done.output


@pytest.mark.parametrize("more", ["split: {group_by: id}", "split: {by: time, time: id}"], ids=["group", "time"])
def test_rows_that_are_dealt_by_what_the_log_has_not_are_refused(tmp_path: Path, more: str) -> None:
    hospital = Hospital(tmp_path, more=more)
    text = (hospital.config / "pipeline.yaml").read_text().replace("ignore: [id], ", "")
    (hospital.config / "pipeline.yaml").write_text(text)
    done = hospital.collect()
    assert done.exit_code == 2
    assert "'id', which the prediction log does not have" in done.output


def test_without_a_label_there_is_nothing_and_nothing_is_left_behind(hospital: Hospital) -> None:
    hospital.asked([(50.0, "c")], {})
    done = hospital.collect()
    assert done.exit_code == 3
    assert "no true label" in done.output
    assert sorted(path.name for path in hospital.data.iterdir()) == [".collect_lock", "span-1"]


def test_a_span_appears_whole_or_not_at_all(hospital: Hospital) -> None:
    spans = Spans.of(hospital.settings.data.source)

    def fail(staged: Path) -> Any:
        assert (staged / "rows.csv").is_file()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        spans.add(fail)
    assert spans.numbers() == [1]
    assert [path.name for path in hospital.data.iterdir()] == ["span-1"]
    (hospital.data / ".incoming-span-2-killed").mkdir()
    with spans.adding():
        assert not (hospital.data / ".incoming-span-2-killed").exists()


def test_spans_are_found_by_their_number_whatever_its_width(tmp_path: Path) -> None:
    for name in ("span-0009", "span-0010", "span-x", "other-0099"):
        (tmp_path / name).mkdir()
    spans = Spans.of(tmp_path / "span-{SPAN:4}" / "*.csv")
    assert (spans.numbers(), spans.folder(11).name) == ([9, 10], "span-0011")
    with pytest.raises(DataError, match="there is no span"):
        Spans.of(tmp_path / "none" / "span-{SPAN}" / "*.csv").newest()


def test_tfrecords_are_refused(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, "parquet")
    text = (hospital.config / "pipeline.yaml").read_text().replace("format: parquet", "format: tfrecord")
    (hospital.config / "pipeline.yaml").write_text(text)
    done = hospital.collect()
    assert done.exit_code == 2
    assert "csv or parquet" in done.output


def test_dvc_pointers_name_each_file_by_its_md5(hospital: Hospital) -> None:
    hospital.asked([(50.0, "c")], {0: "yes"})
    hospital.collect("--dvc")
    folder = hospital.data / "span-2"
    pointers = sorted(path.name for path in folder.glob("*.dvc"))
    assert pointers == [f"{path.name}.dvc" for path in sorted(folder.iterdir()) if path.suffix != ".dvc"]
    text = (folder / "rows.csv.dvc").read_text()
    content = (folder / "rows.csv").read_bytes()
    assert f"md5: {hashlib.md5(content).hexdigest()}\n  size: {len(content)}\n" in text
    assert hospital.collect().exit_code == 3, "pointers are no examples"


@pytest.fixture(params=["csv", "parquet"])
def collected(request: pytest.FixtureRequest, tmp_path: Path) -> Hospital:
    """Three spans, in which rows of two cases were collected and set aside."""
    hospital = Hospital(tmp_path, request.param)
    for hour, case in enumerate(["bed 7", "bed 8"]):
        at = AT + timedelta(hours=hour)
        rows = [(50.0 + hour, "c"), (60.0 + hour, "a"), (20.0, "a")]
        hospital.asked(rows, {0: "yes", 1: "no", 2: "no"}, at=at, reference=case)
        assert hospital.collect("--dvc").exit_code == 0
    return hospital


def forget(hospital: Hospital, reference: str) -> Result:
    command = ["forget", "patients", reference, "--config", str(hospital.config)]
    return CliRunner(env={"VOUCH_VAR": str(hospital.watched.var)}).invoke(main, command)


def sizes(hospital: Hospital, span: int) -> list[float]:
    """The sizes in a span's collected rows."""
    settings = hospital.settings
    features = model_features(read_schema(hospital.config / "schema.pbtxt"), settings)
    files = sorted((hospital.data / f"span-{span}").glob(f"collected-*.{settings.data.format}"))
    examples = examples_of(settings, features)
    return [float(cells[0]) for path in files for cells, _ in examples.contents(path)]


def test_on_request_a_reference_is_taken_out_of_every_span(collected: Hospital) -> None:
    assert sizes(collected, 3) == [50.0, 60.0, 51.0, 61.0]
    done = forget(collected, "bed 7")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == ["span 2: 3 rows taken out", "span 3: 3 rows taken out"]
    assert (sizes(collected, 2), sizes(collected, 3)) == ([], [51.0, 61.0])
    for span, version in ((2, 2), (3, 2)):
        folder, summary = collected.data / f"span-{span}", collected.summary(span)
        assert summary["version"] == version
        assert summary["sha256"].keys() == {path.name for path in folder.iterdir()} - {"_span.json"}
        for name in ("_provenance.parquet", "_set_aside.parquet"):
            assert "bed 7" not in pq.read_table(folder / name)["reference"].to_pylist()
    assert [row["example"] for row in pq.read_table(collected.data / "span-3" / "_provenance.parquet").to_pylist()] == [
        0,
        1,
    ]
    assert forget(collected, "bed 7").exit_code == 3, "nothing is left of it"
    assert forget(collected, "bed 8").exit_code == 0
    assert collected.summary(3)["forgotten"] == 6


def test_a_rewriting_that_was_killed_between_its_renames_loses_nothing(collected: Hospital) -> None:
    folder = collected.data / "span-3"
    folder.rename(collected.data / ".replaced-span-3")
    with Spans.of(collected.settings.data.source).adding():
        assert sizes(collected, 3) == [50.0, 60.0, 51.0, 61.0]
    shutil.copytree(folder, collected.data / ".replaced-span-3")
    with Spans.of(collected.settings.data.source).adding():
        assert not (collected.data / ".replaced-span-3").exists()


def shared(hospital: Hospital, command: str, *, place: Path) -> Result:
    arguments = [command, "patients", str(place), "--config", str(hospital.config)]
    return CliRunner(env={"VOUCH_VAR": str(hospital.watched.var)}).invoke(main, arguments)


def contents(folder: Path) -> dict[str, bytes]:
    """A span's files without the pointers."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".dvc"}


def two_spans(hospital: Hospital) -> None:
    hospital.asked([(50.0, "c"), (60.0, "a")], {0: "yes", 1: "no"}, reference="bed 7")
    assert hospital.collect().exit_code == 0


def test_spans_are_pushed_once_and_pulled_as_they_were(hospital: Hospital, tmp_path: Path) -> None:
    two_spans(hospital)
    place = tmp_path / "share"
    assert shared(hospital, "push", place=place).stdout.count(" brought to ") == 2
    assert "nothing new" in shared(hospital, "push", place=place).stdout
    spans = {number: contents(hospital.data / f"span-{number}") for number in (1, 2)}
    shutil.rmtree(hospital.data)
    assert shared(hospital, "pull", place=place).exit_code == 0
    assert {number: contents(hospital.data / f"span-{number}") for number in (1, 2)} == spans
    assert "all spans are here" in shared(hospital, "pull", place=place).stdout


def test_a_file_that_was_damaged_there_is_not_taken(hospital: Hospital, tmp_path: Path) -> None:
    two_spans(hospital)
    place = tmp_path / "share"
    shared(hospital, "push", place=place)
    digest = hashlib.md5((hospital.data / "span-2" / "collected-0002.csv").read_bytes()).hexdigest()
    (place / "files" / "md5" / digest[:2] / digest[2:]).write_text("other")
    shutil.rmtree(hospital.data / "span-2")
    done = shared(hospital, "pull", place=place)
    assert done.exit_code == DataError.exit_code
    assert "collected-0002.csv of span 2 is damaged there" in done.output
    assert [path.name for path in hospital.data.iterdir() if "span" in path.name] == ["span-1"]


def test_what_was_forgotten_is_gone_there_too_and_on_other_machines(hospital: Hospital, tmp_path: Path) -> None:
    two_spans(hospital)
    place = tmp_path / "share"
    shared(hospital, "push", place=place)
    shutil.copytree(hospital.data, tmp_path / "before")
    old = hashlib.md5((hospital.data / "span-2" / "collected-0002.csv").read_bytes()).hexdigest()
    command = ["forget", "patients", "bed 7", "--config", str(hospital.config)]
    assert CliRunner(env={"VOUCH_VAR": str(hospital.watched.var)}).invoke(main, command).exit_code == 0
    assert "removed there, whose rows were forgotten" in shared(hospital, "push", place=place).stdout
    assert not (place / "files" / "md5" / old[:2] / old[2:]).exists()
    forgotten = contents(hospital.data / "span-2")
    shutil.rmtree(hospital.data)
    shutil.move(tmp_path / "before", hospital.data)
    assert "span 2" in shared(hospital, "pull", place=place).stdout
    assert contents(hospital.data / "span-2") == forgotten


def test_two_spans_of_one_number_are_told_and_left(hospital: Hospital, tmp_path: Path) -> None:
    two_spans(hospital)
    place = tmp_path / "share"
    shared(hospital, "push", place=place)
    (hospital.data / "span-2" / "rows.csv").write_text("size;kind;outcome\n")
    done = shared(hospital, "pull", place=place)
    assert done.exit_code == DataError.exit_code
    assert (hospital.data / "span-2" / "rows.csv").read_text() == "size;kind;outcome\n"


@pytest.mark.parametrize(("place", "code"), [("nowhere://x", 2), ("/proc/share", 5)])
def test_a_place_that_cannot_be_is_told(hospital: Hospital, place: str, code: int) -> None:
    done = shared(hospital, "push", place=Path(place) if "//" not in place else place)  # type: ignore[arg-type]
    assert done.exit_code == code, done.output


@pytest.fixture(scope="module")
def dvc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real one, which does not fit into our environment, in its own."""
    uv, place = Path(sys.executable).parent / "uv", tmp_path_factory.mktemp("dvc") / "environment"
    install = [uv, "pip", "install", "--quiet", "--python", place / "bin" / "python", DVC]
    for command in ([uv, "venv", "--quiet", "--python", sys.executable, place], install):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            pytest.skip(f"{DVC} cannot be installed: {done.stderr}")
    return place / "bin" / "dvc"


@pytest.mark.exhaustive
def test_real_dvc_pulls_what_was_pushed(dvc: Path, hospital: Hospital, tmp_path: Path) -> None:
    two_spans(hospital)
    shared(hospital, "push", place=tmp_path / "share")
    content = contents(hospital.data / "span-2")
    for path in (hospital.data / "span-2").iterdir():
        if path.suffix != ".dvc":
            path.unlink()
    for arguments in (["init", "--no-scm"], ["remote", "add", "-d", "share", str(tmp_path / "share")], ["pull"]):
        subprocess.run([dvc, *arguments], cwd=hospital.data, capture_output=True, text=True, check=True, timeout=120)
    assert contents(hospital.data / "span-2") == content


@pytest.mark.exhaustive
def test_real_dvc_takes_the_pointers_for_its_own(dvc: Path, hospital: Hospital) -> None:

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [dvc, *arguments], cwd=hospital.data, capture_output=True, text=True, check=True, timeout=120
        )
        return done.stdout

    hospital.asked([(50.0, "c")], {0: "yes"})
    hospital.collect()
    write_dvc_pointers(hospital.data / "span-2")
    run("init", "--no-scm")
    run("commit", "-f", "span-2/rows.csv.dvc")
    content = (hospital.data / "span-2" / "rows.csv").read_bytes()
    (hospital.data / "span-2" / "rows.csv").unlink()
    run("checkout", "span-2/rows.csv.dvc")
    assert (hospital.data / "span-2" / "rows.csv").read_bytes() == content


def test_a_schema_is_a_must(hospital: Hospital) -> None:
    text = (hospital.config / "pipeline.yaml").read_text().replace("schema: schema.pbtxt\n", "")
    (hospital.config / "pipeline.yaml").write_text(text)
    assert hospital.collect().exit_code == ConfigError.exit_code


def test_numbers_and_labels_are_collected_as_the_file_writes_them(tmp_path: Path) -> None:
    cleaning = {"delimiter": ";", "decimal": ",", "thousands": ".", "label_map": {"ja": "yes"}}
    data = {"source": "x.csv", "label": "outcome", "classes": ["no", "yes"], **cleaning}
    settings = Settings.model_validate({"name": "patients", "data": data})
    features = [Feature("size", "numeric", "float", True), Feature("kind", "categorical", "string", False)]
    like, path = tmp_path / "like.csv", tmp_path / "new.csv"
    like.write_text("size;kind;outcome \n1.234,5; a ;ja\n7;?;no\n", encoding="utf-8")
    examples = examples_of(settings, features)
    assert [*examples.contents(like)] == [((1234.5, "a"), "yes"), ((7.0, None), "no")]
    told = Feedback(AT, "request", 0, 1, "yes", "ann")
    values = {"size": 1.234, "kind": None}
    examples.write(path, [LabelledRow(("request", 0), AT, 1, values, told)], like)
    assert path.read_text(encoding="utf-8") == "size;kind;outcome\n1,234;;yes\n"
    assert [*examples.contents(path)] == [((np.float32(1.234), None), "yes")]


@pytest.fixture
def of_numbers(tmp_path: Path) -> Hospital:
    """One whose outcome is a number."""
    made = Hospital(tmp_path)
    was = 'type: BYTES presence { min_fraction: 1.0 } string_domain { value: "no" value: "yes" }'
    for name, old, new in (
        ("pipeline.yaml", "classes: [no, yes]", "task: regression"),
        ("schema.pbtxt", was, "type: FLOAT presence { min_fraction: 1.0 }"),
    ):
        text = (made.config / name).read_text()
        assert old in text
        (made.config / name).write_text(text.replace(old, new))
    (made.data / "span-1" / "rows.csv").write_text("id;size;kind;outcome\n1;20.0;a;7\n2;30.5;b;8.5\n")
    return made


def test_true_numbers_are_collected_for_a_model_that_predicts_numbers(of_numbers: Hospital) -> None:
    of_numbers.asked([(20.0, "a"), (50.25, "c"), (60.0, "a"), (61.0, "a")], {0: "7", 1: "12.5", 2: "many", 3: "9"})
    done = of_numbers.collect("--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["set_aside"] == {"an example already": 1, "a label that is no number": 1}
    assert of_numbers.new_rows()[1:] == [["", "50.25", "c", "12.5"], ["", "61.0", "a", "9"]]
    assert "no new row" in of_numbers.collect().output


def test_where_true_numbers_are_whole_no_other_is_cut_to_fit(of_numbers: Hospital) -> None:
    schema = of_numbers.config / "schema.pbtxt"
    schema.write_text(schema.read_text().replace('"outcome" type: FLOAT', '"outcome" type: INT'))
    of_numbers.asked([(50.0, "c"), (60.0, "a")], {0: "12.5", 1: "9"})
    assert of_numbers.collect().exit_code == 0
    assert of_numbers.summary()["set_aside"] == {"a label that is no whole number": 1}
    assert [row[-1] for row in of_numbers.new_rows()[1:]] == ["9"]


def test_a_withdrawn_span_is_out_of_sight_and_its_rows_are_collected_again(hospital: Hospital) -> None:
    hospital.asked([(50.0, "c"), (51.0, "a")], {0: "yes", 1: "no"})
    assert hospital.collect().exit_code == 0
    spans = Spans.of(hospital.settings.data.source)
    spans.withdraw(1)  # not the newest
    assert spans.numbers() == [1, 2]
    spans.withdraw(2)
    spans.withdraw(2)
    assert (spans.numbers(), [*spans.withdrawn()]) == ([1], [2])
    assert hospital.collect().exit_code == 0
    assert spans.numbers() == [1, 3]  # the number is not given again
    assert len(hospital.new_rows(3)) == 3
    assert hospital.summary(3)["before"] == 1


def test_rows_of_a_span_with_wrong_labels_come_again_with_the_right_ones(hospital: Hospital) -> None:
    def withdraw(span: int) -> Result:
        return CliRunner().invoke(main, ["withdraw", "patients", str(span), "--config", str(hospital.config)])

    hospital.asked([(50.0, "c")], {0: "yes"}, who="mallory")
    assert hospital.collect().exit_code == 0
    hospital.watched.label(AT, {0: "no"})
    assert hospital.collect().exit_code == 3, "it was collected before"
    assert withdraw(1).exit_code == 3, "that one was put there"
    assert withdraw(2).exit_code == 0
    assert withdraw(2).exit_code == 3
    assert hospital.collect().exit_code == 0
    assert hospital.new_rows(3)[1:] == [["", "50.0", "c", "no"]]


def test_the_first_span_cannot_be_withdrawn(hospital: Hospital) -> None:
    spans = Spans.of(hospital.settings.data.source)
    spans.withdraw(1)
    assert spans.numbers() == [1]


def test_who_is_to_be_forgotten_is_in_no_withdrawn_span_either(hospital: Hospital) -> None:
    hospital.asked([(50.0, "c")], {0: "yes"}, reference="bed 7")
    hospital.collect()
    Spans.of(hospital.settings.data.source).withdraw(2)
    command = ["forget", "patients", "bed 7", "--config", str(hospital.config)]
    assert CliRunner().invoke(main, command).exit_code == 0
    assert Spans.of(hospital.settings.data.source).withdrawn() == {}


def test_how_many_rows_are_made_up_is_read_from_where_they_come_from(hospital: Hospital) -> None:
    """By this the data gate knows how large test can be."""
    assert synthetic_rows(hospital.data / "span-1") == 0
    hospital.asked([(50.0, "c")], {0: "yes"})
    hospital.asked(
        [(float(60 + i), "c") for i in range(9)],
        dict.fromkeys(range(9), "no"),
        reference="synthetic:x",
        at=AT + timedelta(hours=1),
    )
    hospital.collect("--with-synthetic")
    taken = hospital.summary()["synthetic"]
    assert 0 < taken < 10
    assert synthetic_rows(hospital.data / "span-2") == taken
