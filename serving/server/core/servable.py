"""One loaded version: a SavedModel as TensorFlow Serving's C++ session holds it."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.saved_model import loader_impl

from serving.server.config import BatchingOptions
from serving.server.core.tensors import type_name
from serving.server.status import Code, StatusError, as_status, invalid_argument, not_found

Array = NDArray[Any]

_dtype_of = attrgetter("dtype")

# a client chooses which outputs to fetch: without a bound every choice would stay in memory
_MAX_CALLABLES = 128
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


class Call(NamedTuple):
    """What one session run takes; fetches are distinct."""

    feeds: tuple[str, ...]
    fetches: tuple[str, ...]
    values: Sequence[Array]


@dataclass(eq=False)
class Servable:
    """A session with a graph of its own and a callable for each set of tensors used.

    `batching` says how requests of this version share a run; None: they do not. `memo` is for what the layers above
    work out once per version.
    """

    session: Any
    signatures: Mapping[str, Any]  # name: SignatureDef
    batching: BatchingOptions | None = None
    memo: dict[Any, Any] = field(default_factory=dict)
    _callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Any] = field(default_factory=dict)
    _dtypes: dict[tuple[str, ...], tuple[Any, ...]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    def load(folder: Path, tags: tuple[str, ...] = ("serve",), session_config: Any = None) -> Servable:
        """Load by the TF1 session loader, which restores only what the C++ server would.

        `session_config` is a ConfigProto. Raises StatusError: NOT_FOUND without a SavedModel or a graph of exactly
        these tags, DATA_LOSS for a file that is no SavedModel, else what TensorFlow says.
        """
        if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
            raise not_found(
                f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {folder}. Check that the "
                "directory exists and that you have the right permissions for accessing it."
            )
        graph = tf.Graph()
        session = tf.compat.v1.Session(graph=graph, config=session_config)
        try:
            signatures = _load_into(session, folder, tags)
        except Exception as error:
            Servable(session, {}).close()
            raise as_status(error) from error
        return Servable(session, signatures)

    def call(self, feeds: tuple[str, ...], fetches: tuple[str, ...], values: Sequence[Array]) -> list[Array]:
        """Run the session: `values` go into the tensors `feeds` as they are, those of `fetches` come back.

        `Session.run` would check and cast against the placeholder, which the C++ session does not do. The callable
        releases the GIL. Raises StatusError: INVALID_ARGUMENT for a wrong type, else what the run says.
        """
        self.check_dtypes(feeds, values)
        try:
            run = self._callables.get((feeds, fetches)) or self._prepare(feeds, fetches)
            return [_as_given(fetched) for fetched in run(*values)]
        except UnicodeDecodeError as error:
            # the message quotes input that is no UTF-8, and TensorFlow fails to make an error of it: the code is lost
            raise invalid_argument(error.object.decode("utf-8", "replace")) from error
        except Exception as error:
            raise as_status(error) from error

    def check_dtypes(self, feeds: tuple[str, ...], values: Sequence[Array]) -> None:
        """Raise INVALID_ARGUMENT unless every value has its tensor's type: none is ever cast."""
        wanted = self._dtypes.get(feeds) or self._look_up(feeds)
        dtypes = tuple(map(_dtype_of, values))
        if dtypes == wanted:  # of equal length, and nearly always the same objects: a microsecond for thirty
            return
        for index, (got, wants) in enumerate(zip(dtypes, wanted, strict=True)):
            if got != wants:
                names = [type_name(dtype).removeprefix("DT_").lower() for dtype in (wants, got)]
                raise invalid_argument(f"Expects arg[{index}] to be {names[0]} but {names[1]} is provided")

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return a signature's outputs by name, values fed as they are.

        Raises KeyError for an unknown signature or input, else as `call` does.
        """
        definition = self.signatures[signature]
        names, outputs = sorted(definition.inputs), sorted(definition.outputs)
        feeds = tuple(definition.inputs[name].name for name in names)
        fetches = tuple(definition.outputs[name].name for name in outputs)
        return dict(zip(outputs, self.call(feeds, fetches, [inputs[name] for name in names]), strict=True))

    def dtype(self, signature: str, name: str) -> Any:
        """Return the numpy type of an input; text is `object`."""
        return tf.as_dtype(self.signatures[signature].inputs[name].dtype).as_numpy_dtype

    def close(self) -> None:
        """Free the session and its graph, and give their memory back to the system. No call may be running."""
        self._callables.clear()  # they can only be released while the session is open
        self.session.close()
        self.session = None
        gc.collect()
        _libc().malloc_trim(0)

    def _prepare(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Any:
        with self._lock:
            while len(self._callables) >= _MAX_CALLABLES:
                del self._callables[next(iter(self._callables))]
            options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
            made = self._callables[feeds, fetches] = self.session._make_callable_from_options(options)
        return made

    def _look_up(self, feeds: tuple[str, ...]) -> tuple[Any, ...]:
        try:
            tensors = [self.session.graph.get_tensor_by_name(name) for name in feeds]
        except (KeyError, ValueError, TypeError) as error:
            raise invalid_argument(f"FeedInputs: unable to find feed output: {error}") from error
        dtypes = self._dtypes[feeds] = tuple(np.dtype(tensor.dtype.as_numpy_dtype) for tensor in tensors)
        return dtypes


def as_array(values: Any, dtype: Any) -> Array:
    if np.dtype(dtype) == np.object_:
        return np.array([v.encode() if isinstance(v, str) else v for v in values], dtype=object)
    return np.asarray(values, dtype=dtype)


def _as_given(fetched: Any) -> Array:
    # a scalar comes as a number or as bytes, and numpy would cut bytes at their last NUL
    if type(fetched) is np.ndarray:
        return fetched
    return np.array(fetched, dtype=object if isinstance(fetched, bytes) else None)


def _load_into(session: Any, folder: Path, tags: tuple[str, ...]) -> dict[str, Any]:
    try:
        loader = loader_impl.SavedModelLoader(str(folder))
    except OSError as error:
        raise StatusError(Code.DATA_LOSS, f"Can't parse {folder / 'saved_model.pb'} as binary proto") from error
    if not any(set(graph.meta_info_def.tags) == set(tags) for graph in loader.saved_model.meta_graphs):
        raise not_found(
            f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. To inspect available "
            "tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
        )
    _import_in_parts(session.graph, loader.get_meta_graph_def_from_tags(tags))
    return dict(loader.load(session, list(tags)).signature_def)


def _import_in_parts(graph: Any, meta_graph: Any) -> None:
    """Import a graph's nodes, and take them out of `meta_graph`.

    TensorFlow holds Python's lock while it imports, longest for a call of a function, whose body it goes through. So
    each call that hangs on tensors alone, and that no other node needs, comes on its own: requests have their turn in
    between.
    """
    whole, stripped = meta_graph.graph_def, meta_graph.meta_info_def.stripped_op_list
    needed = {name.removeprefix("^").partition(":")[0] for node in whole.node for name in node.input}
    calls = [node for node in whole.node if node.op in _CALLS and node.name not in needed and _is_free(node)]
    apart = {node.name for node in calls}
    rest = [node for node in whole.node if node.name not in apart]
    graph_def = tf.compat.v1.GraphDef
    with graph.as_default():
        first = graph_def.FromString(whole.SerializeToString())
        del first.node[:]
        first.node.extend(rest)
        tf.import_graph_def(first, name="", producer_op_list=stripped)
        for call in calls:
            inputs = {name: graph.get_tensor_by_name(name if ":" in name else f"{name}:0") for name in call.input}
            part = graph_def(versions=whole.versions, node=[call])
            tf.import_graph_def(part, name="", input_map=inputs, producer_op_list=stripped)
    del whole.node[:]


def _is_free(node: Any) -> bool:
    """Return whether nothing ties a node to others but tensors: no order and no place."""
    return "_class" not in node.attr and not any(name.startswith("^") for name in node.input)


@cache
def _libc() -> Any:
    return ctypes.CDLL(None)
