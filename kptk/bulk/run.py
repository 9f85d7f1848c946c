"""`kptk.predict_dataset`: a pipeline over many images, here or on a cluster, again and again."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kptk.bulk.cluster import Lost, connected, run_on_cluster
from kptk.bulk.folder import Done, RunFolder
from kptk.bulk.lists import ImageList, Partition, list_images
from kptk.bulk.settings import (
    Format,
    Maker,
    Recipe,
    Settings,
    check_layout,
    describe,
    describe_pipeline,
    make_recipe,
)
from kptk.bulk.stored import StoredPredictions, read_predictions
from kptk.bulk.work import Job, Site
from kptk.config import PipelineConfig
from kptk.errors import BulkError, InputError, KptkError
from kptk.runner import Pipeline

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

PARTITION_SIZE = 500
TIMEOUT = 30.0  # seconds until there must be a scheduler and a worker
_MAX_LOST = 5  # partitions, as long as more are lost than done


def predict_dataset(
    source: object,
    pipeline: str | os.PathLike[str] | PipelineConfig | Pipeline | Maker = (
        "human_keypoint_detection"
    ),
    save_path: str | os.PathLike[str] = "output",
    client: Client | str | None = None,
    *,
    format: Format = "parquet",
    partition_size: int = PARTITION_SIZE,
    det_threshold: float | None = None,
    channel_order: str | None = None,
    device: str = "auto",
    engine: str = "auto",
    flip: bool | None = None,
    udp: bool | None = None,
    threads: int | None = None,
    recursive: bool = False,
    progress: bool = True,
) -> StoredPredictions:
    """Find people in many images, and keep the results in a folder, partition by partition.

    Call it again with the same arguments to go on after an interruption: partitions that are done
    are not done again. An image that cannot be read is an error of its own and stops nothing.

    Args:
        source: a folder, a file of paths or URLs (``.txt``, one a line), a list of paths, or data
            of ``load_coco``.
        pipeline: what ``create_pipeline`` takes; without a cluster also a loaded pipeline. Or a
            function without arguments that makes a pipeline, which workers can import: it is known
            by its name, not by what it does.
        save_path: the folder. Workers must see it, the images and the models under the same paths.
        client: a ``distributed.Client`` or the address of a scheduler, ``"tcp://host:8786"``
            (needs ``kptk[dask]``); None: this process does the work.
        format: ``"parquet"`` (needs ``kptk[dask]``) or ``"jsonl"``.
        partition_size: images to a partition: what is lost, at most, when a process dies.
        det_threshold: lowest score of a person; None: the pipeline's.
        channel_order: of ``.npy`` files, ``"rgb"`` or ``"bgr"``; None: the pipeline's.
        device: of every worker; see ``create_pipeline``, like the next four.
        engine: likewise.
        flip: likewise.
        udp: likewise.
        threads: CPU threads to a pipeline; None: on a cluster those of its worker (``--nthreads``),
            here all cores.
        recursive: whether folders are read with their subfolders.
        progress: show a progress bar.

    Returns:
        What is stored; it is read when it is asked for.

    Raises:
        InputError: an argument is wrong, or there are no images.
        BulkError: the folder holds another run, the cluster cannot be used, or partitions were
            lost; then all others are finished.
        ModelError: a model cannot be found or loaded.
        MissingDependencyError: dask or pyarrow is needed and not installed.
    """
    layout = check_layout(format, partition_size)
    _check_packages(format)
    images = list_images(source, recursive=recursive)
    ready = pipeline if isinstance(pipeline, Pipeline) else None
    _check_loaded(ready, client, device, engine, flip, udp, threads)
    recipe = make_recipe(
        _no_pipeline if ready is not None else pipeline,  # type: ignore[arg-type]
        device=device, engine=engine, flip=flip, udp=udp, threads=threads,
        det_threshold=det_threshold, channel_order=channel_order,
    )  # fmt: skip
    what = describe(recipe) if ready is None else describe_pipeline(ready, recipe)
    settings = Settings({**layout, **what})
    folder = RunFolder(Path(os.path.abspath(Path(save_path).expanduser())))
    folder.start(settings, images)
    job = _job(folder, settings, recipe, images)
    lost = _run(job, images, partition_size, client, ready, progress)
    if lost:
        raise BulkError(_said(lost, folder))
    folder.sweep()
    return read_predictions(folder.path)


def _check_packages(form: str) -> None:
    from kptk.bulk.parquet import check_parquet

    if form == "parquet":
        check_parquet()


def _check_loaded(ready: Pipeline | None, client: object, *options: object) -> None:
    if ready is None:
        return
    if client is not None:
        raise InputError(
            "A loaded pipeline cannot be sent to workers, who make their own. Give its name, its "
            "YAML file, or a function that makes it."
        )
    if any(option not in (None, "auto") for option in options):
        raise InputError(
            "device, engine, flip, udp and threads are for a pipeline that is still to be loaded. "
            "Give them to create_pipeline."
        )


def _no_pipeline() -> Any:
    raise BulkError("This run has a pipeline that is loaded already.")


def _job(folder: RunFolder, settings: Settings, recipe: Recipe, images: ImageList) -> Job:
    from kptk import __version__

    return Job(
        str(folder.path), settings.hash, recipe, settings.values.get("models"), images.root,
        settings.values["format"], __version__,
    )  # fmt: skip


def _run(
    job: Job, images: ImageList, size: int, client: Any, ready: Pipeline | None, progress: bool
) -> list[Lost]:
    """Do what is not done yet; the partitions that were lost."""
    before = RunFolder(Path(job.folder)).finished(job.settings_hash)
    todo = _todo(images, size, before.keys())
    count = sum(done.images for done in before.values())
    if count == images.count:
        return []
    if client is None:
        return _watch(_run_here(Site(job, ready), todo), images.count, count, progress)
    with connected(client, TIMEOUT) as cluster:
        return _watch(run_on_cluster(cluster, job, todo), images.count, count, progress)


def _todo(images: ImageList, size: int, done: Collection[int]) -> Iterator[Partition]:
    return (part for part in images.partitions(size) if part.number not in done)


def _run_here(site: Site, partitions: Iterable[Partition]) -> Iterator[Done | Lost]:
    for partition in partitions:
        try:
            yield site.run(partition)
        except KptkError:
            raise
        except Exception as error:  # as on a cluster, the rest goes on
            yield Lost(partition.number, f"{type(error).__name__}: {error}")


def _watch(outcomes: Iterator[Done | Lost], total: int, before: int, progress: bool) -> list[Lost]:
    """Show what comes; give up where nearly nothing comes through."""
    from tqdm.auto import tqdm

    from kptk.download import show_progress

    hidden = not (progress and show_progress())
    lost: list[Lost] = []
    done = 0
    with tqdm(total=total, initial=before, unit=" images", desc="predict", disable=hidden) as bar:
        for outcome in outcomes:
            if isinstance(outcome, Done):
                done += 1
                bar.update(outcome.images)
                continue
            logger.warning("Partition %d is lost: %s", outcome.partition, outcome.reason)
            lost.append(outcome)
            if len(lost) >= _MAX_LOST and len(lost) > done:
                break
    return lost


def _said(lost: list[Lost], folder: RunFolder) -> str:
    first = min(lost, key=lambda one: one.partition)
    numbers = ", ".join(str(number) for number in sorted(one.partition for one in lost)[:10])
    more = ", ..." if len(lost) > 10 else ""
    return (
        f"{len(lost)} partitions could not be done ({numbers}{more}). Partition "
        f"{first.partition}: {first.reason}. What is finished is in {folder.path}; the same "
        "command tries the rest again."
    )
