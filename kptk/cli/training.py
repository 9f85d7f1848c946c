"""``kptk finetune | resume | export | swap``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from kptk.cli.app import Json, MaxImages, app, dump, finite, only_json
from kptk.errors import InputError

if TYPE_CHECKING:
    from kptk.training.run import Run


@app.command()
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
    steps: Annotated[int | None, typer.Option(help="Optimizer steps. [default: by data]")] = None,
    epochs: Annotated[float | None, typer.Option(help="Instead of --steps.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images or people a step. [default: 8 or 32]")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="[default: 2e-4 or 5e-4, scaled by batch size]")
    ] = None,
    warmup_steps: Annotated[
        int | None, typer.Option(help="In which the rate rises. [default: 5 % of the run]")
    ] = None,
    freeze_backbone: Annotated[
        bool, typer.Option("--freeze-backbone", help="Train what follows the backbone only.")
    ] = False,
    freeze_norm: Annotated[
        bool | None, typer.Option(help="Keep batch-norm statistics. [default: for batches < 16]")
    ] = None,
    augment: Annotated[
        str, typer.Option(help="Strength: none, light, default or strong.")
    ] = "default",
    patience: Annotated[
        int | None, typer.Option(help="End after so many evaluations without a better AP.")
    ] = None,
    input_size: Annotated[
        tuple[int, int] | None, typer.Option(metavar="HEIGHT WIDTH", help="[default: the start's]")
    ] = None,
    eval_every: Annotated[int | None, typer.Option(help="Steps between evaluations.")] = None,
    eval_images: Annotated[int | None, typer.Option(help="Evaluate on so many images.")] = None,
    seed: Annotated[int, typer.Option(help="Of data order and augmentation.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, gpu:0, ...")] = "cpu",
    as_json: Json = False,
) -> None:
    """Fine-tune a detector or a pose model on your images. Ctrl-C stops with a checkpoint."""
    from kptk.training.finetune import finetune

    with only_json(as_json) as out:
        run = finetune(
            model,
            train,
            val,
            steps=steps,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weights=weights,
            warmup_steps=warmup_steps,
            freeze_backbone=freeze_backbone,
            freeze_norm=freeze_norm,
            augment=augment,
            patience=patience,
            input_size=input_size,
            eval_every=eval_every,
            eval_images=eval_images,
            seed=seed,
            device=device,
            run_dir=run_dir,
            progress=not as_json,
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
