"""The process that decodes pictures of strangers: bounded memory, no files, no children, nothing in its environment.

It is asked on standard input, and ends with it. Whoever broke into it by way of a decoder would
find nothing here, and could say no more than a picture.
"""

from __future__ import annotations

import io
import resource
import sys
from contextlib import suppress

from PIL import Image, ImageDraw

from common.images import ImageProblem, encoded, read_header, statistics, upright
from webapp.images.frames import Ended, receive, send

MEMORY_BYTES = 1 << 30
LARGEST_SIDE = 1024  # beyond, a picture is made smaller: models look at a few hundred pixels
LOSSLESS_PIXELS = 512 * 512  # beyond, JPEG, for PNG of a photograph is slow and large
JPEG_QUALITY = 95
PREVIEW_SIDE = 320
OCCLUDED_SIDE = 256
GREY = (128, 128, 128)


def picture(data: bytes) -> tuple[dict[str, object], list[bytes]]:
    """Return what a file says of itself, the picture as the model is to see it, and a preview; both without EXIF."""
    header = read_header(data)
    pixels = upright(data)
    measured = statistics(pixels)  # before it is made smaller, as ExampleGen measures
    if max(pixels.size) > LARGEST_SIDE:
        pixels.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    is_small = pixels.width * pixels.height <= LOSSLESS_PIXELS
    plain = encoded(pixels) if is_small else encoded(pixels, "JPEG", quality=JPEG_QUALITY)
    pixels.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    said = {"width": header.width, "height": header.height, "statistics": measured}
    return said, [plain, encoded(pixels, "JPEG", quality=85)]


def occluded(data: bytes, cells: int) -> tuple[dict[str, object], list[bytes]]:
    """Return the picture, small, and a copy for each cell of a grid, row by row, in which that cell is grey."""
    pixels = upright(data)
    pixels.thumbnail((OCCLUDED_SIDE, OCCLUDED_SIDE))
    columns = [round(pixels.width * i / cells) for i in range(cells + 1)]
    rows = [round(pixels.height * i / cells) for i in range(cells + 1)]
    copies = [encoded(pixels, "JPEG", quality=90)]
    for row in range(cells):
        for column in range(cells):
            copy = pixels.copy()
            corners = (columns[column], rows[row], columns[column + 1] - 1, rows[row + 1] - 1)
            if corners[0] <= corners[2] and corners[1] <= corners[3]:
                ImageDraw.Draw(copy).rectangle(corners, fill=GREY)
            copies.append(encoded(copy, "JPEG", quality=90))
    return {}, copies


def limit() -> None:
    """Take away from this process what it does not need; what a system does not know is left."""
    limits = {"AS": MEMORY_BYTES, "CORE": 0, "FSIZE": 0, "NOFILE": 16, "NPROC": 0}
    for name, value in limits.items():
        with suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def main() -> None:
    Image.init()  # decoders are imported while that can be done
    _warm_up()
    limit()
    with suppress(Ended, OSError):
        while True:
            head, [body] = receive(sys.stdin.buffer)
            send(sys.stdout.buffer, *_answer(head, body))


def _answer(head: dict[str, object], body: bytes) -> tuple[dict[str, object], list[bytes]]:
    try:
        cells = head.get("cells")
        return occluded(body, cells) if isinstance(cells, int) else picture(body)
    except ImageProblem as problem:
        got = None if problem.got is None else str(problem.got)[:200]
        said = {"what": problem.what, "got": got, "wanted": problem.wanted, "fix": problem.fix}
        return {"kind": problem.kind, **said}, []
    except MemoryError:
        return {"kind": "TOO_MANY_PIXELS", "what": "takes too much memory", "wanted": "a smaller picture"}, []


def _warm_up() -> None:
    """Read one picture of each kind, so that all modules are there."""
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, kind)
        picture(buffer.getvalue())


if __name__ == "__main__":
    main()
