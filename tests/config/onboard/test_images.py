from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from common.errors import ConfigError, DataError
from config.load import load_settings
from config.onboard.images import is_folder_of_images, look, onboard_images
from local_runner import main
from tests.support.pictures import as_bytes, picture, write_pictures


def test_a_folder_of_pictures_is_described(tmp_path: Path):
    folder = write_pictures(tmp_path / "colours", 30)
    told = onboard_images(folder, name="colours", out=tmp_path / "config", force=False)
    settings = load_settings(tmp_path / "config" / "colours")
    assert settings.data.classes == ("blue", "red")
    assert Path(settings.data.source).resolve() == folder
    assert (settings.model.kind, settings.image.size) == ("cnn", 32)
    assert "60 pictures, 2 classes: blue 30, red 30" in told
    with pytest.raises(ConfigError, match="refusing to overwrite"):
        onboard_images(folder, name="colours", out=tmp_path / "config", force=False)


def test_splits_are_no_classes(tmp_path: Path):
    for split in ("train", "val"):
        write_pictures(tmp_path / "colours" / split, 20)
    assert look(tmp_path / "colours").classes == {"blue": 40, "red": 40}


def test_pictures_beside_the_folders_are_told_of(tmp_path: Path):
    folder = write_pictures(tmp_path / "colours", 30)
    (folder / "loose.png").write_bytes(as_bytes(picture("red", 99)))
    assert look(folder).outside == 1


@pytest.mark.parametrize(("each", "told"), [(0, "holds no folders of pictures"), (3, "has too few pictures")])
def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path, each: int, told: str):
    folder = write_pictures(tmp_path / "colours", each)
    with pytest.raises(DataError, match=told):
        onboard_images(folder, name="colours", out=tmp_path / "config", force=False)


def test_the_command_sees_by_itself_that_data_are_pictures(tmp_path: Path):
    folder = write_pictures(tmp_path / "my colours", 30)
    assert is_folder_of_images(str(folder))
    assert not is_folder_of_images(str(tmp_path / "none"))
    done = CliRunner().invoke(main, ["init", str(folder), "--out", str(tmp_path / "config")])
    assert done.exit_code == 0, done.output
    assert load_settings(tmp_path / "config" / "my_colours").data.is_images


def test_a_table_still_needs_its_label(tmp_path: Path):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    done = CliRunner().invoke(main, ["init", str(tmp_path / "rows.csv")])
    assert done.exit_code == 2
    assert "Missing option '--label'" in done.output
