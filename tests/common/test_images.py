import contextlib
import io
import random
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from common.images import (
    FORMATS,
    MAX_BYTES,
    ImageProblem,
    encoded,
    read_header,
    read_picture,
    statistics,
    thumbnail,
    upright,
)
from config.data_settings import IMAGE_STATISTICS


def picture(width: int = 40, height: int = 24) -> Image.Image:
    """Return red, with a blue mark in the upper left corner."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (0, 0, 8, 8))
    return image


def saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def colour(image: Image.Image, x: int, y: int) -> str:
    red, _, blue = image.getpixel((x, y))
    return "red" if red > blue else "blue"


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_becomes_rgb(image_format):
    data = saved(picture(), image_format)
    image = upright(data)
    assert (image.mode, image.size) == ("RGB", (40, 24))
    assert (colour(image, 2, 2), colour(image, 30, 20)) == ("blue", "red")
    assert read_header(data).format == image_format


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [
        (1, "left top"),
        (2, "right top"),
        (3, "right bottom"),
        (4, "left bottom"),
        (5, "left top"),
        (6, "right top"),
        (7, "right bottom"),
        (8, "left bottom"),
    ],
)
def test_a_picture_is_turned_as_exif_says(orientation, corner):
    exif = Image.Exif()
    exif[274] = orientation
    data = saved(picture(), "PNG", exif=exif)
    image, header = upright(data), read_header(data)
    assert image.size == (header.width, header.height) == ((24, 40) if orientation >= 5 else (40, 24))
    x = 2 if "left" in corner else image.width - 3
    y = 2 if "top" in corner else image.height - 3
    assert colour(image, x, y) == "blue"
    assert header.has_exif
    assert header.is_plain == (orientation == 1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_every_mode_becomes_rgb(mode):
    image_format = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    source = Image.new("I;16", (40, 24), 65535) if mode == "I;16" else Image.new("RGB", (40, 24), "white").convert(mode)
    image = upright(saved(source, image_format))
    assert image.mode == "RGB"
    assert image.getextrema() == ((255, 255),) * 3


def test_transparent_parts_are_white():
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert upright(saved(image, "PNG")).getpixel((1, 1)) == (255, 255, 255)


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (8, 8), name) for name in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert colour(upright(data), 1, 1) == "red"


def test_plain_bytes_are_kept_and_others_made_anew():
    for image_format in ("JPEG", "PNG"):
        data = saved(picture(), image_format)
        assert read_picture(data)[2] is data
    exif = Image.Exif()
    exif[274] = 6
    for data in (
        saved(picture(), "WEBP"),
        saved(picture().convert("CMYK"), "JPEG"),
        saved(picture().convert("L"), "PNG"),
        saved(picture(), "JPEG", exif=exif),
    ):
        header, pixels, made = read_picture(data)
        assert not header.is_plain
        assert np.array_equal(np.asarray(upright(made)), np.asarray(pixels))
        assert made != data
        assert read_header(made).is_plain
        assert np.array_equal(np.asarray(upright(made)), np.asarray(upright(data)))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_encoded_bytes_hold_nothing_but_pixels(image_format):
    exif = Image.Exif()
    exif[271] = "a camera at home"
    image = upright(saved(picture(), "JPEG", exif=exif, comment=b"at home", icc_profile=b"at home"))
    data = encoded(image, image_format)
    assert b"at home" not in data
    assert not read_header(data).has_exif
    assert len(thumbnail(data)) < 2000


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, content: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def zip_bomb(size: int) -> bytes:
    compressor = zlib.compressobj(9)
    block = bytes(2**20)
    return b"".join(compressor.compress(block) for _ in range(size // len(block))) + compressor.flush()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "EMPTY"),
        (bytes(MAX_BYTES + 1), "FILE_TOO_LARGE"),
        (b"%PDF-1.7 and so on", "NOT_AN_IMAGE"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "NOT_AN_IMAGE"),
        (b"PK\x03\x04 a zip file", "NOT_AN_IMAGE"),
        (saved(picture(), "TIFF"), "NOT_AN_IMAGE"),
        (png(30_000, 30_000, b""), "TOO_MANY_PIXELS"),
        (png(10_000, 9_000, b""), "TOO_MANY_PIXELS"),
        (png(100, 100, b""), "BROKEN"),
        (saved(picture(), "PNG")[:90], "BROKEN"),
        (saved(picture(400, 300), "JPEG")[:900], "BROKEN"),
    ],
)
def test_what_cannot_be_read_is_told_by_its_kind(data, kind):
    for read in (upright, read_picture):
        with pytest.raises(ImageProblem) as refused:
            read(data)
        assert refused.value.kind == kind
        assert refused.value.what


def test_a_bomb_takes_no_memory():
    bomb = png(100, 100, zip_bomb(512 * 2**20))
    assert len(bomb) < 2**20
    tracemalloc.start()
    try:
        for data in (bomb, png(30_000, 30_000, zip_bomb(2**20))):
            with contextlib.suppress(ImageProblem):
                upright(data)
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()


def test_500_fuzzed_pictures_are_read_or_refused():
    random_ = random.Random(7)
    sound = [saved(picture(64, 48), name) for name in FORMATS]
    outcomes = set()
    for number in range(500):
        data = bytearray(sound[number % len(sound)])
        for _ in range(random_.randint(1, 20)):
            data[random_.randrange(len(data))] = random_.randrange(256)
        if number % 3 == 0:
            del data[random_.randrange(len(data)) :]
        try:
            outcomes.add(upright(bytes(data)).mode)
        except ImageProblem as problem:
            outcomes.add(problem.kind)
    assert outcomes >= {"RGB", "BROKEN", "NOT_AN_IMAGE"}


def test_statistics_have_the_names_that_the_settings_list():
    grey = statistics(Image.new("RGB", (300, 200), (100, 100, 100)))
    assert tuple(grey) == IMAGE_STATISTICS
    assert grey["brightness"] == pytest.approx(100, abs=0.1)
    assert grey["contrast"] == grey["saturation"] == grey["sharpness"] == pytest.approx(0, abs=0.01)
    assert statistics(Image.new("RGB", (1, 1), "red"))["red"] == 255
