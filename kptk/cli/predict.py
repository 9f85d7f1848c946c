"""``kptk predict``: images and films to files, or many images to partitions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from kptk.cli.app import (
    Device,
    EnableHpi,
    EngineName,
    Json,
    PipelineName,
    app,
    dump,
    only_json,
)
from kptk.cli.report import Report, expected, say_errors, source_of
from kptk.errors import DownloadError, InputError

Every = Annotated[int, typer.Option(help="Of films: every n-th frame.")]
MaxFps = Annotated[
    float | None, typer.Option(help="Of films: frames a second at most. [default: all]")
]
Track = Annotated[bool, typer.Option("--track/--no-track", help="Number the people of a film.")]
Smooth = Annotated[bool, typer.Option("--smooth", help="Smooth joints in films.")]
SaveFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="json: files an image; parquet or jsonl: partitions of many images, restartable.",
    ),
]
Scheduler = Annotated[
    str | None, typer.Option(help="Scheduler, tcp://HOST:PORT, whose workers do the work.")
]
PartitionSize = Annotated[int | None, typer.Option(help="Images to a partition. [default: 500]")]
CocoResults = Annotated[
    Path | None,
    typer.Option(help="With partitions: COCO annotations of the images; write predictions.json."),
]


@app.command()
def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Files, folders, URLs, indices of cameras."),
    ],
    pipeline: PipelineName = "human_keypoint_detection",
    save_path: Annotated[
        Path, typer.Option("--save-path", "-o", help="Folder for the results.")
    ] = Path("output"),
    device: Device = "auto",
    engine: EngineName = "auto",
    enable_hpi: EnableHpi = False,
    det_threshold: Annotated[
        float | None, typer.Option(help="Lowest score of a person. [default: the pipeline's]")
    ] = None,
    kpt_threshold: Annotated[
        float | None, typer.Option(help="Points below it are drawn hollow. [default: 0.2]")
    ] = None,
    channel_order: Annotated[
        str | None, typer.Option(help="rgb or bgr: of .npy arrays; pictures know their own.")
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Read subfolders.")] = False,
    no_img: Annotated[bool, typer.Option("--no-img", help="Save no pictures, no films.")] = False,
    every: Every = 1,
    max_fps: MaxFps = None,
    track: Track = True,
    smooth: Smooth = False,
    save_format: SaveFormat = None,
    dask: Scheduler = None,
    partition_size: PartitionSize = None,
    coco_results: CocoResults = None,
    as_json: Json = False,
) -> None:
    """Find people in images and films; save JSON and pictures, print a short table."""
    from kptk.bulk import command

    models: dict[str, Any] = {"device": device, "engine": engine}
    run: dict[str, Any] = {
        "det_threshold": det_threshold, "kpt_threshold": kpt_threshold,
        "channel_order": channel_order, "recursive": recursive,
    }  # fmt: skip
    asked = command.Asked(dask, save_format, partition_size, coco_results)
    if asked.partitioned:
        if enable_hpi:
            raise InputError("--enable-hpi is not for partitions yet: leave it out.")
        _to_partitions(inputs, pipeline, save_path, asked, {**models, **run}, as_json)
        return
    if smooth and not track:
        raise typer.BadParameter("--smooth needs people to be followed: leave out --no-track.")
    report = partial(
        Report, save_path, pictures=not no_img, table=not as_json, track=track, smooth=smooth
    )
    films = {"every": every, "max_fps": max_fps}
    _to_files(
        inputs, pipeline, report, {**models, "enable_hpi": enable_hpi}, {**run, **films}, as_json
    )


def _to_files(
    inputs: list[str],
    pipeline: str,
    new_report: Callable[[], Report],
    models: dict[str, Any],
    run: dict[str, Any],
    as_json: bool,
) -> None:
    """A JSON file and a picture an image, or a film; a table, or the one document."""
    from kptk import create_pipeline

    sources = [source_of(text) for text in inputs]
    with only_json(as_json) as out:
        try:
            pipe = create_pipeline(pipeline, **models)
        except DownloadError as error:
            raise DownloadError(f"{error} Without a network, try: --pipeline demo") from error
        stream = pipe.predict(sources, **run)
        report = new_report()
        report.take(stream, *expected(sources, run["every"], run["max_fps"]))
        if as_json:
            dump({"results": report.results, "errors": report.errors}, out)
    report.finish()


def _to_partitions(
    inputs: list[str],
    pipeline: str,
    save_path: Path,
    asked: Any,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Partitions in the folder, here or by a cluster."""
    from kptk.bulk import command

    with only_json(as_json) as out:
        stored = command.run(inputs, pipeline, save_path, asked, **settings)
        found = command.document(stored)
        if as_json:
            dump(found, out)
        else:
            typer.echo(f"{stored!r} -> {stored.folder}")
    say_errors(found["errors"], found["n_errors"])
