"""The typer application: its errors, its output, and the options that commands share."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from kptk.errors import KptkError


class _Group(TyperGroup):
    """Commands whose KptkErrors are one line on stderr and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KptkError as error:
            fail(" ".join(str(error).split()))


app = typer.Typer(
    cls=_Group,
    help="Find people in images and place 17 keypoints on each.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def option(default: Any, help: str, *names: str, **settings: Any) -> Any:
    """An option with a value (default ``...``: required), called as its parameter if not named."""
    return typer.Option(default, *names, help=help, **settings)


def flag(name: str, help: str) -> Any:
    """An option that is there or not, without a ``--no-`` twin."""
    return typer.Option(False, f"--{name}", help=help)


def argument(help: str, **settings: Any) -> Any:
    """What stands in the command without a name, and must."""
    return typer.Argument(..., help=help, **settings)


JSON = flag("json", "Write one JSON document to stdout.")
PIPELINE = option(
    "human_keypoint_detection", "demo, human_keypoint_detection, or a YAML file.",
    "--pipeline", "-p",
)  # fmt: skip
DEVICE = option("auto", "auto, cpu, gpu:0, npu:0, ...")
ENGINE = option("auto", "auto, onnxruntime, openvino or paddle.")
ENABLE_HPI = flag("enable-hpi", "Allow reduced precision (bfloat16) where it is fast.")
DET_THRESHOLD = option(None, "Lowest score of a person. [default: the pipeline's]")
MAX_IMAGES = option(None, "Only the first images by id.")
DATA = option(None, "Data set: images/ and annotations/*.json.")
SPLIT = option(None, "val, train, ...")
PREDICTIONS = option(None, "COCO keypoint results, or a folder of --save-path; no inference.")
ANNOTATIONS = option(None, "COCO annotations, with --predictions.")
IMAGES = option(None, "The image folder.")
NO_IMAGES = flag("no-img", "Copy no images.")
FORCE = flag("force", "Replace what is there.")


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    import kptk
    from kptk.check import optional_parts

    typer.echo(f"kptk {kptk.__version__} (Python {sys.version.split()[0]})\n")
    typer.echo(f"Optional parts\n{optional_parts()!r}")
    raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Show versions and exit."
    ),
) -> None:
    """Options that stand before a command."""


def fail(message: str) -> NoReturn:
    """End with exit code 1 and a line on stderr."""
    typer.echo(f"kptk: {message}", err=True)
    raise typer.Exit(1)


@contextmanager
def output(as_json: bool) -> Iterator[Callable[[Any, str], None]]:
    """What a command writes with: a function of the JSON document and the text in its place.

    With ``as_json`` stdout stays free for the one document, in which None stands for NaN and
    infinity: what else is written to stdout meanwhile goes to stderr. Native libraries write past
    Python, so the file descriptor itself is redirected.
    """
    if not as_json:
        yield lambda _, text: typer.echo(text)
        return
    text = io.StringIO()
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield lambda document, _: print(dumps(document), file=text)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    sys.stdout.write(text.getvalue())
    sys.stdout.flush()


def dumps(value: Any) -> str:
    """JSON as all commands write it."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, list):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(value), indent=2, allow_nan=False)
