"""``kptk predict | config | models | download | doctor | check-model | serve``."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kptk.cli.app import (
    DET_THRESHOLD,
    DEVICE,
    ENABLE_HPI,
    ENGINE,
    FORCE,
    JSON,
    PIPELINE,
    app,
    argument,
    fail,
    flag,
    option,
    output,
)
from kptk.errors import ConfigError, DownloadError, InputError, KptkError

if TYPE_CHECKING:
    from kptk.pipeline.results import PoseResult

Record = dict[str, Any]

_MAX_ERRORS = 20  # of partitions that are listed


@app.command()
def predict(
    inputs: list[str] = argument("Files, folders, URLs, indices of cameras.", metavar="INPUT..."),
    pipeline: str = PIPELINE,
    save_path: Path = option(Path("output"), "Folder for the results.", "--save-path", "-o"),
    device: str = DEVICE,
    engine: str = ENGINE,
    enable_hpi: bool = ENABLE_HPI,
    det_threshold: float | None = DET_THRESHOLD,
    kpt_threshold: float | None = option(
        None, "Keypoints below it are drawn hollow. [default: 0.2]"
    ),
    channel_order: str | None = option(
        None, "rgb or bgr: of .npy arrays; image files know their own."
    ),
    recursive: bool = option(False, "Read subfolders.", "--recursive", "-r"),
    no_img: bool = flag("no-img", "Save no images, no videos."),
    every: int = option(1, "Of videos: every n-th frame."),
    max_fps: float | None = option(None, "Of videos: frames a second at most. [default: all]"),
    track: bool = option(True, "Number the people of a video.", "--track/--no-track"),
    smooth: bool = flag("smooth", "Smooth keypoints in videos."),
    save_format: str | None = option(
        None,
        "json: files an image; parquet or jsonl: partitions of many images, restartable.",
        "--format",
    ),
    dask: str | None = option(None, "Scheduler, tcp://HOST:PORT, whose workers do the work."),
    partition_size: int | None = option(None, "Images to a partition. [default: 500]"),
    coco_results: Path | None = option(
        None, "With partitions: COCO annotations of the images; write predictions.json."
    ),
    as_json: bool = JSON,
) -> None:
    """Find people in images and videos; save JSON and images, print a short table."""
    models: Record = {"device": device, "engine": engine}
    run: Record = {
        "det_threshold": det_threshold, "channel_order": channel_order, "recursive": recursive,
    }  # fmt: skip
    if dask is not None or save_format not in (None, "json"):
        for refused, message in (
            (save_format == "json",
             "--dask writes --format parquet (its default) or jsonl, not json."),
            (enable_hpi, "--enable-hpi is not for partitions yet: leave it out."),
            (kpt_threshold is not None,
             "--kpt-threshold is for drawing; partitions hold every keypoint and score."),
        ):  # fmt: skip
            if refused:
                raise InputError(message)
        if partition_size is not None:
            run["partition_size"] = partition_size
        run |= {**models, "client": dask, "format": save_format or "parquet"}
        _to_partitions(inputs, pipeline, save_path, coco_results, run, as_json)
        return
    for name, value in (("partition-size", partition_size), ("coco-results", coco_results)):
        if value is not None:
            raise InputError(f"--{name} is for --format parquet or jsonl, or --dask.")
    if smooth and not track:
        raise typer.BadParameter("--smooth needs people to be followed: leave out --no-track.")
    from kptk import create_pipeline

    # a number is a camera's index, unless a file is called so
    sources = [int(t) if t.isdecimal() and not os.path.exists(t) else t for t in inputs]
    with output(as_json) as show:
        with _naming_the_demo():
            pipe = create_pipeline(pipeline, enable_hpi=enable_hpi, **models)
        run |= {"kpt_threshold": kpt_threshold, "every": every, "max_fps": max_fps}
        stream = pipe.predict(sources, **run)
        total, moving = _expected(sources, every, max_fps)
        if not as_json:
            typer.echo(f"{'people':>6}  {'best':>4}  image -> saved")
        results: list[Record] = []
        errors: list[Record] = []
        with closing(stream):
            from tqdm import tqdm

            silent = True if not (as_json or moving) else None  # None: unless at a terminal
            bar = tqdm(stream, total=total, unit=" images", disable=silent, leave=False)
            for record, row in _save(bar, save_path, errors, not no_img, track, smooth):
                if as_json:
                    results.append(record)
                else:
                    typer.echo(row)
        if as_json:
            show({"results": results, "errors": errors}, "")
    _list_errors(errors, len(errors))


@contextmanager
def _naming_the_demo() -> Iterator[None]:
    try:
        yield
    except DownloadError as error:
        raise DownloadError(f"{error} Without a network, try: --pipeline demo") from error


def _expected(
    sources: Sequence[str | int], every: int, max_fps: float | None
) -> tuple[int | None, bool]:
    """How many results there will be, if all are videos that say so; whether any is a video."""
    from kptk.io.sources import is_video
    from kptk.io.video import Sampling, probe

    videos = [text for text in sources if isinstance(text, str) and is_video(text)]
    moving = bool(videos) or any(isinstance(source, int) for source in sources)
    if len(videos) < len(sources):
        return None, moving
    sampling = Sampling(every, max_fps)
    try:
        found = [probe(text) for text in videos]
    except KptkError:  # the run says what is wrong
        return None, moving
    counts = [sampling.count(video.frames, video.fps) for video in found if video.frames]
    return (sum(counts) if len(counts) == len(videos) else None), moving


def _save(
    stream: Iterable[PoseResult],
    save_path: Path,
    errors: list[Record],
    images: bool,
    track: bool,
    smooth: bool,
) -> Iterator[tuple[Record, str]]:
    """Save results as they come; of each image or video its record, and its row of the table.

    Those with an error go to ``errors``. Ctrl-C is how a camera's video ends; of any other video
    nothing is kept then.
    """
    from kptk.video import OneEuro, Tracker, VideoFiles, video_of

    def good() -> Iterator[PoseResult]:
        for result in stream:
            if result.error is None:
                yield result
            else:
                title = result.path or result.name
                errors.append({"input_path": title, "error": str(result.error)})

    def row(people: int, best: float, title: str, saved: Sequence[Path]) -> str:
        score = "-" if math.isnan(best) else f"{best:.2f}"
        return f"{people:>6}  {score:>4}  {title} -> {', '.join(map(str, saved))}"

    folder = f"{save_path}{os.sep}"
    for name, results in groupby(good(), video_of):
        if name is None:
            for result in results:
                saved = [result.save_to_json(folder)]
                if images:
                    saved.append(result.save_to_img(folder))
                best = float(max(result.scores, default=math.nan))
                yield result.json, row(len(result), best, result.path or result.name, saved)
            continue
        first, stopped = next(results), False
        tracker = Tracker(smoother=OneEuro() if smooth else None) if track else None
        with VideoFiles(save_path, first, images=images, tracker=tracker) as video:
            try:
                for result in chain([first], results):
                    video.add(result)
            except KeyboardInterrupt:
                stopped = video.path is None
                if not stopped:
                    raise
        followed = f", {tracker.count} people followed" if tracker else ""
        title = f"{video.path or name} ({video.frames} frames, {video.last:.1f} s{followed})"
        yield video.json, row(video.most, video.best, title, video.saved)
        if stopped:
            return


def _to_partitions(
    inputs: list[str],
    pipeline: str,
    save_path: Path,
    coco_results: Path | None,
    options: Record,
    as_json: bool,
) -> None:
    """Partitions in the folder, here or by a cluster; of their results only counts are shown."""
    from kptk.bulk import predict_dataset

    with output(as_json) as show:
        with _naming_the_demo():
            stored = predict_dataset(
                inputs, pipeline, save_path, progress=sys.stderr.isatty(), **options
            )
        if coco_results is not None:
            stored.save_coco(save_path / "predictions.json", coco_results)
        failed = stored.errors().items() if stored.n_errors else ()
        errors = [{"input_path": p, "error": why} for p, why in islice(failed, _MAX_ERRORS)]
        document = {
            "folder": str(stored.folder),
            "images": len(stored),
            "people": sum(done.people for done in stored.partitions),
            "partitions": len(stored.partitions),
            "n_errors": stored.n_errors,
            "errors": errors,
        }
        show(document, f"{stored!r} -> {stored.folder}")
    _list_errors(errors, stored.n_errors)


def _list_errors(errors: Sequence[Record], count: int) -> None:
    """List the first of so many errors on stderr; exit with 1 if there are any."""
    if not count:
        return
    typer.echo(f"kptk: {count} of the inputs failed:", err=True)
    for error in errors:
        typer.echo(f"  {error['input_path']}: {' '.join(error['error'].split())}", err=True)
    if count > len(errors):
        typer.echo(f"  and {count - len(errors)} more", err=True)
    raise typer.Exit(1)


@app.command()
def config(
    name: str = argument("demo or human_keypoint_detection."),
    save_path: Path = option(
        Path("."), "A folder, or a name ending in .yaml.", "--save-path", "-o"
    ),
    force: bool = FORCE,
) -> None:
    """Save a pipeline's configuration, to be edited and given to --pipeline."""
    from kptk.files import writing
    from kptk.pipeline.config import builtin_config

    text = builtin_config(name)
    is_file = save_path.suffix.lower() in (".yaml", ".yml") and not save_path.is_dir()
    target = save_path if is_file else save_path / f"{name}.yaml"
    if target.exists() and not force:
        raise ConfigError(f"{target} exists already. Use --force to replace it.")
    with writing(target, ConfigError) as temporary:
        temporary.write_text(text, encoding="utf-8")
    typer.echo(f"{target}")


