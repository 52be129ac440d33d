"""Make upright RGB of the bytes of any picture, in bounded memory, and bytes without EXIF of a picture.

TensorFlow reads JPEG, PNG, GIF and BMP, and no rotation: what it is given goes through here first, in the pipeline and
on the page alike.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from common.errors import DataError

Kind = Literal["EMPTY", "FILE_TOO_LARGE", "NOT_AN_IMAGE", "TOO_MANY_PIXELS", "BROKEN"]
Format = Literal["JPEG", "PNG", "GIF", "BMP", "WEBP"]
FORMATS: tuple[Format, ...] = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp"})
MAX_BYTES = 32 * 2**20
MAX_PIXELS = 50_000_000  # 150 MB of RGB
_TURNED = 5  # EXIF orientations from here on swap width and height
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")


class ImageProblem(DataError):
    """A picture that cannot be read. `kind` is for programs, the text for people."""

    def __init__(self, kind: Kind, what: str, *, got: object = None, wanted: str = "", fix: str = "") -> None:
        super().__init__(what, got=got, wanted=wanted, fix=fix)
        self.kind = kind


@dataclass(frozen=True)
class Header:
    """What a picture says of itself. `width`, `height`: of the upright picture; `mode`: Pillow's, as stored."""

    format: Format
    width: int
    height: int
    mode: str
    orientation: int
    has_exif: bool
    is_plain: bool  # TensorFlow reads these bytes as upright RGB


def read_header(data: bytes) -> Header:
    """Read what comes before the pixels. Raises ImageProblem."""
    with _opened(data) as image:
        return _header(image)


def upright(data: bytes) -> Image.Image:
    """Return a picture as upright RGB: turned as EXIF says, transparent parts white, of an animation the first frame.

    Raises ImageProblem; the size is checked before any pixel is decoded. MemoryError is the machine's trouble, not the
    picture's.
    """
    with _opened(data) as image:
        return _upright(image, _header(image).orientation)


def read_picture(data: bytes) -> tuple[Header, Image.Image, bytes]:
    """Return a header, upright pixels, and bytes that TensorFlow reads as such: these, or else a PNG.

    Raises ImageProblem, also where only the pixels are broken.
    """
    with _opened(data) as image:
        header = _header(image)
        pixels = _upright(image, header.orientation)
    return header, pixels, data if header.is_plain else encoded(pixels)


def encoded(image: Image.Image, image_format: Literal["PNG", "JPEG"] = "PNG", *, quality: int = 92) -> bytes:
    """Return an RGB picture as bytes with nothing but its pixels: no EXIF, comment or profile."""
    bare = image.copy()
    bare.info.clear()
    buffer = io.BytesIO()
    if image_format == "JPEG":
        bare.save(buffer, "JPEG", quality=quality)
    else:
        bare.save(buffer, "PNG")
    return buffer.getvalue()


def thumbnail(data: bytes, side: int = 96) -> bytes:
    """Return a small JPEG for a page. Raises ImageProblem."""
    image = upright(data)
    image.thumbnail((side, side))
    return encoded(image, "JPEG", quality=80)


def statistics(image: Image.Image) -> dict[str, float]:
    """Return simple statistics of an RGB picture's pixels, each from 0 to 255, for data gate and drift."""
    small = image.copy()
    small.thumbnail((128, 128), reducing_gap=2.0)
    pixels = np.asarray(small, np.float32)
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    steps = [np.abs(np.diff(grey, axis=axis)) for axis in (0, 1)]
    edges = np.concatenate([step.reshape(-1) for step in steps] + [np.zeros(1)])
    red, green, blue = (float(mean) for mean in pixels.mean(axis=(0, 1)))
    return {
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "saturation": float((pixels.max(axis=2) - pixels.min(axis=2)).mean()),
        "sharpness": float(edges.mean()),
        "red": red,
        "green": green,
        "blue": blue,
    }


def _opened(data: bytes) -> Image.Image:
    """Open a picture by its header alone."""
    if not data:
        raise ImageProblem("EMPTY", "the file is empty", wanted="a picture", fix="export or upload it again")
    if len(data) > MAX_BYTES:
        raise ImageProblem(
            "FILE_TOO_LARGE",
            "the file is too large for a picture",
            got=f"{len(data):,} bytes",
            wanted=f"at most {MAX_BYTES:,}",
            fix="save it smaller",
        )
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many(str(error)) from None
    except MemoryError:
        raise
    except Exception as error:  # whatever a decoder makes of bytes that are none of its own
        raise ImageProblem(
            "NOT_AN_IMAGE",
            "the file is not a picture",
            got=f"it begins with {data[:8]!r}" if isinstance(error, UnidentifiedImageError) else str(error),
            wanted=", ".join(FORMATS),
            fix="save it as JPEG or PNG",
        ) from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise _too_many(f"{width} x {height}")
    return image


def _header(image: Image.Image) -> Header:
    try:
        exif = image.getexif()
        tag = exif.get(ExifTags.Base.Orientation, 1)
        orientation, has_exif = tag if tag in range(1, 9) else 1, bool(exif)
    except MemoryError:
        raise
    except Exception:  # broken EXIF turns nothing
        orientation, has_exif = 1, True
    width, height = image.size
    image_format: Format = next(name for name in FORMATS if name == image.format or image.format == "MPO")
    is_jpeg_or_png = image_format in ("JPEG", "PNG") and not getattr(image, "is_animated", False)
    return Header(
        image_format,
        *((height, width) if orientation >= _TURNED else (width, height)),
        image.mode,
        orientation,
        has_exif,
        is_plain=is_jpeg_or_png and image.mode == "RGB" and "transparency" not in image.info and orientation == 1,
    )


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    try:
        image.load()
        pixels = _as_rgb(image)
        if orientation != 1:
            pixels.getexif()[ExifTags.Base.Orientation] = orientation
            pixels = ImageOps.exif_transpose(pixels)
    except MemoryError:
        raise
    except Exception as error:  # a decoder may stumble over broken bytes in any way
        raise ImageProblem(
            "BROKEN",
            "the picture is broken or cut off",
            got=str(error),
            wanted="a whole file",
            fix="export or upload it again",
        ) from None
    pixels.info.clear()
    return pixels


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT or image.mode in ("I", "F"):  # 16 bit, but for values that fit 8
        highest = image.convert("F").getextrema()[1]
        scale = 1 / 257 if isinstance(highest, float) and highest > 255 else 1.0
        return image.convert("F").point(lambda value: value * scale + 0.5).convert("L").convert("RGB")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _too_many(got: str) -> ImageProblem:
    return ImageProblem(
        "TOO_MANY_PIXELS",
        "the picture has too many pixels",
        got=got,
        wanted=f"at most {MAX_PIXELS:,}",
        fix="save it smaller",
    )
