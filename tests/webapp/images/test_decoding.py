"""What strangers send as pictures: in a process of little power, with a clear word for each."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from common.records.images import PNG
from config.data_settings import IMAGE_STATISTICS
from tests.support.web.pictures import picture, saved
from webapp.images import child
from webapp.images.decoding import Decoders, RefusedImage, as_statistics

GPS = 0x8825


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claimed_png(width: int, height: int, pixels: bytes) -> bytes:
    """A PNG that says to be so large, with some packed pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def zip_bomb() -> bytes:
    """A small PNG whose text unpacks to 64 MB."""
    packed = zlib.compress(bytes(64 << 20), 9)
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    text = png_chunk(b"zTXt", b"bomb\0\0" + packed)
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(8 * 25)))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + text + pixels + png_chunk(b"IEND", b"")


def with_place(colour: str = "red") -> bytes:
    """A JPEG of a telephone: turned, with a place and a comment."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Camera of Ana"
    exif.get_ifd(GPS)[2] = (52.0, 30.0, 0.0)
    return picture(colour, (64, 48), "JPEG", exif=exif.tobytes(), comment=b"from my garden")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_every_kind_becomes_a_picture_that_the_model_reads(decoders: Decoders, kind: str) -> None:
    read = decoders.picture(picture("blue", kind=kind))
    assert (read.width, read.height) == (64, 48)
    with Image.open(io.BytesIO(read.data), formats=("PNG",)) as image:
        assert (image.mode, image.size) == ("RGB", (64, 48))


def test_place_camera_and_comment_are_dropped_and_the_picture_is_turned(decoders: Decoders) -> None:
    sent = with_place()
    assert b"Camera of Ana" in sent
    read = decoders.picture(sent)
    for data in (read.data, read.preview):
        with Image.open(io.BytesIO(data)) as image:
            assert not image.getexif()
            assert not image.info.get("comment")
            assert image.size == (48, 64)
        assert b"Ana" not in data
        assert b"garden" not in data


def test_a_large_picture_is_made_smaller(decoders: Decoders) -> None:
    read = decoders.picture(picture("red", (3000, 2000)))
    assert (read.width, read.height) == (3000, 2000)
    with Image.open(io.BytesIO(read.data), formats=("JPEG",)) as image:
        assert max(image.size) == child.LARGEST_SIDE


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 415),
        (b"<!doctype html><img src=x onerror=alert(1)>", 415),
        (b"%PDF-1.7", 415),
        (b"PK\x03\x04" + bytes(100), 415),
        (claimed_png(30_000, 30_000, zlib.compress(bytes(1000))), 413),
        (claimed_png(2_000, 2_000, zlib.compress(bytes(1000))), 400),
        (picture(size=(400, 300))[:1500], 400),
        (picture(kind="PNG")[:60], 400),
    ],
    ids=["empty", "svg", "html", "pdf", "zip", "30000 x 30000", "too few pixels", "cut JPEG", "cut PNG"],
)
def test_what_is_no_picture_is_refused_by_its_kind(decoders: Decoders, data: bytes, status: int) -> None:
    with pytest.raises(RefusedImage) as refusal:
        decoders.picture(data)
    assert refusal.value.http_status == status
    assert refusal.value.problems[0].rule


def test_a_picture_that_takes_too_much_memory_is_too_large_and_not_broken(decoders: Decoders) -> None:
    with pytest.raises(RefusedImage) as refusal:
        decoders.picture(saved(Image.new("RGBA", (7_000, 7_000)), "PNG", compress_level=1))
    assert refusal.value.http_status == 413
    assert "memory" in refusal.value.problems[0].rule
    assert decoders.picture(picture()).data


def test_a_polyglot_is_kept_as_its_pixels_alone(decoders: Decoders) -> None:
    read = decoders.picture(picture(kind="PNG") + b"<script>alert(1)</script>PK\x03\x04")
    assert read.data.startswith(PNG)
    assert b"script" not in read.data
    assert b"PK" not in read.data[-40:]


def test_a_bomb_and_noise_leave_a_process_that_is_small(decoders: Decoders) -> None:
    chance = random.Random(4)
    files = [zip_bomb(), zip_bomb()]
    whole = [picture(kind=kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP")]
    for number in range(100):
        data = bytearray(whole[number % len(whole)])
        for _ in range(chance.randint(1, 12)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        files.append(bytes(data[: chance.randint(len(data) // 2, len(data))]))
    statuses = [status_of(decoders, data) for data in files]
    assert set(statuses) <= {200, 400, 413, 415}
    assert sum(status != 200 for status in statuses) > 20
    assert decoders.picture(picture()).data
    assert peak_mb(decoders) < child.MEMORY_BYTES / 2**20


def status_of(decoders: Decoders, data: bytes) -> int:
    try:
        decoders.picture(data)
    except RefusedImage as refusal:
        return refusal.http_status
    return 200


def peak_mb(decoders: Decoders) -> float:
    """The most memory that the one process has had."""
    with decoders.lent() as lent:
        status = Path(f"/proc/{lent.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def test_a_process_that_is_gone_is_replaced(decoders: Decoders) -> None:
    decoders.picture(picture())
    with decoders.lent() as lent:
        lent.kill()
        lent.wait()
    assert decoders.picture(picture()).data


def test_a_picture_that_takes_too_long_is_given_up() -> None:
    hasty = Decoders(at_once=1, read_s=1e-6)
    with pytest.raises(RefusedImage) as refusal:
        hasty.picture(picture())
    assert refusal.value.http_status == 413
    hasty.close()


def test_the_process_has_nothing_that_it_does_not_need(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOUCH_SECRET_KEY", "a secret")
    fresh = Decoders(at_once=1)
    fresh.picture(picture())
    with fresh.lent() as lent:
        folder = Path(f"/proc/{lent.pid}")
        limits = (folder / "limits").read_text()
        assert b"secret" not in (folder / "environ").read_bytes()
    fresh.close()
    rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}
    assert rows["Max address space"] == str(child.MEMORY_BYTES)
    assert rows["Max file size"] == "0"


@pytest.mark.parametrize(
    "said", [None, {}, dict.fromkeys(IMAGE_STATISTICS, "1"), dict.fromkeys(IMAGE_STATISTICS, 1e999)]
)
def test_what_a_process_measures_is_taken_if_it_is_numbers(said: object) -> None:
    with pytest.raises(RefusedImage, match="the picture cannot be read"):
        as_statistics(said)


def test_an_occluded_copy_for_each_cell(decoders: Decoders) -> None:
    read = decoders.picture(saved(Image.new("RGB", (300, 200), (255, 255, 255))))
    whole, *copies = decoders.occluded(read, 3)
    assert len(copies) == 9
    with Image.open(io.BytesIO(copies[4])) as middle, Image.open(io.BytesIO(whole)) as plain:
        assert plain.size == middle.size
        centre = middle.width // 2, middle.height // 2
        assert abs(middle.getpixel(centre)[0] - 128) < 8  # type: ignore[index]
        assert middle.getpixel((2, 2))[0] > 240  # type: ignore[index]
