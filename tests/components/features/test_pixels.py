import numpy as np
import pytest

from common.images import upright
from tests.support.pictures import as_bytes, picture

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "GIF", "BMP"])
def test_what_tensorflow_reads_is_what_pillow_reads(image_format):
    import tensorflow as tf

    from components.features.pixels import pixels

    data = as_bytes(picture("red", 3, side=32), image_format)
    decoded = pixels(tf.constant([data]), 32).numpy()
    assert decoded.shape == (1, 32, 32, 3)
    assert np.array_equal(decoded, decoded.round())
    allowed = 3 if image_format == "JPEG" else 0  # its transform is not exact
    assert np.abs(decoded[0] - np.asarray(upright(data), float)).max() <= allowed


def test_pictures_of_any_size_become_one_batch():
    import tensorflow as tf

    from components.features.pixels import pixels

    images = [as_bytes(picture("red", 1, side=50)), as_bytes(picture("blue", 1, side=9))]
    batch = pixels(tf.constant(images), 16).numpy()
    assert batch.shape == (2, 16, 16, 3)
    assert batch[0, ..., 0].mean() > batch[0, ..., 2].mean()
    assert batch[1, ..., 0].mean() < batch[1, ..., 2].mean()
