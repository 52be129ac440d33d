"""The fitted transform graph as training and serving apply it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

from components.features.transform import CATEGORICAL, NUMERIC


class TransformGraph(tf.Module):
    """Turn parsed raw columns into the network's inputs.

    `TFTransformOutput.transform_features_layer()` does the same as a Keras 2 model, whose call autograph converts
    for about six seconds.
    """

    def __init__(self, transform_output: Any) -> None:
        super().__init__(name="transform_graph")
        self._apply = SavedModelLoader(transform_output.transform_savedmodel_dir)
        # the loader is no module: its attributes are what an export has to track, vocabularies among them
        self.tracked = self._apply.__dict__

    @tf.autograph.experimental.do_not_convert
    def __call__(self, raw: dict[str, Any]) -> dict[str, tf.Tensor]:
        """Return `numeric` and `categorical`, as far as there are such columns."""
        transformed = self._apply.apply_transform_model(raw)
        return {key: transformed[key] for key in (NUMERIC, CATEGORICAL) if key in transformed}
