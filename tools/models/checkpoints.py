"""Reads a checkpoint's tensors as numpy arrays; needs no PyTorch, runs no code of the checkpoint."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tools.models.errors import PackError

type Array = npt.NDArray[Any]
type Tensors = Mapping[str, Array]

_STORAGES = {
    "BoolStorage": np.dtype(np.bool_),
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "IntStorage": np.dtype(np.int32),
    "LongStorage": np.dtype(np.int64),
}
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001


def read_config(folder: Path) -> dict[str, Any]:
    """The checkpoint's ``config.json``; raises `PackError`."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise PackError(f"{folder} has no checkpoint: config.json cannot be read ({error}).") from error
    if not isinstance(config, dict):
        raise PackError(f"{folder} has no checkpoint: config.json is not a JSON object.")
    return config


def read_tensors(folder: Path) -> Tensors:
    """The tensors of ``model.safetensors``, or else of ``pytorch_model.bin``, by name; raises `PackError`."""
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if safe.is_file():
        return _read_safetensors(safe)
    if pickled.is_file():
        return _read_pickled(pickled)
    raise PackError(f"{folder} has no weights: neither model.safetensors nor pytorch_model.bin is there.")


def shaped(tensors: Tensors, name: str, *shape: int) -> npt.NDArray[np.float32]:
    """One tensor as float32; raises `PackError` if it is missing or has another shape (-1: any)."""
    tensor = tensors.get(name)
    if tensor is None:
        raise PackError(f"The checkpoint has another shape than the recipe expects: it has no {name}.")
    fits = len(tensor.shape) == len(shape) and all(
        wanted in (-1, found) for wanted, found in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        raise PackError(
            "The checkpoint has another shape than the recipe expects:"
            f" {name} is {tensor.shape}, not {shape}."
        )
    return np.ascontiguousarray(tensor, np.float32)


def _read_safetensors(path: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: Tensors = load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise PackError(f"{path} cannot be read: {error}.") from error
    return tensors


class _TensorsOnly(pickle.Unpickler):
    """Unpickles tensors and the dict that names them, and rejects anything else: no code of the file runs.

    ``storage_of`` gives the elements of a storage by its key, type and length.
    """

    def __init__(self, file: IO[bytes], storage_of: Callable[[str, np.dtype[Any], int], Array]) -> None:
        super().__init__(file)
        self._storage_of = storage_of

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Array:
        kind, dtype, key, _, length = pid[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype) or pid[5:] not in ((), (None,)):
            raise pickle.UnpicklingError("it refers to something that is not a tensor")
        return self._storage_of(str(key), dtype, int(length))


def _rebuild(storage: Array, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Array:
    """A view of a storage, as ``torch._utils._rebuild_tensor_v2`` makes it."""
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (0 not in size and last >= len(storage)):
        raise pickle.UnpicklingError("a tensor reaches beyond its data")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def _read_pickled(path: Path) -> Tensors:
    try:
        found = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except (
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        raise PackError(f"{path} cannot be read as tensors alone: {error}.") from error
    if not isinstance(found, dict) or not all(isinstance(value, np.ndarray) for value in found.values()):
        raise PackError(f"{path} holds more than named tensors.")
    return found


def _read_zip(path: Path) -> Any:
    """The format of PyTorch 1.6 and later: one pickle, and a file a storage."""
    with zipfile.ZipFile(path) as archive:
        [pickled] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        folder = pickled.removesuffix("data.pkl") + "data/"

        def storage_of(key: str, dtype: np.dtype[Any], length: int) -> Array:
            return np.frombuffer(archive.read(folder + key), dtype, length)

        with archive.open(pickled) as file:
            return _TensorsOnly(file, storage_of).load()


def _read_legacy(path: Path) -> Any:
    """The format of earlier versions (``torch.serialization._legacy_save``).

    Pickles of a magic number, the format's version, the writer's integer sizes, the object and its storages'
    keys; then each storage: its length in eight bytes and its elements.
    """
    storages: dict[str, Array] = {}

    def storage_of(key: str, dtype: np.dtype[Any], length: int) -> Array:
        return storages.setdefault(key, np.zeros(length, dtype))

    with path.open("rb") as file:
        magic, version, system = (_TensorsOnly(file, storage_of).load() for _ in range(3))
        if magic != _LEGACY_MAGIC or version != _LEGACY_VERSION or not system.get("little_endian"):
            raise pickle.UnpicklingError("it is not a PyTorch checkpoint")
        found = _TensorsOnly(file, storage_of).load()
        for key in _TensorsOnly(file, storage_of).load():
            storage = storages[key]
            length = int.from_bytes(file.read(8), "little", signed=True)
            content = file.read(storage.nbytes)
            if length != len(storage) or len(content) != storage.nbytes:
                raise pickle.UnpicklingError("it ends within a tensor")
            storage[:] = np.frombuffer(content, storage.dtype)
    return found
