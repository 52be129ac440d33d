"""One loaded version: a SavedModel as TensorFlow Serving's C++ session holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2

Array = NDArray[Any]


@dataclass
class Servable:
    """A session with a graph of its own and a callable for each signature used."""

    session: Any
    signatures: Mapping[str, Any]  # name: SignatureDef
    _callables: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def load(folder: Path, tags: tuple[str, ...] = ("serve",)) -> Servable:
        """Load by the TF1 session loader, which restores only what the C++ server would.

        Raises what the loader raises: a tf.errors.OpError, or RuntimeError for unknown tags.
        """
        graph = tf.Graph()
        with graph.as_default():
            session = tf.compat.v1.Session(graph=graph)
            meta_graph = tf.compat.v1.saved_model.load(session, list(tags), str(folder))
        return Servable(session, dict(meta_graph.signature_def))

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return a signature's outputs by name, values fed as they are.

        `Session.run` would check and cast against the placeholder, which the C++ session does not do. The callable
        releases the GIL. Raises KeyError for an unknown signature or input.
        """
        definition = self.signatures[signature]
        names = sorted(definition.inputs)
        outputs = sorted(definition.outputs)
        if signature not in self._callables:
            self._callables[signature] = self.session._make_callable_from_options(
                config_pb2.CallableOptions(
                    feed=[definition.inputs[name].name for name in names],
                    fetch=[definition.outputs[name].name for name in outputs],
                )
            )
        values = self._callables[signature](*(inputs[name] for name in names))
        return dict(zip(outputs, values, strict=True))

    def dtype(self, signature: str, name: str) -> Any:
        """Return the numpy type of an input; text is `object`."""
        return tf.as_dtype(self.signatures[signature].inputs[name].dtype).as_numpy_dtype

    def close(self) -> None:
        """Free the session."""
        self.session.close()


def as_array(values: Any, dtype: Any) -> Array:
    """Return values as the array a session takes, text as bytes."""
    if np.dtype(dtype) == np.object_:
        return np.array([v.encode() if isinstance(v, str) else v for v in values], dtype=object)
    return np.asarray(values, dtype=dtype)
