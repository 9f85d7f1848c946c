"""``kptk serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kptk.cli.app import Device, EngineName, PipelineName, app


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
    from kptk.serving.options import read_token

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
