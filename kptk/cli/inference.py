"""``kptk predict | config | models | download | doctor | check-model``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kptk.cli.app import (
    Device,
    EngineName,
    Json,
    PipelineName,
    app,
    dump,
    fail_unless,
    finite,
    only_json,
)
from kptk.errors import ConfigError, DownloadError

if TYPE_CHECKING:
    from kptk.results import PoseResult


@app.command()
def predict(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Files, folders, URLs.")],
    pipeline: PipelineName = "human_keypoint_detection",
    save_path: Annotated[
        Path, typer.Option("--save-path", "-o", help="Folder for JSON files and pictures.")
    ] = Path("output"),
    device: Device = "auto",
    engine: EngineName = "auto",
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
    no_img: Annotated[bool, typer.Option("--no-img", help="Save no pictures.")] = False,
    save_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="json: files an image; parquet or jsonl: partitions of many images, restartable.",
        ),
    ] = None,
    dask: Annotated[
        str | None, typer.Option(help="Scheduler, tcp://HOST:PORT, whose workers do the work.")
    ] = None,
    partition_size: Annotated[
        int | None, typer.Option(help="Images to a partition. [default: 500]")
    ] = None,
    coco_results: Annotated[
        Path | None,
        typer.Option(
            help="With partitions: COCO annotations of the images; write predictions.json."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find people in images; save JSON and pictures, print a short table."""
    from kptk.bulk import command

    asked = command.Asked(dask, save_format, partition_size, coco_results)
    if asked.partitioned:
        with only_json(as_json) as out:
            stored = command.run(
                inputs, pipeline, save_path, asked, device=device, engine=engine,
                det_threshold=det_threshold, kpt_threshold=kpt_threshold,
                channel_order=channel_order, recursive=recursive,
            )  # fmt: skip
            found = command.document(stored)
            if as_json:
                dump(found, out)
            else:
                typer.echo(f"{stored!r} -> {stored.folder}")
        _say_errors(found["errors"], found["n_errors"])
        return
    from tqdm import tqdm

    from kptk import create_pipeline

    with only_json(as_json) as out:
        try:
            pipe = create_pipeline(pipeline, device=device, engine=engine)
        except DownloadError as error:
            raise DownloadError(f"{error} Without a network, try: --pipeline demo") from error
        stream = pipe.predict(
            inputs,
            det_threshold=det_threshold,
            kpt_threshold=kpt_threshold,
            channel_order=channel_order,
            recursive=recursive,
        )
        report = _Report(save_path, pictures=not no_img, table=not as_json)
        for result in tqdm(stream, unit=" images", disable=None if as_json else True):
            report.add(result)
        if as_json:
            dump({"results": report.results, "errors": report.errors}, out)
    report.finish()


class _Report:
    """What a prediction run has come to: saves and tabulates results, keeps the errors."""

    def __init__(self, save_path: Path, *, pictures: bool, table: bool) -> None:
        self.save_path = save_path
        self.pictures = pictures
        self.table = table
        self.results: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        if table:
            typer.echo(f"{'people':>6}  {'best':>4}  image -> saved")

    def add(self, result: PoseResult) -> None:
        title = result.path or result.name
        if result.error is not None:
            self.errors.append({"input_path": title, "error": str(result.error)})
            return
        saved = [result.save_to_json(f"{self.save_path}{os.sep}")]
        if self.pictures:
            saved.append(result.save_to_img(f"{self.save_path}{os.sep}"))
        if not self.table:
            self.results.append(result.json)
            return
        best = f"{result.scores.max():.2f}" if len(result) else "-"
        typer.echo(f"{len(result):>6}  {best:>4}  {title} -> {', '.join(map(str, saved))}")

    def finish(self) -> None:
        """List the errors on stderr; exit with 1 if there are any."""
        _say_errors(self.errors, len(self.errors))


def _say_errors(errors: list[dict[str, Any]], count: int) -> None:
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
    name: Annotated[str, typer.Argument(help="demo or human_keypoint_detection.")],
    save_path: Annotated[
        Path, typer.Option("--save-path", "-o", help="A folder, or a name ending in .yaml.")
    ] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Save a pipeline's configuration, to be edited and given to --pipeline."""
    from kptk.cache import replacing
    from kptk.config import builtin_config

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
            from kptk.trial import measure_models

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
    from kptk.zoo import find_model

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
    from kptk.doctor import diagnose

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
    from kptk.preflight import check_model

    with only_json(as_json) as out:
        report = check_model(model)
        if as_json:
            dump(finite(report.json), out)
        else:
            typer.echo(repr(report))
    fail_unless(report.ok)
