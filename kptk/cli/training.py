"""``kptk finetune | resume | export | swap``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kptk.cli.app import FORCE, JSON, MAX_IMAGES, PIPELINE, app, argument, flag, option, output
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
        default = option(None, words[name][0].upper() + words[name][1:], metavar=metavar)
        options.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind | None
            )
        )
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    vars(command)["__signature__"] = signature.replace(parameters=[*own, *options])
    return command


@app.command()
@_with_settings
def finetune(
    model: str = argument("A name, a former run's directory, or a .pdparams file."),
    train: str = option(..., "Folder of the data, or its annotation file."),
    val: str | None = option(None, "The same, to measure AP on. [default: --train's val]"),
    run_dir: Path | None = option(None, "A new folder. [default: in runs/]", "--run-dir", "-o"),
    weights: str | None = option(None, "Other weights for the named model: a .pdparams or a run."),
    epochs: float | None = option(None, "Instead of --steps."),
    augment: str = option("default", "Strength: none, light, default or strong."),
    as_json: bool = JSON,
    **settings: Any,
) -> None:
    """Fine-tune a detector or a pose model on your images. Ctrl-C stops with a checkpoint.

    Settings that are left out follow from the architecture and the number of samples.
    """
    from kptk.training.finetune import finetune

    given = {name: value for name, value in settings.items() if value is not None}
    with output(as_json) as show:
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
        _show_run(run, show)


@app.command()
def resume(
    run_dir: Path = argument("Directory of a run that was stopped."),
    as_json: bool = JSON,
) -> None:
    """Go on with a training run from its last checkpoint."""
    from kptk import load_run

    with output(as_json) as show:
        _show_run(load_run(run_dir).resume(progress=not as_json), show)


def _show_run(run: Run, show: Callable[[Any, str], None]) -> None:
    on = run.model_dir if run.status == "finished" else f"Go on with: kptk resume {run.path}"
    show(run.to_json(), f"{run!r}\n{on}")


@app.command()
def export(
    source: str = argument("A .pdparams file, a run, a name; with --format a directory too."),
    save_path: Path = option(..., "The model directory to make.", "--save-path", "-o"),
    format: str | None = option(
        None, "onnx, openvino, onnx-int8 or openvino-int8. [default: Paddle's and ONNX]"
    ),
    data: str | None = option(None, "With --format: annotated images that AP is measured on."),
    split: str = option("val", "Of --data."),
    images: str | None = option(
        None, "int8: images to calibrate on. [default: --data, train first]"
    ),
    n_calibration: int = option(64, "int8: so many of them."),
    pipeline: str = PIPELINE,
    max_images: int | None = MAX_IMAGES,
    like: str | None = option(None, "The name of the architecture, where a file does not tell."),
    input_size: tuple[int, int] | None = option(
        None, "[default: the source's]", metavar="HEIGHT WIDTH"
    ),
    force: bool = FORCE,
    as_json: bool = JSON,
) -> None:
    """Turn weights into a model directory, or a model into a smaller one, and check it."""
    with output(as_json) as show:
        made: Any
        if format is None:
            for name, value in (("data", data), ("images", images)):
                if value is not None:
                    raise InputError(
                        f"--{name} goes with --format onnx, openvino, onnx-int8 or openvino-int8."
                    )
            from kptk.training.export import export_model

            made = export_model(
                source, save_path, like=like, input_size=input_size, overwrite=force
            )
        else:
            if input_size is not None:
                raise InputError(
                    "--input-size needs training weights: export them without --format first, "
                    "then the directory with it."
                )
            from kptk.export import export_edge, find_edge_data

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
        show(made.json, f"{made!r}\n{made.path}")


@app.command()
def swap(
    source: str = argument("A YAML file, demo or human_keypoint_detection."),
    save_path: Path = option(..., "The YAML file to write.", "--save-path", "-o"),
    det_model: str | None = option(None, "Model directory of a detector, or a name."),
    kpt_model: str | None = option(None, "Model directory of a keypoint model, or a name."),
    relative: bool = flag("relative", "Write paths relative to the new file."),
    to_new: bool = flag("to-new", "Convert to the format of PaddleX 3.x."),
    force: bool = FORCE,
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
