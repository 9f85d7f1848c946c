"""``python -m kptk.training RECIPE.yml RUN_DIR``: start a training run, or go on with it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from kptk.errors import KptkError
from kptk.training.settings import read_settings, write_settings


def main() -> int:
    """Write the settings into the run directory and train in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m kptk.training", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    try:
        settings = read_settings(arguments.recipe)
    except KptkError as error:
        print(error, file=sys.stderr)
        return 1
    arguments.run.mkdir(parents=True, exist_ok=True)
    write_settings(settings, arguments.run / "settings.yml")
    worker = [sys.executable, "-m", "kptk.training.worker", str(arguments.run)]
    environment = {"FLAGS_use_stride_kernel": "0", **os.environ}
    return subprocess.run(worker, check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
