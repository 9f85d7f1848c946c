"""What ended a run, in words: what happened, what is kept, what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import DataError, KptkError, TrainingError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# how Paddle says on its several devices that memory ran out; the type of the error varies
_NO_MEMORY = ("resourceexhausted", "out of memory", "cannot allocate memory", "bad_alloc")


def explain(error: Exception, folder: Path, step: int) -> str | None:
    """Word what ended the worker of a run.

    Args:
        error: what was raised.
        folder: the run directory.
        step: steps trained so far.

    Returns:
        The message; None for an error that only a traceback explains.
    """
    if isinstance(error, DataError):
        return f"{error} {_what_is_kept(folder)}"
    if isinstance(error, KptkError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        file = f" to write {os.fsdecode(error.filename)}" if error.filename else ""
        return (
            f"There is no room left on the disk{file} (step {step}). Free some space"
            f"{_needed(folder)}. {_what_is_kept(folder)}"
        )
    if isinstance(error, MemoryError) or any(word in str(error).lower() for word in _NO_MEMORY):
        return (
            f"Memory ran out at step {step + 1}. Start anew with a smaller batch_size (half of "
            "it) or input_size, or free memory and go on. " + _what_is_kept(folder)
        )
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error}. {_what_is_kept(folder)}"
    return None


def _needed(folder: Path) -> str:
    """How much room the next checkpoint takes, from the last."""
    checkpoint = folder / "checkpoint.npz"
    if not checkpoint.is_file():
        return ""
    return f": a checkpoint of this run takes {checkpoint.stat().st_size / 1e6:.0f} MB"


def _what_is_kept(folder: Path) -> str:
    checkpoint = folder / "checkpoint.npz"
    if checkpoint.is_file():
        return "The last checkpoint is kept: go on with run.resume() (kptk resume)."
    return "There was no checkpoint yet: run.resume() (kptk resume) begins again."


def check_loss(loss: float, step: int, rate: float) -> None:
    """Refuse to go on from a loss that is no number.

    Args:
        loss: of the step.
        step: the step, from 1.
        rate: its learning rate.

    Raises:
        TrainingError: it is NaN or infinite.
    """
    if not np.isfinite(loss):
        raise TrainingError(f"The loss became {loss} at step {step}. {_lower(rate)}")


def check_weights(arrays: Mapping[str, NDArray[Any]], step: int, rate: float) -> None:
    """Refuse to keep weights that are no numbers, so that what was kept before stays.

    Args:
        arrays: name to array.
        step: the step they come from.
        rate: its learning rate.

    Raises:
        TrainingError: one holds NaN or infinity.
    """
    bad = next((name for name, value in arrays.items() if not np.isfinite(value).all()), None)
    if bad is not None:
        raise TrainingError(f"The weights {bad} became NaN by step {step}. {_lower(rate)}")


def _lower(rate: float) -> str:
    return (
        "The last checkpoint is kept, and so is best.npz. Going on from it would most likely lead "
        f"there again: start anew with a lower learning_rate (a third: {rate / 3:.1g}), or look "
        "for wrong boxes or keypoints in the data (kptk check)."
    )