@app.command()
def models(
    measure: bool = flag("measure", "Time the models that are on this machine."),
    as_json: bool = JSON,
) -> None:
    """List the models by name, with what is published about them."""
    from kptk import list_models

    with output(as_json) as show:
        table = list_models()
        if measure:
            from kptk.check import measure_models

            here = measure_models(lambda name: typer.echo(f"timing {name} ...", err=True))
            table["ms_here"] = table["name"].map(here)
        records = table.to_dict(orient="records")
        show({"models": records}, table.to_string(index=False, na_rep="-"))


@app.command()
def download(
    names: list[str] = argument("Names of models.", metavar="NAME..."),
) -> None:
    """Fetch models now, so that they are there later without a network."""
    from kptk.models.zoo import find_model

    for name in names:
        typer.echo(f"{find_model(name).path}")


@app.command()
def doctor(
    official: bool = flag("official", "Fetch and try the official models too."),
    as_json: bool = JSON,
) -> None:
    """Show versions, engines and devices, and try out what is here."""
    from kptk.check import diagnose

    _show_checks(lambda: diagnose(official=official), as_json)


@app.command("check-model")
def check_model(
    model: str = argument("A model directory, .pdparams file or name."), as_json: bool = JSON
) -> None:
    """Look a model over: its files, names and sizes, and whether every engine runs it alike."""
    from kptk.check import check_model

    _show_checks(lambda: check_model(model), as_json)


