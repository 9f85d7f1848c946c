"""``python -m kptk.training RECIPE.yml RUN_DIR``: train by a recipe, or go on with that."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kptk.errors import KptkError
from kptk.training.run import Run, start_worker
from kptk.training.settings import TrainSettings, read_settings, write_settings


def _is_done(folder: Path, settings: TrainSettings) -> bool:
    """Whether a finished run went as far as the recipe asks now."""
    if not (folder / "settings.yml").is_file():
        return False
    run = Run(folder)
    early = run.stopped_early is not None and run.settings.patience == settings.patience
    return run.status == "finished" and (run.step >= settings.steps or early)


def main() -> int:
    """Write the settings into the run directory and train to the end; a finished run is kept."""
    parser = argparse.ArgumentParser(prog="python -m kptk.training", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    try:
        settings = read_settings(arguments.recipe)
        if not _is_done(arguments.run, settings):
            arguments.run.mkdir(parents=True, exist_ok=True)
            write_settings(settings, arguments.run / "settings.yml")
            start_worker(arguments.run)
        run = Run(arguments.run).wait()
    except KptkError as error:
        print(error, file=sys.stderr)
        return 1
    print(run)
    return 0 if run.status == "finished" else 1


if __name__ == "__main__":
    sys.exit(main())
