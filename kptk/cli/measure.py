"""``kptk analyze | check | split | convert | eval``: data looked at and measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kptk.cli.app import (
    ANNOTATIONS,
    DATA,
    DET_THRESHOLD,
    DEVICE,
    ENABLE_HPI,
    ENGINE,
    FORCE,
    IMAGES,
    JSON,
    MAX_IMAGES,
    NO_IMAGES,
    PIPELINE,
    PREDICTIONS,
    SPLIT,
    app,
    argument,
    fail,
    flag,
    option,
    output,
)
from kptk.errors import InputError

if TYPE_CHECKING:
    from kptk.analysis.result import ErrorAnalysis


def _runs(data: object, predictions: object, annotations: object) -> bool:
    """Whether a pipeline is to be run, or predictions are there already."""
    given = [value is not None for value in (data, predictions, annotations)]
    if given not in ([True, False, False], [False, True, True]):
        raise InputError("Pass --data (with --split), or both --predictions and --annotations.")
    return data is not None


@app.command()
def analyze(
    pipeline: str = PIPELINE,
    data: Path | None = DATA,
    split: str | None = SPLIT,
    predictions: Path | None = PREDICTIONS,
    annotations: Path | None = ANNOTATIONS,
    baseline: Path | None = option(
        None, "Folder of kptk analyze -o: what is normal, on data that goes well."
    ),
    det_threshold: float | None = DET_THRESHOLD,
    bootstrap: int = option(1000, "Draws for the intervals."),
    seed: int = option(0, "Of the draws."),
    device: str = DEVICE,
    engine: str = ENGINE,
    max_images: int | None = MAX_IMAGES,
    html: Path | None = option(None, "Write a report, one HTML file."),
    save_path: Path | None = option(None, "Folder for the report and tables.", "--save-path", "-o"),
    as_json: bool = JSON,
) -> None:
    """Say which module is at fault: of a pipeline on --data, or of --predictions."""
    import kptk

    with output(as_json) as show:
        progress = sys.stderr.isatty()
        evaluation = None
        if _runs(data, predictions, annotations):
            evaluation = kptk.evaluate(
                pipeline,
                kptk.load_coco(data, split=split),  # type: ignore[arg-type]
                device=device,
                engine=engine,
                max_images=max_images,
                progress=progress,
            )
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
        show(found.json, "\n".join([found.text, *map(str, written)]))


def write(
    found: ErrorAnalysis, html: Path | None, folder: Path | None, data: Path | None = None
) -> list[Path]:
    """Write what is asked for, with images where the data is at hand; returns the paths."""
    written = []
    if html is not None:
        images = None if data is None or not (data / "images").is_dir() else data / "images"
        written.append(found.to_html(html, images=images))
    if folder is not None:
        written.append(found.save(folder))
    return written


@app.command()
def check(
    data: Path = argument("Folder of a COCO data set, or annotation file."),
    annotations: Path | None = option(None, "One annotation file."),
    images: Path | None = IMAGES,
    pictures: Path | None = option(None, "Folder for images of the worst, one a finding."),
    fast: bool = flag("fast", "Do not open the images."),
    as_json: bool = JSON,
) -> None:
    """Check COCO keypoint data; exit code 1 if there are errors, not for warnings."""
    from kptk.coco.load import check_coco
    from kptk.coco.sheets import save_sheets

    with output(as_json) as show:
        found = check_coco(data, annotations=annotations, images=images, pictures=not fast)
        sheets = [] if pictures is None else list(map(str, save_sheets(found, pictures)))
        show({**found.json, "pictures": sheets}, "\n".join([repr(found), *sheets]))
    if not found.ok:
        fail("the data has errors (--json: ok false).")


@app.command()
def split(
    data: Path = argument("Folder of a COCO data set, or annotation file."),
    out: Path = argument("Folder to write; may be the data set's own."),
    shares: str = option("train=0.8,val=0.2", "Names and shares of the parts."),
    of: str | None = option(None, "Which of its splits.", "--split"),
    seed: int = option(0, "Another seed, another split."),
    group_by: str | None = option(
        None, "Keep together: folder, a field of the images, or a pattern in names."
    ),
    images: Path | None = IMAGES,
    no_img: bool = NO_IMAGES,
    force: bool = FORCE,
    as_json: bool = JSON,
) -> None:
    """Split COCO keypoint data at random, by image or by group; the same way every time."""
    from kptk import load_coco
    from kptk.coco.dataset import parse_shares, split_coco

    with output(as_json) as show:
        parts = split_coco(
            load_coco(data, split=of, images=images),
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
        line = "{path}: {images} images, {people} people"
        show({"parts": written}, "\n".join(line.format(**part) for part in written))


@app.command()
def convert(
    source: Path = argument("LabelMe folder, AI Challenger .json, ..."),
    out: Path = argument("Folder to write."),
    source_format: str = option(..., "labelme, aic, yolo or coco.", "--from"),
    target_format: str = option("coco", "coco; from coco also yolo.", "--to"),
    name: str = option("train", "Split to read and write.", "--split"),
    images: Path | None = IMAGES,
    joints: str | None = option(None, "Names of all keypoints in order, with commas between."),
    no_img: bool = NO_IMAGES,
    force: bool = FORCE,
    as_json: bool = JSON,
) -> None:
    """Convert LabelMe, AI Challenger or YOLO-pose data to COCO, or COCO to YOLO-pose."""
    from kptk.coco import convert as converter

    with output(as_json) as show:
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
        show({"path": str(written)}, str(written))


@app.command("eval")
def evaluate(
    pipeline: str = PIPELINE,
    data: Path | None = DATA,
    split: str | None = SPLIT,
    predictions: Path | None = PREDICTIONS,
    annotations: Path | None = ANNOTATIONS,
    score_mode: str = option("ppdet", "ppdet (as published) or deploy (as the pipeline emits)."),
    det_threshold: float | None = DET_THRESHOLD,
    flip: bool | None = option(None, "Flip test. [default: the pipeline's]", "--flip/--no-flip"),
    udp: bool | None = option(None, "UDP crops. [default: the pipeline's]", "--udp/--no-udp"),
    device: str = DEVICE,
    engine: str = ENGINE,
    enable_hpi: bool = ENABLE_HPI,
    max_images: int | None = MAX_IMAGES,
    save_path: Path | None = option(
        None, "Folder for numbers and predictions.", "--save-path", "-o"
    ),
    as_json: bool = JSON,
) -> None:
    """Measure COCO AP: of a pipeline on --data, or of --predictions against --annotations."""
    import kptk

    with output(as_json) as show:
        if enable_hpi and data is None:
            raise InputError("--enable-hpi is about running a pipeline, and so needs --data.")
        models: dict[str, Any] = {"device": device, "engine": engine}
        options: dict[str, Any] = {
            "score_mode": score_mode, "det_threshold": det_threshold, "flip": flip, "udp": udp,
            "max_images": max_images,
        }  # fmt: skip
        if _runs(data, predictions, annotations):
            pipe = kptk.create_pipeline(pipeline, enable_hpi=enable_hpi, **models)
            loaded = kptk.load_coco(data, split=split)  # type: ignore[arg-type]
            found = kptk.evaluate(pipe, loaded, progress=sys.stderr.isatty(), **options)
        else:
            found = kptk.evaluate(
                predictions=predictions, annotations=annotations, **models, **options
            )
        if save_path is not None:
            found.save(save_path)
        document = found.json
        if found.predictions is None:  # a file of results: the statistics and nothing else
            del document["provenance"]
        show(document, f"{found.name}, AP in percent\n{found.text}")
