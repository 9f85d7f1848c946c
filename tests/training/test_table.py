"""Runs side by side; the numbers expected are those written into the event logs here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from kptk.errors import InputError
from kptk.training.run import Run, compare_runs
from kptk.training.settings import write_settings
from tests.training.fakes import make_run


def recorded(folder: Path, aps: dict[int, float], rate: float) -> Path:
    """A run that ended, with these AP, ten seconds a step."""
    make_run(folder)
    settings = Run(folder).settings
    write_settings(settings.model_copy(update={"learning_rate": rate}), folder / "settings.yml")
    events = [{"event": "start", "step": 0, "steps": 4, "samples": 8}]
    events += [{"event": "eval", "step": 0, "AP": aps[0]}] if 0 in aps else []
    events += [{"event": "step", "step": s, "loss": 1.0, "lr": 0.1, "seconds": 10} for s in (1, 2)]
    events += [{"event": "eval", "step": step, "AP": ap} for step, ap in aps.items() if step]
    events += [{"event": "stopped", "step": 2}]
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    return folder


def test_one_row_a_run_the_best_first_with_the_settings_that_differ(tmp_path: Path) -> None:
    worse = recorded(tmp_path / "worse", {0: 0.10, 1: 0.20, 2: 0.15}, rate=0.1)
    better = recorded(tmp_path / "better", {2: 0.30}, rate=0.2)
    for runs in ([worse, Run(better)], tmp_path):
        table = compare_runs(runs)
        assert list(table["run"]) == ["better", "worse"]
        assert list(table["best_AP"]) == [0.30, 0.20]
        assert list(table["best_step"]) == [2, 1]
        assert math.isnan(table["start_AP"][0]) and table["start_AP"][1] == 0.10
        assert list(table["minutes"].round(6)) == [round(20 / 60, 6)] * 2
        assert list(table["learning_rate"]) == [0.2, 0.1]
        assert "batch_size" not in table and "seed" not in table


def test_a_single_run_is_a_table_too(tmp_path: Path) -> None:
    table = compare_runs(recorded(tmp_path / "alone", {2: 0.30}, rate=0.1))
    assert len(table) == 1 and table["status"][0] == "stopped"


def test_a_folder_without_runs_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folder that holds some \(settings.yml"):
        compare_runs(tmp_path)
