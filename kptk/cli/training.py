"""``kptk finetune | resume | export | swap``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from kptk.cli.app import Json, MaxImages, app, dump, finite, only_json
from kptk.errors import InputError
from kptk.training.settings import TrainSettings

if TYPE_CHECKING:
    from kptk.training.run import Run


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting that a user chooses, in TrainSettings' words."""
    doc = inspect.getdoc(TrainSettings) or ""
    described = re.findall(r"^    (\w+): (.+(?:\n        .+)*)", doc, re.M)
    words = {name: " ".join(text.replace("``", "").split()) for name, text in described}
    options = []
    for name in TrainSettings.CHOSEN:
        kind: Any = TrainSettings.model_fields[name].annotation
        metavar = "HEIGHT WIDTH" if name == "input_size" else None
        option = typer.Option(help=words[name][0].upper() + words[name][1:], metavar=metavar)
        options.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind | None, option],
            )
        )
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    vars(command)["__signature__"] = signature.replace(parameters=[*own, *options])
    return command


@app.command()
@_with_settings
def finetune(
    model: Annotated[
        str, typer.Argument(help="A name, a former run's directory, or a .pdparams file.")
    ],
    train: Annotated[str, typer.Option(help="Folder of the data, or its annotation file.")],
    val: Annotated[
        str | None, typer.Option(help="The same, to measure AP on. [default: --train's val]")
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", "-o", help="A new folder. [default: in runs/]")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Other weights for the named model: a .pdparams or a run.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Instead of --steps.")] = None,
    augment: Annotated[
        str, typer.Option(help="Strength: none, light, default or strong.")
    ] = "default",
    as_json: Json = False,
    **settings: Any,
) -> None:
    """Fine-tune a detector or a pose model on your images. Ctrl-C stops with a checkpoint.

    Settings that are left out follow from the architecture and the number of samples.
    """
    from kptk.training.finetune import finetune

    given = {name: value for name, value in settings.items() if value is not None}
    with only_json(as_json) as out:
        run = finetune(
            model,
            train,
            val,
            weights=weights,
            epochs=epochs,
            augment=augment,
            run_dir=run_dir,
            progress=not as_json,
            **given,
        )
        _show_run(run, as_json, out)


@app.command()
def resume(
    run_dir: Annotated[Path, typer.Argument(help="Directory of a run that was stopped.")],
    as_json: Json = False,
) -> None:
    """Go on with a training run from its last checkpoint."""
    from kptk import load_run

    with only_json(as_json) as out:
        run = load_run(run_dir).resume(progress=not as_json)
        _show_run(run, as_json, out)


def _show_run(run: Run, as_json: bool, out: TextIO) -> None:
    if as_json:
        dump(run.to_json(), out)
        return
    typer.echo(repr(run))
    if run.status == "finished":
        typer.echo(f"{run.model_dir}")
    else:
        typer.echo(f"Go on with: kptk resume {run.path}")


@app.command()
def export(
    source: Annotated[
        str, typer.Argument(help="A .pdparams file, a run, a name; with --format a directory too.")
    ],
    save_path: Annotated[
        Path, typer.Option("--save-path", "-o", help="The model directory to make.")
    ],
    format: Annotated[
        str | None,
        typer.Option(
            help="onnx, openvino, onnx-int8 or openvino-int8. [default: Paddle's and ONNX]"
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="With --format: annotated images that AP is measured on.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of --data.")] = "val",
    images: Annotated[
        str | None,
        typer.Option(help="int8: images to calibrate on. [default: --data, train first]"),
    ] = None,
    n_calibration: Annotated[int, typer.Option(help="int8: so many of them.")] = 64,
    pipeline: Annotated[
        str, typer.Option("--pipeline", "-p", help="int8 of a pose model: who finds the people.")
    ] = "human_keypoint_detection",
    max_images: MaxImages = None,
    like: Annotated[
        str | None, typer.Option(help="The name of the architecture, where a file does not tell.")
    ] = None,
    input_size: Annotated[
        tuple[int, int] | None, typer.Option(metavar="HEIGHT WIDTH", help="[default: the source's]")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the directory if it exists.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Turn weights into a model directory, or a model into a smaller one, and check it."""
    with only_json(as_json) as out:
        if format is None:
            _refuse_without_format(data=data, images=images)
            from kptk.training.export import export_model

            made: Any = export_model(
                source, save_path, like=like, input_size=input_size, overwrite=force
            )
        else:
            from kptk.export import export_edge, find_edge_data

            _refuse_input_size(input_size)
            measured, calibration = find_edge_data(data, split, images, format)
            made = export_edge(
                source,
                save_path,
                format=format,
                data=measured,
                calibration=calibration,
                n_calibration=n_calibration,
                pipeline=pipeline,
                like=like,
                max_images=max_images,
                overwrite=force,
                progress=not as_json,
            )
        if as_json:
            dump(finite(made.json), out)
        else:
            typer.echo(f"{made!r}\n{made.path}")


def _refuse_without_format(**options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(
                f"--{name} goes with --format onnx, openvino, onnx-int8 or openvino-int8."
            )


def _refuse_input_size(input_size: tuple[int, int] | None) -> None:
    if input_size is not None:
        raise InputError(
            "--input-size needs training weights: export them without --format first, then the "
            "directory with it."
        )


@app.command()
def swap(
    source: Annotated[str, typer.Argument(help="A YAML file, demo or human_keypoint_detection.")],
    save_path: Annotated[Path, typer.Option("--save-path", "-o", help="The YAML file to write.")],
    det_model: Annotated[
        str | None, typer.Option(help="Model directory of a detector, or a name.")
    ] = None,
    kpt_model: Annotated[
        str | None, typer.Option(help="Model directory of a keypoint model, or a name.")
    ] = None,
    relative: Annotated[
        bool, typer.Option("--relative", help="Write paths relative to the new file.")
    ] = False,
    to_new: Annotated[
        bool, typer.Option("--to-new", help="Convert to the format of PaddleX 3.x.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Put other models into a pipeline's YAML file; comments and order stay."""
    from kptk import swap_weights

    done = swap_weights(
        source,
        human_det_model=det_model,
        keypoint_det_model=kpt_model,
        save_path=save_path,
        relative=relative,
        overwrite=force,
        to_format="new" if to_new else None,
    )
    typer.echo(f"{done}")
