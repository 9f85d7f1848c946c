"""``kptk analyze | check | split | convert | eval``: data looked at and measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from kptk.cli.app import (
    Device,
    EnableHpi,
    EngineName,
    Json,
    MaxImages,
    PipelineName,
    app,
    dump,
    finite,
    only_json,
)
from kptk.errors import InputError

if TYPE_CHECKING:
    from kptk.analysis.result import ErrorAnalysis
    from kptk.evaluation.scores import ScoreMode


def write(
    found: ErrorAnalysis, html: Path | None, folder: Path | None, data: Path | None = None
) -> list[Path]:
    """Write what is asked for, with pictures where the data is at hand; returns the paths."""
    written = []
    if html is not None:
        images = None if data is None else data / "images"
        there = images is not None and images.is_dir()
        written.append(found.to_html(html, images=images if there else None))
    if folder is not None:
        written.append(found.save(folder))
    return written


# ---- analysis: ``kptk analyze``.


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

    import kptk

    with only_json(as_json) as out:
        progress = sys.stderr.isatty()
        if predictions is not None and annotations is not None and data is None:
            evaluation = None
        elif data is not None and predictions is None and annotations is None:
            evaluation = kptk.evaluate(
                pipeline,
                kptk.load_coco(data, split=split),
                device=device,
                engine=engine,
                max_images=max_images,
                progress=progress,
            )
        else:
            raise InputError("Pass --data (with --split), or both --predictions and --annotations.")
        found = kptk.analyze(
            evaluation,
            predictions=predictions,
            annotations=annotations,
            baseline=baseline,
            det_threshold=det_threshold,
            n_bootstrap=bootstrap,
            seed=seed,
            progress=progress,
        )
        written = write(found, html, save_path, data)
        if as_json:
            dump(finite(found.json), out)
        else:
            typer.echo("\n".join([found.text, *map(str, written)]))


# ---- data: ``kptk check | split | convert | eval``.


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="Folder of a COCO data set, or annotation file.")],
    annotations: Annotated[Path | None, typer.Option(help="One annotation file.")] = None,
    images: Annotated[Path | None, typer.Option(help="The image folder.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for pictures of the worst, one a finding.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Do not open the images.")] = False,
    as_json: Json = False,
) -> None:
    """Check COCO keypoint data; exit code 1 if there are errors, not for warnings."""
    from kptk.coco.load import check_coco
    from kptk.coco.sheets import save_sheets

    with only_json(as_json) as out:
        found = check_coco(data, annotations=annotations, images=images, pictures=not fast)
        sheets = [] if pictures is None else list(map(str, save_sheets(found, pictures)))
        if as_json:
            dump(finite({**found.json, "pictures": sheets}), out)
        else:
            typer.echo("\n".join([repr(found), *sheets]))
    if not found.ok:
        typer.echo("kptk: the data has errors (--json: ok false).", err=True)
        raise typer.Exit(1)


@app.command()
def split(
    data: Annotated[Path, typer.Argument(help="Folder of a COCO data set, or annotation file.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; may be the data set's own.")],
    shares: Annotated[str, typer.Option(help="Names and shares of the parts.")] = (
        "train=0.8,val=0.2"
    ),
    of: Annotated[str | None, typer.Option("--split", help="Which of its splits.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another split.")] = 0,
    group_by: Annotated[
        str | None,
        typer.Option(help="Keep together: folder, a field of the images, or a pattern in names."),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="The image folder.")] = None,
    no_img: Annotated[bool, typer.Option("--no-img", help="Copy no images.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace annotation files.")] = False,
    as_json: Json = False,
) -> None:
    """Split COCO keypoint data at random, by image or by group; the same way every time."""
    from kptk import load_coco
    from kptk.coco.dataset import parse_shares, split_coco

    with only_json(as_json) as document:
        loaded = load_coco(data, split=of, images=images)
        parts = split_coco(
            loaded,
            parse_shares(shares),
            seed=seed,
            group_by=group_by,
            out=out,
            copy=not no_img,
            overwrite=force,
        )
        written = [
            {"split": name, "images": len(part), "people": part.n_people,
             "path": str(part.annotations_path)}
            for name, part in parts.items()
        ]  # fmt: skip
        if as_json:
            dump({"parts": written}, document)
        for part in [] if as_json else written:
            typer.echo("{path}: {images} images, {people} people".format(**part))


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="LabelMe folder, AI Challenger .json, ...")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    source_format: Annotated[str, typer.Option("--from", help="labelme, aic, yolo or coco.")],
    target_format: Annotated[str, typer.Option("--to", help="coco; from coco also yolo.")] = "coco",
    name: Annotated[str, typer.Option("--split", help="Split to read and write.")] = "train",
    images: Annotated[Path | None, typer.Option(help="The source's image folder.")] = None,
    joints: Annotated[
        str | None, typer.Option(help="Names of all joints in order, with commas between.")
    ] = None,
    no_img: Annotated[bool, typer.Option("--no-img", help="Copy no images.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an annotation file.")] = False,
    as_json: Json = False,
) -> None:
    """Convert LabelMe, AI Challenger or YOLO-pose data to COCO, or COCO to YOLO-pose."""
    from kptk.coco import convert as converter

    with only_json(as_json) as document:
        written = converter.convert(
            source,
            out,
            source_format=source_format,
            target_format=target_format,
            split=name,
            images=images,
            joints=joints.split(",") if joints else None,
            copy=not no_img,
            overwrite=force,
        )
        if as_json:
            dump({"path": str(written)}, document)
        else:
            typer.echo(f"{written}")


@app.command("eval")
def evaluate(
    pipeline: PipelineName = "human_keypoint_detection",
    data: Annotated[
        Path | None, typer.Option(help="Data set: images/ and annotations/*.json.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="val, train, ...")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="COCO results, or a folder of --save-path; no inference.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="COCO annotations, with --predictions.")
    ] = None,
    score_mode: Annotated[
        str, typer.Option(help="ppdet (as published) or deploy (as the pipeline emits).")
    ] = "ppdet",
    det_threshold: Annotated[
        float | None, typer.Option(help="Lowest score of a person, end to end.")
    ] = None,
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Flip test. [default: the pipeline's]")
    ] = None,
    udp: Annotated[
        bool | None, typer.Option("--udp/--no-udp", help="UDP crops. [default: the pipeline's]")
    ] = None,
    device: Device = "auto",
    engine: EngineName = "auto",
    enable_hpi: EnableHpi = False,
    max_images: MaxImages = None,
    save_path: Annotated[
        Path | None, typer.Option("--save-path", "-o", help="Folder for numbers and predictions.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure COCO AP: of a pipeline on --data, or of --predictions against --annotations."""
    import kptk

    with only_json(as_json) as out:
        if enable_hpi and data is None:
            raise InputError("--enable-hpi is about running a pipeline, and so needs --data.")
        mode = cast("ScoreMode", score_mode)
        if predictions is not None and annotations is not None and data is None:
            found = kptk.evaluate(
                predictions=predictions,
                annotations=annotations,
                score_mode=mode,
                det_threshold=det_threshold,
                flip=flip,
                udp=udp,
                device=device,
                engine=engine,
                max_images=max_images,
            )
        elif data is not None and predictions is None and annotations is None:
            pipe = kptk.create_pipeline(
                pipeline, device=device, engine=engine, enable_hpi=enable_hpi
            )
            found = kptk.evaluate(
                pipe,
                kptk.load_coco(data, split=split),
                score_mode=mode,
                det_threshold=det_threshold,
                flip=flip,
                udp=udp,
                max_images=max_images,
                progress=sys.stderr.isatty(),
            )
        else:
            raise InputError("Pass --data (with --split), or both --predictions and --annotations.")
        if save_path is not None:
            found.save(save_path)
        document = found.json
        if found.predictions is None:  # a file of results: the statistics and nothing else
            del document["provenance"]
        if as_json:
            dump(document, out)
        else:
            typer.echo(f"{found.name}, AP in percent\n{found.text}")
