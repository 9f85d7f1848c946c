"""Runs every benchmark, each in a process of its own, and writes ``RESULTS.md``.

``make bench`` is this. A benchmark that fails leaves RESULTS.md as it was.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import harness

PROGRAMS = (
    "pipeline",
    "against_paddlex",
    "engines",
    "precision",
    "decode",
    "evaluator",
    "startup",
    "memory",
    "growth",
    "train_input",
)
PACKAGES = ("onnxruntime", "numpy", "opencv-python-headless", "pycocotools")
FOLDER = Path(__file__).parent


def processor() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"


def head() -> str:
    """What was measured where."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("kptk", *PACKAGES))
    return f"""# Benchmarks

Written by `make bench` on {datetime.now(UTC):%d %B %Y}: {harness.THREADS} cores of {processor()},
Python {platform.python_version()}, {versions}.

Compared cases take turns within one run, so what else the machine does falls on all of them: trust
the ratios (median of the rounds, lowest and highest), not the milliseconds. The models are the demo
pair's weights, exported at the sizes named; speed does not depend on the weights. What the numbers
mean, what was tried and what a GPU does is in [NOTES.md](NOTES.md).
"""


def section(program: str) -> str:
    """Run one program; its section."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{program}.py")], stdout=subprocess.PIPE, text=True
    )
    harness.note(f"{program}: {time.perf_counter() - began:.0f} s")
    if done.returncode:
        raise SystemExit(f"benchmarks/{program}.py failed; RESULTS.md stays as it was.")
    return done.stdout


def main() -> None:
    """Run all and write."""
    text = "\n".join([head(), *(section(program) for program in PROGRAMS)])
    (FOLDER / "RESULTS.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
