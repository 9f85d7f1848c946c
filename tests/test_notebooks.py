"""The notebooks as files: executed, switchable, all collected; nbval finds a wrong output."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells_of(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_executed_and_has_one_parameters_cell(path: Path) -> None:
    cells = cells_of(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert "error" not in kinds
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1 and cells.index(tagged[0]) == 0
    text = "".join(line for cell in cells for line in cell["source"])
    assert "assert " in text, "a notebook checks something"


def test_make_test_runs_every_notebook() -> None:
    """Those that train are compared cell by cell where asserted, the others whole."""
    command = ["make", "--dry-run", "--always-make", "nbval"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    joined = run.stdout.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if "--nbval" in line]
    named = [word for line in lines for word in line.split() if word.endswith(".ipynb")]
    assert sorted(named) == [f"notebooks/{path.name}" for path in NOTEBOOKS]
    lax = [line for line in lines if "--nbval-lax" in line]
    assert all("04_fine_tuning" in line and line.count(".ipynb") == 1 for line in lax)


def small_notebook(path: Path, stored: str) -> Path:
    output = {"output_type": "stream", "name": "stdout", "text": [stored]}
    cell = {
        "cell_type": "code", "execution_count": 1, "id": "0", "metadata": {},
        "outputs": [output], "source": ["print(6 * 7)"],
    }  # fmt: skip
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {
        "cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(("stored", "code"), [("42\n", 0), ("41\n", 1)])
def test_nbval_fails_when_a_stored_output_is_wrong(tmp_path: Path, stored: str, code: int) -> None:
    path = small_notebook(tmp_path / "small.ipynb", stored)
    options = ["-q", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == code, run.stdout + run.stderr
