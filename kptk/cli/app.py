"""The typer application, its errors, and what all commands write with."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from kptk.errors import KptkError


class _Group(TyperGroup):
    """Commands whose KptkErrors are one line on stderr and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KptkError as error:
            typer.echo(f"kptk: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Group,
    help="Find people in images and place 17 keypoints on each.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


Json = Annotated[bool, typer.Option("--json", help="Write one JSON document to stdout.")]


PipelineName = Annotated[
    str, typer.Option("--pipeline", "-p", help="demo, human_keypoint_detection, or a YAML file.")
]


Device = Annotated[str, typer.Option(help="auto, cpu, gpu:0, npu:0, ...")]


EngineName = Annotated[str, typer.Option(help="auto, onnxruntime, openvino or paddle.")]


EnableHpi = Annotated[
    bool, typer.Option("--enable-hpi", help="Allow reduced precision (bfloat16) where it is fast.")
]


MaxImages = Annotated[int | None, typer.Option(help="Only the first images by id.")]


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
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show versions and exit."
        ),
    ] = False,
) -> None:
    """Options that stand before a command."""


def fail_unless(good: bool) -> None:
    if not good:
        typer.echo("kptk: some checks failed; they are marked FAIL (--json: ok false).", err=True)
        raise typer.Exit(1)


@contextmanager
def only_json(wanted: bool) -> Iterator[TextIO]:
    """Keep stdout free for the one document, which is written to the stream given.

    Whatever else is written to stdout meanwhile goes to stderr. Native libraries write past
    Python, so the file descriptor itself is turned round.
    """
    if not wanted:
        yield sys.stdout
        return
    document = io.StringIO()
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield document
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    sys.stdout.write(document.getvalue())
    sys.stdout.flush()


def dump(value: Any, out: TextIO) -> None:
    out.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
