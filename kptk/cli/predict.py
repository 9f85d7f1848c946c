"""What ``kptk predict`` does with --dask or --format parquet|jsonl."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from kptk.bulk import PARTITION_SIZE, Format, predict_dataset
from kptk.cli.app import (
    Device,
    EnableHpi,
    EngineName,
    Json,
    PipelineName,
    app,
    dump,
    fail_unless,
    finite,
    only_json,
)
from kptk.errors import ConfigError, DownloadError, InputError, KptkError

if TYPE_CHECKING:
    from kptk.pipeline.results import PoseResult
    from kptk.stored import StoredPredictions
    from kptk.video import VideoFiles


_MAX_ERRORS = 20  # that are listed


@dataclass(frozen=True)
class Asked:
    """The options of ``kptk predict`` that are about many images; None: not given."""

    dask: str | None
    format: str | None
    partition_size: int | None
    coco_results: Path | None

    @property
    def partitioned(self) -> bool:
        """Whether results go into partitions, instead of a JSON file an image.

        Raises:
            InputError: an option is given that needs the partitions.
        """
        if self.dask is not None or self.format not in (None, "json"):
            if self.format == "json":
                raise InputError("--dask writes --format parquet (its default) or jsonl, not json.")
            return True
        for name, value in (
            ("--partition-size", self.partition_size),
            ("--coco-results", self.coco_results),
        ):
            if value is not None:
                raise InputError(f"{name} is for --format parquet or jsonl, or --dask.")
        return False


def run(
    inputs: Sequence[str],
    pipeline: str,
    save_path: Path,
    asked: Asked,
    *,
    device: str,
    engine: str,
    det_threshold: float | None,
    kpt_threshold: float | None,
    channel_order: str | None,
    recursive: bool,
) -> StoredPredictions:
    """Predict into partitions; with ``--coco-results`` write ``predictions.json`` too.

    Raises:
        KptkError: see :func:`kptk.predict_dataset`.
    """
    if kpt_threshold is not None:
        raise InputError("--kpt-threshold is for pictures; partitions hold every joint and score.")
    try:
        stored = predict_dataset(
            list(inputs), pipeline, save_path, asked.dask,
            format=cast(Format, asked.format or "parquet"),
            partition_size=PARTITION_SIZE if asked.partition_size is None else asked.partition_size,
            det_threshold=det_threshold, channel_order=channel_order, device=device,
            engine=engine, recursive=recursive, progress=sys.stderr.isatty(),
        )  # fmt: skip
    except DownloadError as error:
        raise DownloadError(f"{error} Without a network, try: --pipeline demo") from error
    if asked.coco_results is not None:
        stored.save_coco(save_path / "predictions.json", asked.coco_results)
    return stored


def document(stored: StoredPredictions) -> dict[str, Any]:
    """What ``--json`` writes: counts and the first errors, no results."""
    errors = list(stored.errors().items()) if stored.n_errors else []
    return {
        "folder": str(stored.folder),
        "images": len(stored),
        "people": sum(done.people for done in stored.partitions),
        "partitions": len(stored.partitions),
        "n_errors": stored.n_errors,
        "errors": [{"input_path": path, "error": why} for path, why in errors[:_MAX_ERRORS]],
    }


# ---- report: What ``kptk predict`` saves and prints while results come.


def source_of(text: str) -> str | int:
    """A number is a camera's index, unless a file is called so."""
    return int(text) if text.isdecimal() and not os.path.exists(text) else text


def expected(
    sources: Sequence[str | int], every: int, max_fps: float | None
) -> tuple[int | None, bool]:
    """How many results there will be, if all are films that say so; whether any is a film."""
    from kptk.io.sources import is_video
    from kptk.io.video import Sampling, probe

    films = [text for text in sources if isinstance(text, str) and is_video(text)]
    moving = len(films) > 0 or any(isinstance(text, int) for text in sources)
    if len(films) < len(sources):
        return None, moving
    try:
        found = [probe(text) for text in films]
    except KptkError:  # the run says what is wrong
        return None, moving
    sampling = Sampling(every, max_fps)
    counts = [sampling.count(film.frames, film.fps) for film in found if film.frames]
    return (sum(counts) if len(counts) == len(films) else None), moving


