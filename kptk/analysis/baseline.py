"""What is normal: another analysis's game and draws, kept in a file or at hand."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kptk.analysis.bootstrap import Draws
from kptk.analysis.oracles import LEVELS, MEMBERS, Game
from kptk.analysis.poses import METRICS
from kptk.analysis.verdict import Normal
from kptk.cache import replacing
from kptk.errors import DataError, InputError

FILE = "draws.npz"


@dataclass(frozen=True, eq=False)
class Baseline:
    """The oracle game of a pipeline on data where it is known to do well.

    Attributes:
        name: of its data.
        normal: its four values and their draws, and what free changes gain; read from a file the
            game has no matches.
    """

    name: str
    normal: Normal

    def save(self, folder: Path) -> Path:
        """Write it to ``draws.npz`` in a folder that exists.

        Raises:
            InputError: it cannot be written.
        """
        game, draws, gains = self.normal.game, self.normal.draws, self.normal.gains
        arrays: dict[str, Any] = {
            "name": np.array(self.name),
            "paired_with": np.array(draws.paired_with),
            "free": np.array(list(gains), np.str_),
            "gains": np.array(list(gains.values()), np.float64),
        }
        for level in LEVELS:
            values = game.values[level]
            arrays[f"{level}_values"] = np.array([[values[w][m] for m in METRICS] for w in MEMBERS])
            arrays[f"{level}_draws"] = draws.values[level]
        try:
            with replacing(folder / FILE) as temporary:
                np.savez_compressed(temporary, **arrays)
        except OSError as error:
            raise InputError(
                f"{folder / FILE} cannot be written: {error.strerror or error}."
            ) from error
        return folder / FILE

    @classmethod
    def load(cls, folder: Path) -> Baseline:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: it is not there or damaged.
        """
        if not (folder / FILE).is_file():
            raise DataError(
                f"The baseline {str(folder)!r} must be a folder written by ErrorAnalysis.save "
                f"(kptk analyze --save-path) of a pipeline: {FILE} is not there."
            )
        try:
            with np.load(folder / FILE, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            values = {level: _named(arrays[f"{level}_values"]) for level in LEVELS}
            draws = {level: _shaped(arrays[f"{level}_draws"]) for level in LEVELS}
            gains = dict(zip(arrays["free"].tolist(), arrays["gains"].tolist(), strict=True))
            name, paired = str(arrays["name"]), int(arrays["paired_with"])
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{folder / FILE} is damaged. Make the baseline again: ErrorAnalysis.save."
            ) from error
        game = Game(values, {level: {} for level in LEVELS})
        return cls(name, Normal(game, Draws(draws, paired), gains))


def _named(values: Any) -> dict[str, dict[str, float]]:
    if values.shape != (len(MEMBERS), len(METRICS)):
        raise ValueError(values.shape)
    rows = zip(MEMBERS, values.tolist(), strict=True)
    return {who: dict(zip(METRICS, row, strict=True)) for who, row in rows}


def _shaped(draws: Any) -> Any:
    if draws.ndim != 3 or draws.shape[1:] != (len(MEMBERS), len(METRICS)):
        raise ValueError(draws.shape)
    return draws