def _show_checks(check: Callable[[], Any], as_json: bool) -> None:
    with output(as_json) as show:
        found = check()
        show(found.json, repr(found))
    if not found.ok:
        fail("some checks failed; they are marked FAIL (--json: ok false).")


@app.command()
def serve(
    pipeline: str = PIPELINE,
    host: str = option("127.0.0.1", "Where to listen; 0.0.0.0: every network of this machine."),
    port: int = option(8080, "0 takes a free one.", min=0, max=65535),
    device: str = DEVICE,
    engine: str = ENGINE,
    threads: int | None = option(None, "CPU threads. [default: all]", min=1),
    det_threshold: float | None = DET_THRESHOLD,
    max_batch: int = option(8, "Images that go through together.", min=1),
    max_queue: int = option(256, "Images that may wait.", min=1),
    max_body_mb: float = option(32, "MiB of a request."),
    max_total_mb: float = option(512, "MiB of all requests at a time."),
    max_pixels: float = option(25000000, "Width x height of an image."),
    body_timeout: float = option(20, "Seconds for a request to come in."),
    timeout: float = option(60, "Seconds from then to the answer."),
    allow_urls: bool = flag("allow-urls", "Fetch images by URL, from public addresses."),
    token_file: Path | None = option(
        None, "File with the token clients must send. [else: KPTK_SERVE_TOKEN]"
    ),
    access_log: bool = flag("access-log", "Write a line for every request."),
) -> None:
    """Answer PaddleX's requests (POST /human-keypoint-detection) until Ctrl-C."""
    given: Record = dict(locals())  # options are called as the limits of ServeOptions are
    from kptk import create_pipeline
    from kptk.serving import ServeOptions, serve
    from kptk.serving.schema import read_token

    limits = {
        limit.name: given[limit.name] for limit in fields(ServeOptions) if limit.name != "token"
    }
    options = ServeOptions(**limits, token=read_token(token_file))
    if options.token is None and host not in ("127.0.0.1", "localhost", "::1"):
        typer.echo("kptk: no token is set: anybody who reaches this port may use it.", err=True)
    pipe = create_pipeline(
        pipeline, device=device, engine=engine, threads=threads, det_threshold=det_threshold
    )

    def announce(address: str) -> None:
        typer.echo(f"kptk: serving at {address} (its pages: {address}/docs); Ctrl-C ends it.")

    serve(pipe, options, host=host, port=port, access_log=access_log, on_ready=announce)
