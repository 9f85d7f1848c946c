"""``python -m tools.train RECIPE.yml RUN_DIR``: train by a recipe, or go on with that."""

from __future__ import annotations

import sys
from pathlib import Path

from kptk.errors import KptkError
from kptk.training.run import Run, start_worker
from kptk.training.settings import read_settings, write_settings


def main(recipe: str, folder: Path) -> int:
    """Write the settings into the run directory and train to the end; a finished run is kept."""
    try:
        settings = read_settings(recipe)
        done = False
        if (folder / "settings.yml").is_file():
            run = Run(folder)
            early = run.stopped_early is not None and run.settings.patience == settings.patience
            done = run.status == "finished" and (run.step >= settings.steps or early)
        if not done:
            folder.mkdir(parents=True, exist_ok=True)
            write_settings(settings, folder / "settings.yml")
            start_worker(folder)  # not Run.resume: a finished run goes on to the steps asked for
        run = Run(folder).wait()
    except KptkError as error:
        print(error, file=sys.stderr)
        return 1
    print(run)
    return 0 if run.status == "finished" else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
