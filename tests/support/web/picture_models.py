"""Small SavedModels that read pictures as ours do: decoded and resized in the graph, answered by class."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from config.data_settings import IMAGE_BYTES, STRANGENESS
from serving.repository.layout import MANIFEST
from serving.repository.manifest import Manifest, checksums
from tests.support.web.pictures import COLOURS, LEAST, SHARPNESS

SIZE = 32


def put_graph(folder: Path, *, by_brightest: bool) -> None:
    """Put a graph into a hand-made version and vouch for it: how red, green and blue a picture is.

    It goes by the mean of all pixels or by the brightest ones, which is the same for a picture of one colour.
    """
    from tests.support.serving.models import PREDICT, save, signature

    def build(v1: Any) -> dict[str, Any]:
        def decoded(data: Any) -> Any:
            image = v1.image.decode_image(data, channels=3, expand_animations=False)
            image.set_shape([None, None, 3])
            return v1.image.resize(v1.cast(image, v1.float32) / 255.0, [SIZE, SIZE])

        data = v1.placeholder(v1.string, [None], name=IMAGE_BYTES)
        pixels = v1.map_fn(decoded, data, v1.float32)
        over = v1.reduce_max if by_brightest else v1.reduce_mean
        sharpness = v1.Variable(SHARPNESS, name="sharpness")  # a SavedModel needs something to restore
        colours = v1.reverse(over(pixels, axis=[1, 2]), [1])  # red comes first in a picture, blue among the classes
        probabilities = v1.nn.softmax(sharpness * colours)
        label = v1.gather(v1.constant(COLOURS), v1.argmax(probabilities, axis=1))
        strangeness = LEAST / v1.reduce_max(probabilities, axis=1)
        outputs = {"probabilities": probabilities, "label": label, STRANGENESS: strangeness}
        return {"serving_default": signature(PREDICT, {IMAGE_BYTES: data}, outputs)}

    made = save(folder.with_name(f".{folder.name}"), build)
    (folder / "saved_model.pb").unlink()
    shutil.copytree(made, folder, dirs_exist_ok=True)
    shutil.rmtree(made)
    manifest = Manifest.read(folder)
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).write_text(replace(manifest, checksums=checksums(folder)).text(), encoding="utf-8")
