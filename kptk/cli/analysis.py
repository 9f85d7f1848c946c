"""``kptk analyze``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kptk.cli.app import (
    Device,
    EngineName,
    Json,
    MaxImages,
    PipelineName,
    app,
    dump,
    finite,
    only_json,
)


@app.command()
def analyze(
    pipeline: PipelineName = "human_keypoint_detection",
    data: Annotated[
        Path | None, typer.Option(help="Data set: images/ and annotations/*.json.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="val, train, ...")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="COCO keypoint results, or a folder of kptk eval -o; no inference."),
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="COCO annotations, with --predictions.")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Folder of kptk analyze -o: what is normal, on data that goes well."),
    ] = None,
    det_threshold: Annotated[
        float | None, typer.Option(help="Lowest score of a detection. [default: the pipeline's]")
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Draws for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    device: Device = "auto",
    engine: EngineName = "auto",
    max_images: MaxImages = None,
    html: Annotated[Path | None, typer.Option(help="Write a report, one HTML file.")] = None,
    save_path: Annotated[
        Path | None, typer.Option("--save-path", "-o", help="Folder for the report and tables.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which module is at fault: of a pipeline on --data, or of --predictions."""
    from kptk.analysis import command

    with only_json(as_json) as out:
        asked = command.Asked(data, split, predictions, annotations, baseline)
        found = command.run(
            asked, pipeline, det_threshold=det_threshold, n_bootstrap=bootstrap, seed=seed,
            device=device, engine=engine, max_images=max_images,
        )  # fmt: skip
        written = command.write(found, html, save_path, data)
        if as_json:
            dump(finite(found.json), out)
        else:
            typer.echo("\n".join([found.text, *map(str, written)]))
