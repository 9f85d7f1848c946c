"""Weight files: reading them without running what is inside, and writing them whole.

A ``.pdparams`` file is a pickle, and a pickle can run any code while it is read. The reader here
admits arrays and plain containers only; everything else in the file is an error.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import ModelError, nearest
from kptk.files import replacing

PREFIX = "ppdet:"  # of training weights among the initializers of a demo model's graph

# All that a pickle may name, and what stands in for it: arrays, their types, scalars, bytes.
_ADMITTED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): (
        lambda subtype, shape, dtype: np.ndarray.__new__(np.ndarray, shape, dtype)
    ),
    ("numpy.core.multiarray", "scalar"): lambda dtype, data: np.frombuffer(data, dtype)[0],
    ("numpy.core.numeric", "_frombuffer"): (
        lambda data, dtype, shape, order: np.frombuffer(data, dtype).reshape(shape, order=order)
    ),
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows what is admitted, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        key = (module.replace("numpy._core", "numpy.core"), name)
        if key not in _ADMITTED:
            raise ModelError(
                f"The weight file asks to load {module}.{name}, which is not an array. It was not "
                "read, since a file like that can run code. Save it again with "
                "paddle.save(state_dict)."
            )
        return _ADMITTED[key]


def read_pdparams(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read a Paddle weight file without running code from it.

    Args:
        path: a ``.pdparams`` file.

    Returns:
        Parameter name to array, in the file's order.

    Raises:
        ModelError: it is missing, damaged, holds no arrays, or holds anything but arrays.
    """
    path = Path(path)
    try:
        state = _ArraysOnly(io.BytesIO(path.read_bytes())).load()
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"The weight file {path} cannot be read: {error.strerror}.") from error
    except Exception as error:
        raise ModelError(
            f"{path} is not a Paddle weight file, or it is damaged ({type(error).__name__}: "
            f"{error}). Fetch or save it again."
        ) from error
    if not isinstance(state, dict):
        raise ModelError(f"{path} must hold a state dict. Got {type(state).__name__}.")
    arrays = {}
    for name, value in state.items():  # an older paddle.save wrote pairs (name, array)
        value = value[1] if isinstance(value, tuple) and len(value) == 2 else value
        if isinstance(value, np.ndarray):
            arrays[str(name)] = value
    if not arrays:
        raise ModelError(f"{path} holds no arrays. Expected the weights of a model.")
    return arrays


def read_weights(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read weights from a ``.pdparams`` file, kptk's ``.npz`` checkpoint, or a packed ONNX file."""
    path = Path(path)
    if path.is_dir() and (path / "inference.onnx").is_file():
        path = path / "inference.onnx"
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    if path.suffix != ".onnx":
        return read_pdparams(path)
    import onnx
    from onnx import numpy_helper

    weights = {
        item.name.removeprefix(PREFIX): numpy_helper.to_array(item).astype(np.float32)
        for item in onnx.load(os.fspath(path)).graph.initializer
        if item.name.startswith(PREFIX)
    }
    if not weights:
        raise ModelError(
            f"{path} holds an inference graph without training weights. "
            "Start from a .pdparams file or from one of kptk's own models."
        )
    return weights


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to an ``.npz`` file that is either whole or not there."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def match(
    wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, NDArray[Any]], source: str
) -> dict[str, NDArray[Any]]:
    """Check that weights fit a network.

    Args:
        wanted: parameter name to shape, of the network.
        found: parameter name to array, of the file.
        source: the file, for the message.

    Raises:
        ModelError: names or shapes differ; the message names the first.
    """
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ModelError(
            f"{source} does not fit the network: {len(missing)} of {len(wanted)} parameters are "
            f"missing, the first is {missing[0]!r}.{nearest(missing[0], list(found))}"
        )
    for name, shape in wanted.items():
        if tuple(found[name].shape) != tuple(shape):
            raise ModelError(
                f"{source} does not fit the network: {name} must have shape {tuple(shape)}. "
                f"Got {tuple(found[name].shape)}."
            )
    return {name: found[name] for name in wanted}
