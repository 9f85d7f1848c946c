"""The command ``kptk``. Exit codes: 0 done, 1 our error (one line on stderr), 2 wrong usage.

Whatever a command needs is imported inside it, so that ``kptk --help`` is quick.
"""

from __future__ import annotations

import io
import sys

from kptk.cli.app import app

# importing a module adds its commands, in this order
from kptk.cli import predict, measure, training  # isort: skip

__all__ = ["app", "main", "measure", "predict", "training"]


def main() -> None:
    """Entry point of the command."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # no file name is too odd to be printed
        sys.stdout.reconfigure(errors="backslashreplace")
    app()
