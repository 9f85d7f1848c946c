"""Work in a process of its own: what prints, keeps global state or may crash stays out of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from kptk.errors import ModelError


def run_module(module: str, *arguments: str | os.PathLike[str], task: str) -> None:
    """Run ``python -m module arguments`` and keep what it prints to ourselves.

    Args:
        module: dotted name of one of kptk's modules.
        arguments: its command line.
        task: what is being done, as the start of the message, e.g. ``"Exporting a.pdparams"``.

    Raises:
        ModelError: it failed; the message ends with what it said last.
    """
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, *(os.fspath(item) for item in arguments)],
            capture_output=True,
            text=True,
            errors="replace",
            env=environment(scratch),
            check=False,
        )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing")[-1500:]
        last = said.splitlines()[-1]
        raise ModelError(f"{task} failed (exit code {done.returncode}). It said: {last}")


def environment(scratch: str | None = None) -> dict[str, str]:
    """The environment of a child: kptk importable, and a temporary folder that is removed after."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    folder = {"TMPDIR": scratch, "TEMP": scratch} if scratch else {}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **folder}
