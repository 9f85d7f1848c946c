"""How long until something happens: import, ``kptk --help``, and the first result."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import harness

ROUNDS = 3
FIRST = (
    "import time, sys\n"
    "import {module} as module\n"
    "began = time.perf_counter()\n"
    "pipe = module.create_pipeline(sys.argv[1])\n"
    "list(pipe.predict(sys.argv[2]))\n"
    "print(time.perf_counter() - began)\n"
)


def process(*command: str) -> Callable[[], float]:
    """Seconds of a whole process."""

    def run() -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - began

    return run


def first_result(python: str, module: str, config: str) -> Callable[[], float]:
    """Seconds from the end of the import to the first result."""
    code = FIRST.format(module=module)

    def run() -> float:
        done = subprocess.run(
            [python, "-c", code, config, str(harness.PICTURE)],
            check=True,
            capture_output=True, text=True, env=harness.paddlex_environment(),
            cwd=tempfile.gettempdir(),
        )  # fmt: skip
        return float(done.stdout.splitlines()[-1])

    return run


def main() -> None:
    """Measure and print."""
    config = str(harness.pair("det640", "kpt128"))
    kptk = str(Path(sys.executable).with_name("kptk"))
    theirs = harness.paddlex_python()
    cases = {
        "python -c pass": process(sys.executable, "-c", "pass"),
        "import kptk": process(sys.executable, "-c", "import kptk"),
        "kptk --help": process(kptk, "--help"),
        "first result after the import (converted official size)": first_result(
            sys.executable, "kptk", config
        ),
        "PaddleX: import": process(theirs, "-c", "import paddlex"),
        "PaddleX: first result after the import": first_result(theirs, "paddlex", config),
    }
    aims = {
        "import kptk": "0.5", "kptk --help": "0.7",
        "first result after the import (converted official size)": "2",
    }  # fmt: skip
    times = harness.in_turn(cases, ROUNDS)
    rows = [
        [name, f"{statistics.median(s):.2f}", f"{min(s):.2f} to {max(s):.2f}", aims.get(name, "")]
        for name, s in times.seconds.items()
    ]
    harness.section(
        "Starting",
        "Seconds. Whole processes, but for the first results.",
        harness.table(["", "median", "lowest to highest", "aim"], rows),
    )


if __name__ == "__main__":
    main()
