import numpy as np
import pytest
from PIL import Image, ImageEnhance

from bench.images import FASHION, fashion
from common.images import upright
from components.examples.near_duplicates import LOOK, look_of, near_pairs, together
from tests.support.pictures import as_bytes, picture
from tests.support.programs import skip_without


def looks(*images: Image.Image) -> np.ndarray:
    return np.array([look_of(image) for image in images], LOOK)


def grouped(images: list[Image.Image], same: list[int] | None = None) -> list[int]:
    return together(looks(*images), np.array(same or [-1] * len(images), np.int64)).tolist()


def in_pairs(seen: np.ndarray) -> set[int]:
    return {int(i) for pairs in near_pairs(seen) for i in np.concatenate(pairs)}


@pytest.mark.parametrize(
    "changed",
    [
        lambda image: upright(as_bytes(image, "JPEG", quality=60)),
        lambda image: image.resize((60, 60)),
        lambda image: ImageEnhance.Brightness(image).enhance(1.01),
    ],
    ids=["saved again", "resized", "a little brighter"],
)
def test_a_picture_that_was_saved_otherwise_is_nearly_the_same(changed):
    image = picture("red", 1, side=120)
    assert grouped([image, changed(image)]) == [0, 0]


def test_other_pictures_are_not():
    images = [picture(colour, number) for colour in ("red", "blue") for number in range(100)]
    assert not in_pairs(looks(*images))


def test_of_small_real_pictures_few_are_taken_for_a_copy():
    if not FASHION.is_dir():
        skip_without("Fashion-MNIST")
    pictures, _ = fashion("train")
    seen = looks(*(Image.fromarray(pixels).convert("RGB") for pixels in pictures[:20_000]))
    assert len(in_pairs(seen)) <= 0.001 * len(seen)


def test_one_hash_is_not_enough():
    dark, light = Image.new("RGB", (32, 32), (10, 10, 10)), Image.new("RGB", (32, 32), (200, 200, 200))
    seen = looks(dark, light)
    assert seen["bits"][0] == seen["bits"][1]
    assert not in_pairs(seen)


def test_groups_join_what_they_share():
    a, b, c = (picture("red", number) for number in range(3))
    assert grouped([a, b, a, c, b], [-1, 5, -1, 5, -1]) == [0, 1, 0, 1, 1]


def test_many_equal_pictures_are_one_group():
    assert set(grouped([picture("red", 1)] * 300)) == {0}


def test_no_pictures_make_no_groups():
    assert grouped([]) == []
