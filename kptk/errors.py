"""Every error kptk raises on purpose, and the two helpers that word them.

A message says what was expected, what came, and what to do.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class KptkError(Exception):
    """Base of all errors that kptk raises on purpose."""


class InputError(KptkError, ValueError):
    """Something handed in (image, box, threshold, folder) cannot be used."""


class ModelError(KptkError):
    """A model name, model directory, weight file or engine cannot be used."""


class DeviceError(ModelError):
    """The device asked for is not there, or this build cannot use it."""


class ConfigError(KptkError, ValueError):
    """A configuration file or setting cannot be used."""


class DataError(KptkError, ValueError):
    """A data set or annotation file cannot be used."""


class DownloadError(KptkError):
    """A file could not be fetched, verified or unpacked."""


class TrainingError(KptkError):
    """A training run could not start or did not finish."""


class ServiceError(KptkError):
    """A request that the service does not answer with a result; ``status`` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class BulkError(KptkError):
    """A run over many images cannot start, go on or be read, or parts of it were lost."""


class MissingDependencyError(KptkError, ImportError):
    """An optional package is needed and not installed."""


def nearest(name: str, options: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the option closest to ``name``, or ""."""
    by_lower = {option.lower(): option for option in options}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: dotted name of the module.
        extra: the extra of kptk that installs it, e.g. ``"paddle"``.
        purpose: what it is needed for, as the start of the sentence, e.g. ``"Reading video"``.

    Raises:
        MissingDependencyError: it is not installed; the message holds the install line.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        if missing != module.partition(".")[0]:
            raise
        raise MissingDependencyError(
            f"{purpose} needs the package {missing!r}, which is not installed. "
            f"Install it with: pip install 'kptk[{extra}]'"
        ) from error
