#!/usr/bin/env python
"""Draw small varied pictures of five flowers: drawings, no photographs. `python data/flowers/draw.py [FOLDER]`.

No labelled photographs of flowers can be had without a network; these show the pipeline at work, and nothing about
flowers. Size, format, background and light are drawn alike for all kinds, so that only the flower tells them apart.
"""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

FOLDER = Path(os.environ.get("VOUCH_VAR") or Path(__file__).resolve().parents[2] / "var") / "flowers"
PICTURES = 100  # of each kind
SEED = 7
TWICE = 2  # drawn at twice the size, then made smaller, so that edges are smooth
Colour = tuple[int, int, int]
Point = tuple[float, float]


def blended(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def varied(colour: Colour, chance: random.Random, by: int = 24) -> Colour:
    red, green, blue = (min(255, max(0, part + chance.randint(-by, by))) for part in colour)
    return red, green, blue


def petal(centre: Point, angle: float, length: float, width: float, start: float = 0.0) -> list[Point]:
    """Return the outline of a leaf-shaped petal that points away from the centre."""
    points = []
    for step in range(25):
        turn = 2 * math.pi * step / 24
        along, across = start + length * (1 - math.cos(turn)) / 2, width / 2 * math.sin(turn)
        x = centre[0] + along * math.cos(angle) - across * math.sin(angle)
        y = centre[1] + along * math.sin(angle) + across * math.cos(angle)
        points.append((x, y))
    return points


def disc(draw: ImageDraw.ImageDraw, centre: Point, radius: float, colour: Colour) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def draw_daisy(draw: ImageDraw.ImageDraw, centre: Point, radius: float, chance: random.Random) -> None:
    count, colour = chance.randint(13, 18), chance.choice([(250, 250, 245), (250, 225, 235), (235, 235, 255)])
    turn = chance.random()
    for i in range(count):
        outline = petal(centre, 2 * math.pi * (i + turn) / count, radius, radius * 0.26)
        draw.polygon(outline, fill=varied(colour, chance, 10), outline=(190, 190, 190))
    disc(draw, centre, radius * chance.uniform(0.22, 0.3), varied((245, 200, 40), chance))


def draw_sunflower(draw: ImageDraw.ImageDraw, centre: Point, radius: float, chance: random.Random) -> None:
    for ring in range(2):
        count = chance.randint(16, 20)
        for i in range(count):
            angle = 2 * math.pi * (i + ring / 2) / count
            outline = petal(centre, angle, radius * (1 - 0.12 * ring), radius * 0.22)
            draw.polygon(outline, fill=varied((245, 190, 30), chance, 18), outline=(200, 140, 10))
    heart = radius * chance.uniform(0.45, 0.55)
    disc(draw, centre, heart, varied((90, 55, 25), chance, 12))
    for i in range(60):
        place, angle = heart * math.sqrt(i / 60), i * 2.39996
        x, y = centre[0] + place * math.cos(angle), centre[1] + place * math.sin(angle)
        disc(draw, (x, y), radius * 0.025, varied((140, 95, 45), chance, 12))


def draw_tulip(draw: ImageDraw.ImageDraw, centre: Point, radius: float, chance: random.Random) -> None:
    colour = varied(chance.choice([(215, 40, 50), (240, 190, 40), (200, 70, 150), (245, 240, 235)]), chance)
    upright = -math.pi / 2 + chance.uniform(-0.25, 0.25)
    foot = (centre[0] - radius * math.cos(upright), centre[1] - radius * math.sin(upright))
    draw.line([foot, (foot[0] - radius * math.cos(upright), foot[1] + radius)], (60, 120, 50), max(3, int(radius / 8)))
    for lean in (-0.32, 0.32, 0.0):
        outline = petal(foot, upright + lean, radius * 1.9, radius * 0.85)
        draw.polygon(outline, fill=blended(colour, (30, 20, 20), 0.0 if lean == 0 else 0.2), outline=(90, 40, 40))


def draw_rose(draw: ImageDraw.ImageDraw, centre: Point, radius: float, chance: random.Random) -> None:
    colour = varied(chance.choice([(200, 30, 50), (235, 130, 150), (250, 235, 215), (240, 200, 60)]), chance)
    turn = chance.uniform(0, math.pi)
    for ring in range(5):
        size = radius * (1 - ring * 0.19)
        for i in range(5):
            angle = turn + ring * 0.7 + 2 * math.pi * i / 5
            place = (centre[0] + 0.4 * size * math.cos(angle), centre[1] + 0.4 * size * math.sin(angle))
            disc(draw, place, size * 0.62, blended(colour, (40, 10, 20), 0.12 * ring + 0.05 * (i % 2)))
        x, y = centre
        draw.arc((x - size, y - size, x + size, y + size), math.degrees(turn), 300, (90, 30, 40), 2)


def draw_violet(draw: ImageDraw.ImageDraw, centre: Point, radius: float, chance: random.Random) -> None:
    colour = varied(chance.choice([(110, 60, 170), (80, 80, 190), (240, 235, 245), (170, 110, 200)]), chance)
    lean = chance.uniform(-0.3, 0.3)
    for angle, length in ((-2.2, 1.0), (-0.95, 1.0), (-3.0, 0.85), (-0.15, 0.85), (math.pi / 2, 1.05)):
        outline = petal(centre, angle + lean, radius * length, radius * 0.8)
        draw.polygon(outline, fill=varied(colour, chance, 12), outline=(60, 40, 90))
    for angle in (0.9, math.pi / 2, 2.25):
        end = (centre[0] + radius * 0.5 * math.cos(angle + lean), centre[1] + radius * 0.5 * math.sin(angle + lean))
        draw.line([centre, end], (40, 20, 60), 2)
    disc(draw, centre, radius * 0.12, (250, 210, 60))


KINDS: dict[str, Callable[[ImageDraw.ImageDraw, Point, float, random.Random], None]] = {
    "daisy": draw_daisy,
    "rose": draw_rose,
    "sunflower": draw_sunflower,
    "tulip": draw_tulip,
    "violet": draw_violet,
}


def background(size: tuple[int, int], chance: random.Random) -> Image.Image:
    """Return sky, meadow or soil, with leaves and lights."""
    top = varied(chance.choice([(150, 190, 235), (90, 140, 70), (120, 95, 70), (200, 205, 210)]), chance)
    bottom = varied(chance.choice([(70, 120, 50), (110, 150, 80), (90, 70, 50)]), chance)
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    for y in range(size[1]):
        draw.line([(0, y), (size[0], y)], fill=blended(top, bottom, y / size[1]))
    for _ in range(chance.randint(8, 24)):
        place = (chance.uniform(0, size[0]), chance.uniform(size[1] * 0.3, size[1]))
        outline = petal(place, chance.uniform(-3, 0), size[1] * chance.uniform(0.1, 0.4), size[0] * 0.05)
        draw.polygon(outline, fill=varied((60, 120, 50), chance, 40))
    return image.filter(ImageFilter.GaussianBlur(chance.uniform(1, 5)))


def draw_flower(kind: str, chance: random.Random) -> Image.Image:
    """Return a picture of 110 to 200 pixels a side."""
    width, height = chance.randint(110, 200), chance.randint(110, 200)
    image = background((width * TWICE, height * TWICE), chance)
    radius = min(width, height) * chance.uniform(0.22, 0.42) * TWICE
    centre = (width * TWICE * chance.uniform(0.35, 0.65), height * TWICE * chance.uniform(0.35, 0.65))
    layer = Image.new("RGBA", image.size)
    KINDS[kind](ImageDraw.Draw(layer), centre, radius, chance)
    layer = layer.rotate(chance.uniform(-25, 25), Image.Resampling.BICUBIC, center=centre)
    image.paste(layer, (0, 0), layer)
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    if chance.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(chance.uniform(0.5, 1.3)))
    light = chance.uniform(0.65, 1.25)
    return image.point(lambda value: min(255, int(value * light)))


def main(folder: Path = FOLDER, pictures: int = PICTURES, seed: int = SEED) -> None:
    """Write `<folder>/<kind>/<number>.jpg` or `.png`, the same for the same seed; what is there already is kept."""
    for kind in KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(pictures):
            chance = random.Random(f"{seed} {kind} {number}")
            suffix, options = (".png", {}) if chance.random() < 0.2 else (".jpg", {"quality": chance.randint(70, 95)})
            path = folder / kind / f"{number:04d}{suffix}"
            if not path.exists():
                draw_flower(kind, chance).save(path, **options)
    sys.stdout.write(f"{len(KINDS)} kinds with {pictures} drawings each are in {folder}\n")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:2]))