class Report:
    """What a prediction run has come to: saves and tabulates results, keeps the errors.

    A context manager: the film being written is finished at its end. Ctrl-C is how a camera's
    film ends; of any other film nothing is kept then.
    """

    def __init__(
        self, save_path: Path, *, pictures: bool, table: bool, track: bool, smooth: bool
    ) -> None:
        self.save_path = save_path
        self.pictures = pictures
        self.table = table
        self.track = track
        self.smooth = smooth
        self.film: VideoFiles | None = None
        self.results: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        if table:
            typer.echo(f"{'people':>6}  {'best':>4}  image -> saved")

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        camera = self.film is not None and self.film.path is None
        stopped = camera and kind is KeyboardInterrupt
        if kind is None or stopped:
            self._end_film()
        elif self.film is not None:
            self.film.__exit__(kind, error, trace)
        return stopped

    def take(
        self, stream: Generator[PoseResult, None, None], total: int | None, moving: bool
    ) -> None:
        """All results of a stream, which is closed; with a bar where lines are slow to come.

        Args:
            stream: the results.
            total: how many there will be; None: that is not known.
            moving: whether there are films or cameras among them.
        """
        from tqdm import tqdm

        silent = True if self.table and not moving else None  # None: unless at a terminal
        with closing(stream), self:
            for result in tqdm(stream, total=total, unit=" images", disable=silent, leave=False):
                self.add(result)

    def add(self, result: PoseResult) -> None:
        from kptk.video import video_of

        if result.error is not None:
            title = result.path or result.name
            self.errors.append({"input_path": title, "error": str(result.error)})
        elif video_of(result) is None:
            self._end_film()
            self._add_image(result)
        else:
            self._add_frame(result)

    def _add_frame(self, result: PoseResult) -> None:
        from kptk.video import VideoFiles, OneEuro, Tracker, video_of

        if self.film is None or self.film.video != video_of(result):
            self._end_film()
            tracker = Tracker(smoother=OneEuro() if self.smooth else None) if self.track else None
            film = VideoFiles(self.save_path, result, images=self.pictures, tracker=tracker)
            self.film = film.__enter__()
        self.film.add(result)

    def _end_film(self) -> None:
        film, self.film = self.film, None
        if film is None:
            return
        film.__exit__(None, None, None)
        if not self.table:
            self.results.append(film.json)
            return
        followed = f", {film.tracker.count} people followed" if film.tracker else ""
        title = f"{film.path or film.video} ({film.frames} frames, {film.last:.1f} s{followed})"
        self._row(film.most, film.best, title, film.saved)

    def _add_image(self, result: PoseResult) -> None:
        saved = [result.save_to_json(f"{self.save_path}{os.sep}")]
        if self.pictures:
            saved.append(result.save_to_img(f"{self.save_path}{os.sep}"))
        if not self.table:
            self.results.append(result.json)
            return
        best = float(result.scores.max()) if len(result) else math.nan
        self._row(len(result), best, result.path or result.name, saved)

    def _row(self, people: int, best: float, title: str, saved: Sequence[Path]) -> None:
        score = "-" if math.isnan(best) else f"{best:.2f}"
        typer.echo(f"{people:>6}  {score:>4}  {title} -> {', '.join(map(str, saved))}")

    def finish(self) -> None:
        """List the errors on stderr; exit with 1 if there are any."""
        say_errors(self.errors, len(self.errors))


def say_errors(errors: Sequence[dict[str, Any]], count: int) -> None:
    """List the first of so many errors on stderr; exit with 1 if there are any."""
    if not count:
        return
    typer.echo(f"kptk: {count} of the inputs failed:", err=True)
    for error in errors:
        typer.echo(f"  {error['input_path']}: {' '.join(error['error'].split())}", err=True)
    if count > len(errors):
        typer.echo(f"  and {count - len(errors)} more", err=True)
    raise typer.Exit(1)


# ---- predict: ``kptk predict``: images and films to files, or many images to partitions.


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

    models: dict[str, Any] = {"device": device, "engine": engine}
    run: dict[str, Any] = {
        "det_threshold": det_threshold, "kpt_threshold": kpt_threshold,
        "channel_order": channel_order, "recursive": recursive,
    }  # fmt: skip
    asked = Asked(dask, save_format, partition_size, coco_results)
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

    with only_json(as_json) as out:
        stored = run(inputs, pipeline, save_path, asked, **settings)
        found = document(stored)
        if as_json:
            dump(found, out)
        else:
            typer.echo(f"{stored!r} -> {stored.folder}")
    say_errors(found["errors"], found["n_errors"])


# ---- inference: ``kptk config | models | download | doctor | check-model``.


