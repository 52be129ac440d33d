from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from config.load import load_settings, settings_hash
from tests.support.paths import ROOT

GOOD = """\
name: toy
data:
  source: toy.csv
  label: y
  classes: [no, yes]
model:
  epochs: 20
  hidden_units:
    - 8
    - 4
evaluation:
  thresholds:
    auc: 0.8
  slices:
    - feature: sex
features:
  age:
    unit: years
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def refusal(file: Path, text: str, overrides: tuple[str, ...] = ()) -> str:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(file, overrides)
    return str(caught.value)


def test_reads_a_file_or_its_folder(file: Path) -> None:
    settings = load_settings(file)
    assert settings == load_settings(file.parent)
    assert settings.data.source == file.parent / "toy.csv"
    assert settings.model.hidden_units == (8, 4)
    assert settings.features["age"].unit == "years"


def test_says_when_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration at .*\n.*\n.*init"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("written", "classes"),
    [
        pytest.param("[no, yes]", ("no", "yes"), id="Norway"),
        pytest.param("[0, 1]", ("0", "1"), id="integers"),
        pytest.param("[0.0, 1.0]", ("0.0", "1.0"), id="floats"),
        pytest.param("[010, 1_0]", ("010", "1_0"), id="octal and underscore"),
        pytest.param("[off, on]", ("off", "on"), id="switches"),
        pytest.param("[2020-01-01, 12:30]", ("2020-01-01", "12:30"), id="date and time"),
        pytest.param("[null, ~]", ("null", "~"), id="null"),
        pytest.param("['no', \"yes\"]", ("no", "yes"), id="quoted"),
    ],
)
def test_classes_are_text_as_written(file: Path, written: str, classes: tuple[str, ...]) -> None:
    file.write_text(GOOD.replace("[no, yes]", written), encoding="utf-8")
    assert load_settings(file).data.classes == classes
    file.write_text(GOOD, encoding="utf-8")
    assert load_settings(file, [f"data.classes={written}"]).data.classes == classes


def test_column_names_are_text_as_written(file: Path) -> None:
    text = GOOD.replace("label: y", "label: on\n  ignore: [1, no]\n  positive: no").replace("  age:", "  2020:")
    file.write_text(text, encoding="utf-8")
    settings = load_settings(file)
    assert (settings.data.label, settings.data.ignore, settings.data.positive) == ("on", ("1", "no"), "no")
    assert list(settings.features) == ["2020"]


def test_numbers_are_read_as_people_write_them(file: Path) -> None:
    overrides = ("model.learning_rate=1e-4", "model.batch_normalization=off", 'data.delimiter="\\t"', "seed=007")
    settings = load_settings(file, overrides)
    assert settings.model.learning_rate == 1e-4
    assert settings.model.batch_normalization is False
    assert settings.data.delimiter == "\t"
    assert settings.seed == 7


def test_a_section_whose_keys_are_commented_out_is_the_default(file: Path) -> None:
    file.write_text(
        GOOD.replace("  epochs: 20\n  hidden_units:\n    - 8\n    - 4\n", "  # epochs: 20\n"), encoding="utf-8"
    )
    assert load_settings(file).model.epochs == 100
    assert load_settings(file, ["model.epochs=3"]).model.epochs == 3


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        pytest.param(
            "name: toy",
            "nmae: toy",
            ["pipeline.yaml:1: unknown key 'nmae'; did you mean 'name'?", "key 'name' is missing"],
            id="unknown at the top",
        ),
        pytest.param(
            "epochs: 20",
            "epoch: 20",
            ["pipeline.yaml:7: unknown key 'model.epoch'; did you mean 'epochs'?"],
            id="unknown in a section",
        ),
        pytest.param(
            "- feature: sex",
            "- featur: sex",
            [
                "pipeline.yaml:15: unknown key 'evaluation.slices.0.featur'; "
                "did you mean 'feature'? (known here: feature, values, thresholds)"
            ],
            id="unknown in a list",
        ),
        pytest.param(
            "unit: years",
            "units: years",
            ["pipeline.yaml:18: unknown key 'features.age.units'; did you mean 'unit'?"],
            id="unknown in a key of one's own",
        ),
        pytest.param("epochs: 20", "Epochs: 20", ["did you mean 'epochs'?"], id="capitals"),
        pytest.param("epochs: 20", "zzz: 20", ["unknown key 'model.zzz' (known here: kind"], id="nothing near"),
        pytest.param(
            "epochs: 20",
            "epochs: 0",
            ["pipeline.yaml:7: model.epochs: should be greater than 0, got 0"],
            id="out of range",
        ),
        pytest.param(
            "epochs: 20",
            "epochs: many",
            ["pipeline.yaml:7: model.epochs: should be an integer, got many"],
            id="wrong type",
        ),
        pytest.param("epochs: 20", "epochs: yes", ["should be an integer, got yes"], id="yes is no number"),
        pytest.param("epochs: 20", "epochs: 2.5", ["model.epochs: should be an integer, got 2.5"], id="fraction"),
        pytest.param("epochs: 20", "epochs: [20]", ["model.epochs: should be an integer, got [20]"], id="list"),
        pytest.param(
            "- 4", "- four", ["pipeline.yaml:10: model.hidden_units.1: should be an integer, got four"], id="in a list"
        ),
        pytest.param(
            "[no, yes]",
            "yes",
            ["pipeline.yaml:5: data.classes: should be a list such as [a, b], got yes"],
            id="no list",
        ),
        pytest.param(
            "model:\n",
            "class_names: {jes: x}\nmodel:\n",
            ["pipeline.yaml:6: class_names: 'jes' should be one of the classes no, yes"],
            id="no such class",
        ),
        pytest.param(
            "[no, yes]",
            "[yes]",
            ["pipeline.yaml:5: data.classes: name at least two, or say task: regression if the label is a number"],
            id="one class",
        ),
        pytest.param(
            "[no, yes]", "[no, no]", ["pipeline.yaml:5: data.classes: must be distinct, got no, no"], id="class twice"
        ),
        pytest.param("  label: y\n", "", ["pipeline.yaml:2: key 'data.label' is missing"], id="missing"),
        pytest.param("label: y", "label:", ["pipeline.yaml:4: key 'data.label' is missing"], id="empty"),
        pytest.param(
            "label: y",
            "label: y\n  positive: x",
            ["pipeline.yaml:5: data.positive: should be one of the classes no, yes, got x"],
            id="across keys",
        ),
        pytest.param(
            "auc: 0.8",
            "auc: 1.8",
            ["pipeline.yaml:13: evaluation.thresholds.auc: should be at most 1, got 1.8"],
            id="in a key of one's own",
        ),
        pytest.param(
            "auc: 0.8", "acc: 0.8", ["pipeline.yaml:13: evaluation.thresholds.acc: 'acc' should be one of"], id="metric"
        ),
        pytest.param(
            "name: toy",
            "name: toy\ndata_gate:\n  severity:\n    SPLIT_OVERLAPS: warn",
            ["pipeline.yaml:4: data_gate.severity.SPLIT_OVERLAPS: ", "did you mean 'SPLIT_OVERLAP'?"],
            id="kind of anomaly",
        ),
        pytest.param(
            "epochs: 20", "activation: rellu", ["should be 'relu', ", "got rellu; did you mean 'relu'?"], id="choice"
        ),
        pytest.param(
            "  epochs: 20\n",
            "  epochs: 20\n  epochs: 30\n",
            ["pipeline.yaml:8: key 'model.epochs' stands twice", "pipeline.yaml:7"],
            id="twice",
        ),
        pytest.param("  epochs: 20", "  epochs: 20: 3", ["pipeline.yaml:7 is not YAML"], id="bad YAML"),
        pytest.param("  epochs: 20", "\tepochs: 20", ["pipeline.yaml:7 is not YAML"], id="tab"),
        pytest.param(
            "name: toy",
            "name: toy\nschema: gone.pbtxt",
            ["pipeline.yaml:2: schema: there is no such file", "gone.pbtxt"],
            id="no schema",
        ),
        pytest.param("  epochs: 20", "  [a, b]: 20", ["pipeline.yaml:7: a key must be a word"], id="list as key"),
    ],
)
def test_mistakes_are_told_with_line_key_and_cure(file: Path, right: str, wrong: str, told: list[str]) -> None:
    assert right in GOOD
    message = refusal(file, GOOD.replace(right, wrong))
    for part in told:
        assert part in message


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "toy\n"], ids=["empty", "comment", "list", "word"])
def test_a_file_without_keys_is_refused(file: Path, text: str) -> None:
    assert "holds no settings" in refusal(file, text)


def test_an_endless_alias_is_refused(file: Path) -> None:
    assert "nests deeper" in refusal(file, "name: &a [*a]\n")


def test_a_file_in_another_encoding_is_refused(file: Path) -> None:
    file.write_bytes("title: für\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_settings(file)


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    message = refusal(file, GOOD.replace("epochs: 20", "epochs: 0").replace("auc: 0.8", "auc: 8"))
    assert "model.epochs" in message
    assert "evaluation.thresholds.auc" in message


def test_overrides_come_last_and_go_deep(file: Path) -> None:
    settings = load_settings(
        file, ["model.epochs=3", "model.hidden_units=[64,32]", "features.age.name=Age", "title=a=b"]
    )
    assert (settings.model.epochs, settings.model.hidden_units) == (3, (64, 32))
    assert settings.features["age"].name == "Age"
    assert settings.title == "a=b"


def test_an_override_can_restore_the_default(file: Path) -> None:
    assert load_settings(file, ["model.epochs="]).model.epochs == 100


def test_paths_in_an_override_are_relative_to_the_working_directory(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load_settings(file, ["data.source=new.csv"]).data.source == elsewhere / "new.csv"
    assert load_settings(file).data.source == tmp_path / "toy.csv"


def test_paths_may_begin_at_run_time_state(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOUCH_VAR", str(tmp_path / "elsewhere"))
    assert load_settings(file, ["data.source='{VAR}/flowers'"]).data.source == tmp_path / "elsewhere" / "flowers"
    assert load_settings(ROOT / "config" / "flowers").data.source == tmp_path / "elsewhere" / "flowers"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        pytest.param(
            "model.epoch=3", "--set model.epoch=3: unknown key 'model.epoch'; did you mean 'epochs'?", id="key"
        ),
        pytest.param(
            "modle.epochs=3", "--set modle.epochs=3: unknown key 'modle'; did you mean 'model'?", id="section"
        ),
        pytest.param("model.epochs=0", "--set model.epochs=0: model.epochs: should be greater than 0", id="range"),
        pytest.param(
            "model.hidden_units=[8,x]", "--set model.hidden_units=[8,x]: model.hidden_units.1", id="in a list"
        ),
        pytest.param("model.epochs", "cannot read an override", id="no value"),
        pytest.param("=3", "cannot read an override", id="no key"),
        pytest.param("model..epochs=3", "cannot read an override", id="empty part"),
        pytest.param("name.x=3", "'name' has no keys in it", id="key below a value"),
        pytest.param("data.classes=[a", "the value is not YAML", id="not YAML"),
        pytest.param("schema=gone.pbtxt", "--set schema=gone.pbtxt: schema: there is no such file", id="no schema"),
        pytest.param("data.positive=Yes", "--set data.positive=Yes: data.positive: should be one of", id="across keys"),
    ],
)
def test_wrong_overrides_are_told(file: Path, override: str, told: str) -> None:
    assert told in refusal(file, GOOD, (override,))


def test_digest_sees_values_and_not_places(file: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    head, tail = GOOD.split("model:\n", 1)
    (elsewhere / "pipeline.yaml").write_text("model:\n" + tail + head, encoding="utf-8")
    same = settings_hash(load_settings(file))
    assert settings_hash(load_settings(elsewhere)) == same
    assert settings_hash(load_settings(file, ["seed=1"])) != same
