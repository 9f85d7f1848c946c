"""An analysis as a folder of files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kptk.analysis.baseline import FILE
from kptk.cache import replacing
from kptk.errors import InputError
from kptk.evaluation.collecting import write_json

if TYPE_CHECKING:
    import pandas as pd

    from kptk.analysis.result import ErrorAnalysis

TABLES = ("persons", "unlabelled", "detections", "joints", "what_if", "sweep")


def save(analysis: ErrorAnalysis, folder: Path) -> Path:
    """Write report, tables and draws; see ``ErrorAnalysis.save``.

    Raises:
        InputError: it cannot be written.
    """
    write_json(folder / "analysis.json", analysis.json)
    for name in TABLES:
        _write_table(getattr(analysis, name), folder / f"{name}.csv")
    own = analysis.as_baseline
    if own is not None:
        own.save(folder)
    else:
        (folder / FILE).unlink(missing_ok=True)
    return folder


def _write_table(table: pd.DataFrame, path: Path) -> None:
    try:
        with replacing(path) as temporary:
            table.to_csv(temporary, index=False)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