@app.command()
def config(
    name: Annotated[str, typer.Argument(help="demo or human_keypoint_detection.")],
    save_path: Annotated[
        Path, typer.Option("--save-path", "-o", help="A folder, or a name ending in .yaml.")
    ] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Save a pipeline's configuration, to be edited and given to --pipeline."""
    from kptk.files import replacing
    from kptk.pipeline.config import builtin_config

    text = builtin_config(name)
    is_file = save_path.suffix.lower() in (".yaml", ".yml") and not save_path.is_dir()
    target = save_path if is_file else save_path / f"{name}.yaml"
    if target.exists() and not force:
        raise ConfigError(f"{target} exists already. Use --force to replace it.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror or error}.") from error
    typer.echo(f"{target}")


@app.command()
def models(
    measure: Annotated[
        bool, typer.Option("--measure", help="Time the models that are on this machine.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models by name, with what is published about them."""
    from kptk import list_models

    with only_json(as_json) as out:
        table = list_models()
        if measure:
            from kptk.check import measure_models

            here = measure_models(lambda name: typer.echo(f"timing {name} ...", err=True))
            table["ms_here"] = table["name"].map(here)
        if as_json:
            dump({"models": finite(table.to_dict(orient="records"))}, out)
        else:
            typer.echo(table.to_string(index=False, na_rep="-"))


@app.command()
def download(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of models.")],
) -> None:
    """Fetch models now, so that they are there later without a network."""
    from kptk.models.zoo import find_model

    for name in names:
        typer.echo(f"{find_model(name).path}")


@app.command()
def doctor(
    official: Annotated[
        bool, typer.Option("--official", help="Fetch and try the official models too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show versions, engines and devices, and try out what is here."""
    from kptk.check import diagnose

    with only_json(as_json) as out:
        found = diagnose(official=official)
        if as_json:
            dump(finite(found.json), out)
        else:
            typer.echo(repr(found))
    fail_unless(found.ok)


@app.command("check-model")
def check_model(
    model: Annotated[str, typer.Argument(help="A model directory, .pdparams file or name.")],
    as_json: Json = False,
) -> None:
    """Look a model over: its files, names and sizes, and whether every engine runs it alike."""
    from kptk.check import check_model

    with only_json(as_json) as out:
        report = check_model(model)
        if as_json:
            dump(finite(report.json), out)
        else:
            typer.echo(repr(report))
    fail_unless(report.ok)


# ---- serving: ``kptk serve``.


@app.command()
def serve(
    pipeline: PipelineName = "human_keypoint_detection",
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0: every network of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    device: Device = "auto",
    engine: EngineName = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. [default: all]")] = None,
    det_threshold: Annotated[
        float | None, typer.Option(help="Of requests without one. [default: the pipeline's]")
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Images that go through together.")] = 8,
    max_queue: Annotated[int, typer.Option(min=1, help="Images that may wait.")] = 256,
    max_body_mb: Annotated[float, typer.Option(help="MiB of a request.")] = 32,
    max_total_mb: Annotated[float, typer.Option(help="MiB of all requests at a time.")] = 512,
    max_pixels: Annotated[float, typer.Option(help="Width x height of an image.")] = 25_000_000,
    body_timeout: Annotated[float, typer.Option(help="Seconds for a request to come in.")] = 20,
    timeout: Annotated[float, typer.Option(help="Seconds from then to the answer.")] = 60,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch images by URL, from public addresses.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token clients must send. [else: KPTK_SERVE_TOKEN]"),
    ] = None,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Write a line for every request.")
    ] = False,
) -> None:
    """Answer PaddleX's requests (POST /human-keypoint-detection) until Ctrl-C."""
    from kptk import create_pipeline
    from kptk.serving import ServeOptions, serve
    from kptk.serving.schema import read_token

    options = ServeOptions(
        max_body_mb=max_body_mb,
        max_total_mb=max_total_mb,
        max_pixels=max_pixels,
        max_batch=max_batch,
        max_queue=max_queue,
        body_timeout=body_timeout,
        timeout=timeout,
        allow_urls=allow_urls,
        token=read_token(token_file),
    )
    if options.token is None and host not in ("127.0.0.1", "localhost", "::1"):
        typer.echo("kptk: no token is set: whoever reaches this port may use it.", err=True)
    pipe = create_pipeline(
        pipeline, device=device, engine=engine, threads=threads, det_threshold=det_threshold
    )
    serve(pipe, options, host=host, port=port, access_log=access_log, on_ready=_announce)


def _announce(address: str) -> None:
    typer.echo(f"kptk: serving at {address} (its pages: {address}/docs); Ctrl-C ends it.")
