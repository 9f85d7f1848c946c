"""Any number of runs side by side."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kptk.errors import InputError
from kptk.training.run import Run
from kptk.training.start import StrPath

if TYPE_CHECKING:
    import pandas as pd


def compare_runs(runs: StrPath | Run | Iterable[StrPath | Run]) -> pd.DataFrame:
    """Put runs side by side: how far they came, how good they are, and where their settings differ.

    Args:
        runs: runs or run directories, or one folder that holds some.

    Returns:
        One row a run, best AP first. Columns ``run`` (the directory's name), ``model``,
        ``status``, ``step``, ``steps``, ``minutes`` of training, ``start_AP`` (before the first
        step; NaN if it was not measured), ``best_AP``, ``best_step``, then every setting that is
        not the same in all of them. AP is 0 to 1 on each run's own validation data.

    Raises:
        InputError: there are no runs.
        TrainingError: a directory is no run.
    """
    import pandas as pd

    found = [run if isinstance(run, Run) else Run(run) for run in _listed(runs)]
    if not found:
        raise InputError(
            "runs must be runs, run directories, or a folder that holds some (settings.yml is in "
            f"each). Got {runs!r}, which has none."
        )
    settings = [_flat(run.settings.model_dump(mode="json")) for run in found]
    different = [
        name
        for name in dict.fromkeys(name for values in settings for name in values)
        if name not in ("model", "steps") and len({repr(s.get(name)) for s in settings}) > 1
    ]
    rows = [
        {**_row(run), **{name: values.get(name) for name in different}}
        for run, values in zip(found, settings, strict=True)
    ]
    return pd.DataFrame(rows).sort_values("best_AP", ascending=False, ignore_index=True)


def _listed(runs: StrPath | Run | Iterable[StrPath | Run]) -> list[StrPath | Run]:
    if isinstance(runs, Run):
        return [runs]
    if isinstance(runs, str | Path):
        folder = Path(runs).expanduser()
        if (folder / "settings.yml").is_file():
            return [folder]
        return [*sorted(path.parent for path in folder.glob("*/settings.yml"))]
    return list(runs)  # type: ignore[arg-type]


def _row(run: Run) -> dict[str, Any]:
    state = run.to_json()
    history = run.history
    start = history["AP"].get(0, float("nan")) if "AP" in history else float("nan")
    return {
        "run": run.path.name,
        "model": state["model"],
        "status": state["status"],
        "step": state["step"],
        "steps": state["steps"],
        "minutes": history["seconds"].sum() / 60 if "seconds" in history else 0.0,
        "start_AP": start,
        "best_AP": run.best_ap,
        "best_step": state["best_step"],
    }


def _flat(settings: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings as dotted names; lists of transforms stay whole."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{above}{name}.")
        else:
            flat[above + name] = value
    return flat
