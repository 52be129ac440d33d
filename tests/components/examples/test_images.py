import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from common.errors import DataError
from common.images import read_header
from components.examples.blocks import read_request
from components.examples.component import count_rows
from components.examples.images import ImageSource, listing_digest
from components.examples.seen import Seen
from config.data_settings import IMAGE_FACTS
from tests.support.pictures import as_bytes, picture, picture_settings, write_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures", 40)


def source(folder: Path, **changes: Any) -> ImageSource:
    return ImageSource(folder, read_request(picture_settings(folder, **changes), None))


def rows(images: ImageSource) -> dict[str, list[Any]]:
    return pa.Table.from_batches([block.batch for block in images.blocks()]).to_pydict()


def near_of(images: ImageSource) -> dict[str, str]:
    read = rows(images)
    return dict(zip(read["path"], read["near"], strict=True))


def test_a_folder_becomes_rows(folder):
    read = rows(source(folder))
    assert set(read) == {"image_bytes", "label", *IMAGE_FACTS}
    assert read["label"] == ["blue"] * 40 + ["red"] * 40
    assert read["path"][0] == "blue/000.jpg"
    assert read["image_bytes"][0] == (folder / "blue" / "000.jpg").read_bytes()
    assert read["width"][0] == read["height"][0] == 24
    assert read["red"][-1] > read["blue"][-1]
    assert sum(read["histogram"][0]) == pytest.approx(1)
    assert len(set(read["near"])) == 80


def test_the_innermost_folder_that_is_called_as_a_class_is_the_class(folder):
    (folder / "blue" / "2026" / "red").mkdir(parents=True)
    (folder / "blue" / "2026" / "red" / "a.png").write_bytes(as_bytes(picture("red", 100)))
    (folder / "azure").mkdir()
    (folder / "azure" / "b.png").write_bytes(as_bytes(picture("blue", 100)))
    read = rows(source(folder, data={"label_map": {"azure": "blue"}}))
    label_of = dict(zip(read["path"], read["label"], strict=True))
    assert label_of["blue/2026/red/a.png"] == "red"
    assert label_of["azure/b.png"] == "blue"


def test_what_is_no_upright_rgb_is_made_anew(folder):
    image = picture("red", 200)
    turned = as_bytes(image, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    (folder / "red" / "turned.jpg").write_bytes(turned)
    (folder / "red" / "web.webp").write_bytes(as_bytes(picture("red", 201), "WEBP"))
    read = rows(source(folder))
    bytes_of = dict(zip(read["path"], read["image_bytes"], strict=True))
    for name, content in (("turned.jpg", turned), ("web.webp", b"")):
        made = bytes_of[f"red/{name}"]
        assert made != content
        assert read_header(made).is_plain


def test_bad_files_are_left_out_and_listed(folder):
    sound = (folder / "red" / "001.png").read_bytes()
    (folder / "red" / "cut.png").write_bytes(sound[: len(sound) // 2])
    (folder / "red" / "note.txt").write_text("no picture")
    (folder / "red" / "empty.jpg").touch()
    (folder / "unsorted").mkdir()
    (folder / "unsorted" / "x.png").write_bytes(sound)
    (folder / "red" / ".hidden").write_text("no picture either")
    images = source(folder)
    assert len(rows(images)["path"]) == images.independent_count() == 80
    seen = images.seen
    assert {each.path: each.kind for each in seen.skipped} == {
        "red/cut.png": "BROKEN",
        "red/note.txt": "NOT_AN_IMAGE",
        "red/empty.jpg": "EMPTY",
    }
    assert (seen.files, seen.skipped_files, seen.outside) == (84, 3, {"unsorted": 1})
    assert Seen.parse(seen.text()) == seen


def test_bad_files_are_refused_if_asked_for(folder):
    (folder / "red" / "note.txt").write_text("no picture")
    with pytest.raises(DataError, match="1 of 81 files cannot be read as pictures") as refused:
        rows(source(folder, image={"bad_files": "refuse"}))
    assert "red/note.txt" in str(refused.value)


def test_copies_go_together_and_are_shown(folder):
    (folder / "red" / "copy.jpg").write_bytes(as_bytes(picture("red", 1).resize((96, 96)), "JPEG"))
    images = source(folder)
    near = near_of(images)
    assert near["red/copy.jpg"] == near["red/001.png"]
    [alike] = images.seen.alike
    assert (alike.size, set(alike.paths), len(alike.pictures)) == (2, {"red/copy.jpg", "red/001.png"}, 2)
    assert images.seen.large == 0


def test_too_many_copies_are_not_kept_together(folder):
    for number in range(8):
        image = picture("red", 1, side=24 + 2 * number)
        (folder / "red" / f"copy{number}.png").write_bytes(as_bytes(image))
    images = source(folder)
    near = near_of(images)
    assert images.seen.large == 9
    assert len({near[f"red/copy{number}.png"] for number in range(8)}) == 8
    assert near["red/copy0.png"] == near["red/001.png"]  # the very same bytes


def test_a_pattern_keeps_pictures_together(folder):
    changes = {"image": {"group": r"/(\d)\d\d\."}, "split": {"group_by": "group"}}
    read = rows(source(folder, **changes))
    assert set(read["group"]) == {"0"}
    assert len(set(read["near"])) == 1


def test_a_group_stays_in_its_split_when_pictures_are_added(folder):
    before = near_of(source(folder))
    write_pictures(folder, 45)
    after = near_of(source(folder))
    assert {path: after[path] for path in before} == before


def test_what_is_collected_later_moves_no_picture_to_another_split(folder):
    before = near_of(source(folder))
    own = before["red/001.png"]
    copies = (as_bytes(picture("red", 1), "PNG", compress_level=level) for level in range(10))
    smaller = next(data for data in copies if hashlib.sha256(data).hexdigest() < own)
    later = folder / "collected-0001" / "red"
    later.mkdir(parents=True)
    (later / "copy.png").write_bytes(smaller)
    after = near_of(source(folder))
    assert after["collected-0001/red/copy.png"] == own
    assert {path: after[path] for path in before} == before


def test_a_folder_without_classes_is_refused(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.png").write_bytes(as_bytes(picture("red", 1)))
    with pytest.raises(DataError, match="no folder of pictures is called as a class") as refused:
        rows(source(tmp_path))
    assert "cats" in str(refused.value)


def test_pictures_are_counted_without_a_run(folder):
    splits, classes = count_rows(picture_settings(folder))
    assert sum(splits.values()) == 80
    assert classes == {"blue": 40, "red": 40}


def test_the_listing_tells_a_change_without_reading(folder):
    before = listing_digest(folder)
    assert listing_digest(folder) == before
    (folder / "red" / "000.jpg").write_bytes(b"")
    assert listing_digest(folder) != before


def test_memory_does_not_grow_with_pixels(folder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("components.examples.images.BLOCK_BYTES", 5_000)
    sizes = [block.batch.num_rows for block in source(folder).blocks()]
    assert sum(sizes) == 80
    assert max(sizes) < 20
