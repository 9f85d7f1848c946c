"""Weight files: reading them without running what is inside, and writing them whole.

A ``.pdparams`` file is a pickle, and a pickle can run any code while it is read. The reader here
admits arrays and plain containers only; everything else in the file is an error.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import ModelError, nearest
from kptk.files import replacing


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows arrays, their types and scalars, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy._core", "numpy.core")
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return _new_array
        if (module, name) == ("numpy.core.multiarray", "scalar"):
            return _new_scalar
        if (module, name) == ("numpy.core.numeric", "_frombuffer"):
            return _from_buffer
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        raise ModelError(
            f"The weight file asks to load {module}.{name}, which is not an array. It was not "
            "read, since a file like that can run code. Save it again with paddle.save(state_dict)."
        )


def _new_array(subtype: type, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    return np.ndarray.__new__(np.ndarray, shape, dtype)


def _from_buffer(data: Any, dtype: Any, shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _new_scalar(dtype: np.dtype[Any], data: bytes) -> Any:
    return np.frombuffer(data, dtype)[0]


def _latin1(text: str, encoding: str) -> bytes:
    return text.encode("latin1")


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
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"The weight file {path} cannot be read: {error.strerror}.") from error
    try:
        state = _ArraysOnly(io.BytesIO(content)).load()
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{path} is not a Paddle weight file, or it is damaged ({type(error).__name__}: "
            f"{error}). Fetch or save it again."
        ) from error
    if not isinstance(state, dict):
        raise ModelError(f"{path} must hold a state dict. Got {type(state).__name__}.")
    arrays = {
        str(name): value[1] if isinstance(value, tuple) and len(value) == 2 else value
        for name, value in state.items()
        if name != "StructuredToParameterName@@"
    }
    arrays = {name: value for name, value in arrays.items() if isinstance(value, np.ndarray)}
    if not arrays:
        raise ModelError(f"{path} holds no arrays. Expected the weights of a model.")
    return arrays


def read_onnx_weights(path: str | os.PathLike[str]) -> dict[str, NDArray[np.float32]]:
    """Read the weights of a packed demo model: the ONNX initializers with ppdet's names."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(os.fspath(path)).graph
    return {
        item.name.removeprefix("ppdet:"): numpy_helper.to_array(item).astype(np.float32)
        for item in graph.initializer
        if item.name.startswith("ppdet:")
    }


def read_weights(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read weights from a ``.pdparams`` file, kptk's ``.npz`` checkpoint, or a packed ONNX file."""
    path = Path(path)
    if path.is_dir() and (path / "inference.onnx").is_file():
        path = path / "inference.onnx"
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    if path.suffix == ".onnx":
        weights = read_onnx_weights(path)
        if not weights:
            raise ModelError(
                f"{path} holds an inference graph without training weights. "
                "Start from a .pdparams file or from one of kptk's own models."
            )
        return weights
    return read_pdparams(path)


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
        ModelError: names or shapes differ; the message names the first few.
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
