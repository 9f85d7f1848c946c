"""Weights under ppdet's names, to and from the PyTorch twins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_ENDINGS = {"running_mean": "_mean", "running_var": "_variance"}
_PREFIX = "ppdet:"  # of the packed graph's initializers, see tools.pack
Arrays = dict[str, np.ndarray[Any, Any]]


def ppdet_name(name: str) -> str | None:
    """ppdet's name of a tensor of a twin; None if it has none."""
    stem, _, ending = name.rpartition(".")
    if ending == "num_batches_tracked":
        return None
    return f"{stem}.{_ENDINGS.get(ending, ending)}"


def load(net: nn.Module, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Put weights into a twin; every name must be there on both sides and fit."""
    state = net.state_dict()
    wanted = {ppdet_name(name): tensor for name, tensor in state.items()}
    wanted.pop(None, None)
    if set(wanted) != set(arrays):
        odd = sorted(set(wanted) ^ set(arrays))  # type: ignore[type-var]
        raise ValueError(f"{len(odd)} names differ between the twin and the weights: {odd[:4]}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(torch.from_numpy(np.array(arrays[str(name)], np.float32)))


def arrays_of(state: Mapping[str, Tensor]) -> Arrays:
    """A twin's ``state_dict`` under ppdet's names.

    Arrays of more than one dimension are in half precision, as the packed model stores them.
    """
    named = {ppdet_name(name): tensor for name, tensor in state.items()}
    return {
        name: tensor.detach().cpu().numpy().astype(np.float16 if tensor.ndim > 1 else np.float32)
        for name, tensor in named.items()
        if name is not None
    }


def read(path: str | os.PathLike[str]) -> Arrays:
    """Read an ``.npz`` file, or the packed ONNX graph of a demo model."""
    path = Path(path)
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    import onnx
    from onnx import numpy_helper

    return {
        item.name.removeprefix(_PREFIX): numpy_helper.to_array(item)
        for item in onnx.load(path).graph.initializer
        if item.name.startswith(_PREFIX)
    }


def write(path: Path, arrays: Arrays) -> None:
    """Write an ``.npz`` file that is either whole or not there."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    os.replace(part, path)
