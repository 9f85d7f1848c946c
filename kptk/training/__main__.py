"""``python -m kptk.training RECIPE.yml RUN_DIR``: train by a recipe, or go on with that."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kptk.errors import KptkError
from kptk.training.launch import start_worker
from kptk.training.run import Run
from kptk.training.settings import read_settings, write_settings


def main() -> int:
    """Write the settings into the run directory and train to the end; a finished run is kept."""
    parser = argparse.ArgumentParser(prog="python -m kptk.training", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    try:
        settings = read_settings(arguments.recipe)
        arguments.run.mkdir(parents=True, exist_ok=True)
        write_settings(settings, arguments.run / "settings.yml")
        run = Run(arguments.run)
        if run.status != "finished" or run.step < settings.steps:
            start_worker(arguments.run)
            run.wait()
    except KptkError as error:
        print(error, file=sys.stderr)
        return 1
    print(run)
    return 0 if run.status == "finished" else 1


if __name__ == "__main__":
    sys.exit(main())
