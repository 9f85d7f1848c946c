"""`kptk.predict_dataset`: a pipeline over many images, in this process or on a Dask cluster.

Images are cut into partitions, each of which is written as a whole (:mod:`kptk.stored`), so that a
run can go on after whatever stopped it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from tqdm.auto import tqdm

from kptk import __version__
from kptk.coco import KeypointData
from kptk.errors import BulkError, InputError, KptkError, require
from kptk.files import file_hash, replacing, show_progress
from kptk.inputs import check_batch_size, check_threshold
from kptk.io.images import IMAGE_SUFFIXES, is_url
from kptk.io.sources import is_video
from kptk.models.modeldir import ModelDir
from kptk.models.zoo import find_model
from kptk.pipeline.config import PipelineConfig, load_config
from kptk.pipeline.pipeline import Pipeline, create_pipeline
from kptk.pipeline.results import PoseResult
from kptk.stored import (
    MANIFEST,
    SCHEMA,
    Done,
    K,
    Row,
    RunFolder,
    StoredPredictions,
    check_parquet,
    read_predictions,
    write_whole,
)

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

Format = Literal["parquet", "jsonl"]
PARTITION_SIZE = 500
LIST_SUFFIXES = (".txt", ".lst", ".list")
TIMEOUT = 30.0  # seconds until there must be a scheduler and a worker
MAX_DEATHS = 2  # of processes at one image
_MAX_LOST = 5  # partitions, as long as more are lost than done
_AHEAD = 2  # partitions to a thread of the cluster: one at work, one waiting
_RETRIES = 2  # after errors, on any worker
_ROUNDS = 3  # of as many deaths as Dask allows a task


class Predictor(Protocol):
    """What a pipeline must be able to do here."""

    def predict(
        self, source: Any, *, det_threshold: float | None, channel_order: str | None
    ) -> Iterator[PoseResult]:
        """One result for each path of a list, in order."""


Maker = Callable[[], Predictor]


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
    if format not in ("parquet", "jsonl"):
        raise InputError(f"format must be 'parquet' or 'jsonl'. Got {format!r}.")
    size = check_batch_size(partition_size, "partition_size")
    if format == "parquet":
        check_parquet()
    images = list_images(source, recursive=recursive)
    models = {"device": device, "engine": engine, "flip": flip, "udp": udp, "threads": threads}
    options = {
        "det_threshold": None if det_threshold is None else check_threshold(det_threshold),
        "channel_order": channel_order,
    }
    if channel_order not in (None, "rgb", "bgr"):
        raise InputError(f"channel_order must be 'rgb' or 'bgr'. Got {channel_order!r}.")
    ready = pipeline if isinstance(pipeline, Pipeline) else None
    if ready is not None and client is not None:
        raise InputError(
            "A loaded pipeline cannot be sent to workers, who make their own. Give its name, its "
            "YAML file, or a function that makes it."
        )
    if ready is not None and any(option not in (None, "auto") for option in models.values()):
        raise InputError(
            "device, engine, flip, udp and threads are for a pipeline that is still to be loaded. "
            "Give them to create_pipeline."
        )
    if isinstance(pipeline, str | os.PathLike):
        pipeline = load_config(pipeline)
    settings = {
        "schema": SCHEMA, "format": format, "partition_size": size,
        **describe(pipeline, models, options),
    }  # fmt: skip
    text = json.dumps(settings, sort_keys=True)
    settings_hash = hashlib.sha256(text.encode()).hexdigest()[:16]
    folder = RunFolder(Path(os.path.abspath(Path(save_path).expanduser())))
    _start(folder, settings_hash, settings, images)
    job = Job(
        folder=folder,
        settings_hash=settings_hash,
        settings=settings,
        pipeline=None if isinstance(pipeline, Pipeline) else pipeline,
        models=models,
        options=options,
        root=images.root,
    )
    finished = {done.partition: done.images for done in folder.finished(settings_hash)}
    todo = (part for part in images.partitions(size) if part.number not in finished)
    lost: dict[int, str] = {}
    total, before = images.identity["count"], sum(finished.values())
    if before < total:
        with ExitStack() as stack:
            if client is None:
                outcomes = _run_here(Worker(job, ready), todo)
            else:
                outcomes = _run_on_cluster(stack.enter_context(_connected(client)), job, todo)
            bar = tqdm(
                total=total, initial=before, unit=" images", desc="predict",
                disable=not (progress and show_progress()),
            )  # fmt: skip
            lost = _watch(outcomes, stack.enter_context(bar))
    if lost:
        numbers = sorted(lost)
        raise BulkError(
            f"{len(lost)} partitions could not be done ({', '.join(map(str, numbers[:10]))}"
            f"{', ...' if len(lost) > 10 else ''}). Partition {numbers[0]}: {lost[numbers[0]]}. "
            f"What is finished is in {folder.path}; the same command tries the rest again."
        )
    for leftover in folder.path.glob(f"*/.{'[0-9a-f]' * 12}.*"):  # of crashes
        leftover.unlink(missing_ok=True)
    return read_predictions(folder.path)


def describe(
    pipeline: Pipeline | PipelineConfig | Maker,
    models: Mapping[str, Any],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """What the stored numbers depend on; models are found, not loaded.

    The device and the number of threads are left out: a run may be continued elsewhere.

    Raises:
        ModelError: a model cannot be found.
        InputError: it is no pipeline with two stages, or a function without a name.
    """
    if isinstance(pipeline, Pipeline):
        if pipeline.detector is None or pipeline.pose is None:
            raise InputError(
                "predict_dataset needs a pipeline with a detector and a keypoint model."
            )
        detector, pose = pipeline.detector.model, pipeline.pose.model
        used = {"engine": pipeline.detector.engine.name, "flip": pipeline.pose.flip,
                "udp": pipeline.pose.udp}  # fmt: skip
    elif isinstance(pipeline, PipelineConfig):
        detector = find_model(pipeline.det_model, kind="detection")
        pose = find_model(pipeline.kpt_model, kind="keypoint")
        used = {
            name: getattr(pipeline, name) if models[name] in (None, "auto") else models[name]
            for name in ("engine", "flip", "udp")
        }
    elif callable(pipeline):
        module, name = (getattr(pipeline, n, None) for n in ("__module__", "__qualname__"))
        if not module or not name:
            raise InputError(
                "A function that makes the pipeline must have a name, by which a later run knows "
                f"that it is the same. Got {pipeline!r}."
            )
        order = options["channel_order"] or "rgb"
        return {"made_by": f"{module}:{name}", **options, "channel_order": order}
    else:
        raise InputError(
            "pipeline must be a name, a YAML file, a PipelineConfig, or a function that makes "
            f"the pipeline. Got {type(pipeline).__name__}."
        )
    thresholds = (options["det_threshold"], pipeline.det_threshold, detector.threshold)
    return {
        "models": {"detector": model_identity(detector), "pose": model_identity(pose)},
        **used,
        "det_threshold": next(value for value in thresholds if value is not None),
        "channel_order": options["channel_order"] or pipeline.channel_order,
    }


def model_identity(model: ModelDir) -> dict[str, Any]:
    """By which a model is known to be the same elsewhere; the input size is (height, width)."""
    return {
        "name": model.name,
        "input_size": list(model.input_size),
        "preprocessing": [
            *model.mean, *model.std, model.is_scale, model.interp, model.keep_ratio,
        ],
        "sha256": file_hash(*model.weights) if model.weights else None,
    }  # fmt: skip


def _start(folder: RunFolder, settings_hash: str, settings: Any, images: ImageList) -> None:
    """Write the manifest, or see that the one there is of the same run."""
    wanted = {
        "settings_hash": settings_hash, "settings": settings, "images": images.identity,
        "kptk": __version__,
    }  # fmt: skip
    if not (folder.path / MANIFEST).exists():
        try:
            for kind in ("done", "attempts"):
                (folder.path / kind).mkdir(parents=True, exist_ok=True)
            write_whole(folder.path / MANIFEST, wanted)
        except OSError as error:
            raise BulkError(
                f"{folder.path} cannot be written: {error.strerror or error}."
            ) from error
        return
    there = folder.manifest
    differences = "; ".join(
        f"{group}.{key} is {old.get(key)!r} there and {wanted[group].get(key)!r} now"
        for group in ("settings", "images")
        for old in [there.get(group, {})]
        for key in sorted({*old, *wanted[group]})
        if old.get(key) != wanted[group].get(key)
    )
    if differences:
        raise BulkError(
            f"{folder.path} holds another run, and two runs in one folder would be mixed up: "
            f"{differences}. Choose another folder, or delete this one."
        )


def _watch(outcomes: Iterator[tuple[int, Done | str]], bar: Any) -> dict[int, str]:
    """Show what comes; give up where nearly nothing comes through.

    Args:
        outcomes: number of a partition, and what was stored, or why it was lost.
        bar: counts images.

    Returns:
        The lost ones.
    """
    lost: dict[int, str] = {}
    done = 0
    for number, outcome in outcomes:
        if isinstance(outcome, Done):
            done += 1
            bar.update(outcome.images)
            continue
        logger.warning("Partition %d is lost: %s", number, outcome)
        lost[number] = outcome
        if len(lost) >= _MAX_LOST and len(lost) > done:
            break
    return lost


@dataclass(frozen=True)
class Partition:
    """Images that are done together.

    Attributes:
        number: from 0.
        first: index of its first image in the whole list.
        entries: (path or URL as in the list, COCO id or None).
    """

    number: int
    first: int
    entries: tuple[tuple[str, int | None], ...]


class _Lines:
    """The lines of a text file that are not empty, read each time they are gone through."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __iter__(self) -> Iterator[str]:
        try:
            with Path(self.path).open(encoding="utf-8-sig", errors="surrogateescape") as stream:
                yield from (text for line in stream if (text := line.strip()))
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}.") from error


@dataclass(frozen=True, eq=False)
class ImageList:
    """Images by path: a million are strings and nothing else; a list in a file is read as it goes.

    Attributes:
        root: the folder that relative paths start from; ``""`` where all are absolute.
        paths: paths or URLs, the same ones every time.
        image_ids: their COCO ids, if they have any.
    """

    root: str
    paths: Sequence[str] | _Lines
    image_ids: Sequence[int] | None = None

    def entries(self) -> Iterator[tuple[str, int | None]]:
        """Path and COCO id."""
        return zip(self.paths, self.image_ids or repeat(None), strict=False)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """How many there are, and a hash of the root, the paths and the ids, in order."""
        digest, count = hashlib.sha256(os.fsencode(self.root)), 0
        for path, image_id in self.entries():
            digest.update(os.fsencode(f"\0{path}\0{image_id}"))
            count += 1
        if not count:
            raise InputError("The list of images must hold at least one. Got an empty list.")
        return {"count": count, "sha256": digest.hexdigest(), "root": plain_text(self.root)}

    def partitions(self, size: int) -> Iterator[Partition]:
        """The list cut into partitions of ``size`` images; the last may be smaller."""
        entries = self.entries()
        number = 0
        while batch := tuple(islice(entries, size)):
            yield Partition(number, number * size, batch)
            number += 1


def list_images(source: object, *, recursive: bool = False) -> ImageList:
    """List the images in whatever was handed in; none is opened.

    Args:
        source: a folder, a file of paths or URLs (``.txt``, ``.lst``, ``.list``; one a line,
            relative ones start from the file's own folder), an image, COCO data, or a list of
            these but the last.
        recursive: whether folders are read with their subfolders.

    Raises:
        InputError: it is nothing of the kind, or it is not there.
    """
    if isinstance(source, KeypointData):
        names = [str(image["file_name"]) for image in source.images]
        ids = [int(image["id"]) for image in source.images]
        return ImageList(os.path.abspath(source.images_dir), names, ids)
    alone = not isinstance(source, Iterable) or isinstance(source, str | bytes | Mapping)
    members: list[Any] = [source] if alone else list(source)  # type: ignore[call-overload]
    for member in members:
        if not isinstance(member, str | os.PathLike):
            raise InputError(
                "Many images are given by path: a folder, a file of paths (.txt), a list of paths, "
                f"or kptk.load_coco(...). Got {type(member).__name__}. For images in memory use "
                "pipe.predict(...)."
            )
    found = [_expanded(os.fsdecode(m), recursive, alone=len(members) == 1) for m in members]
    if len(found) == 1:
        return found[0]
    return ImageList("", [located(each.root, path) for each in found for path in each.paths])


def _expanded(text: str, recursive: bool, alone: bool) -> ImageList:
    """One member of a list; in company, what is called an image is not looked at."""
    path = os.path.abspath(os.path.expanduser(text))
    ending = os.path.splitext(path)[1].lower()
    if is_url(text):
        return ImageList("", [text])
    if os.path.isdir(path) and (alone or ending not in IMAGE_SUFFIXES):
        return ImageList(path, _names(path, recursive))
    if ending in LIST_SUFFIXES:
        return ImageList(os.path.dirname(path), _Lines(path))
    if alone and not os.path.exists(path):
        raise InputError(f"There is no file or folder {path}.")
    return ImageList("", [path])


def _names(folder: str, recursive: bool) -> list[str]:
    """Images of a folder, relative to it, in the order of their names; hidden ones are left out."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}.") from error

    found: list[str] = []
    for inner, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        found += [
            os.path.relpath(os.path.join(inner, name), folder)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    if not found:
        advice = "" if recursive else " Subfolders are read with recursive=True."
        raise InputError(f"{folder} must hold images. Got a folder without any.{advice}")
    return sorted(found)


def plain_text(value: str) -> str:
    """A path as text that every format can hold: bytes that are no Unicode as ``\\udcxx``."""
    return value.encode("utf-8", "backslashreplace").decode()


def located(root: str, path: str) -> str:
    """The path or URL of an image of a list."""
    return path if is_url(path) else os.path.join(root, path)


class Attempt:
    """A go at a partition, noted in a file beside the results that outlives the process.

    The note goes when the block is left in any way but the death of the process. An attempt after
    a death goes image by image and writes down which one it is at, so that an image that kills the
    process twice is known, and left out the third time.

    Attributes:
        careful: an earlier attempt ended in the death of its process.
    """

    def __init__(self, path: Path) -> None:
        self.careful = path.exists()
        self._path = path
        self._deaths: Counter[int] = Counter()
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            note = json.loads(path.read_text(encoding="utf-8"))
            self._deaths.update({int(image): count for image, count in note["deaths"].items()})
            if note["at"] is not None:
                self._deaths[note["at"]] += 1

    def __enter__(self) -> Attempt:
        self.at(None)
        return self

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)

    def is_deadly(self, image: int) -> bool:
        """Whether this image has been worked at in too many deaths."""
        return self._deaths[image] >= MAX_DEATHS

    def at(self, image: int | None) -> None:
        """Write down which image comes next."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._path) as temporary:
            temporary.write_text(json.dumps({"at": image, "deaths": self._deaths}), "utf-8")


@dataclass(frozen=True)
class Job:
    """A run as its workers know it; two are equal if folder and settings are.

    Attributes:
        folder: where results go, the same place for all.
        settings_hash: of the run.
        settings: all that the stored numbers depend on.
        pipeline: a configuration whose model directories are absolute, or a function that makes
            the pipeline; None: it is loaded already.
        models: how the pipeline is loaded: device, engine, flip, udp, threads.
        options: how it is asked: det_threshold, channel_order.
        root: where relative paths start.
        version: kptk's, where the run was started.
    """

    folder: RunFolder
    settings_hash: str
    settings: Mapping[str, Any] = field(compare=False)
    pipeline: PipelineConfig | Maker | None = field(compare=False)
    models: Mapping[str, Any] = field(compare=False)
    options: Mapping[str, Any] = field(compare=False)
    root: str = field(compare=False)
    version: str = field(compare=False, default=__version__)


class Worker:
    """A process at work on a job: its pipeline is made when it is first needed, and kept."""

    def __init__(self, job: Job, pipe: Predictor | None = None) -> None:
        self.job = job
        self._pipe = pipe
        self._turn = threading.Lock()  # a worker with several threads has one pipeline all the same

    def run(self, partition: Partition) -> Done:
        """Do a partition and write it; one that is written already is not done again.

        Dask asks again for what a worker had finished that died before it could say so.

        Raises:
            BulkError: this process does not see the folder, or has another kptk or other models.
            KptkError: the pipeline cannot be made.
            OSError: the results cannot be written.
        """
        job, number = self.job, partition.number
        with self._turn:
            if self._pipe is None:
                self._pipe = self._load()
            there = job.folder.done(number, job.settings_hash)
            if there is not None:
                return there
            began = time.perf_counter()
            with Attempt(job.folder.file("attempts", number)) as attempt:
                rows = self._rows(self._pipe, partition, attempt)
                return job.folder.write(
                    number,
                    rows,
                    form=job.settings["format"],
                    settings_hash=job.settings_hash,
                    seconds=time.perf_counter() - began,
                )

    def _load(self) -> Predictor:
        job, host = self.job, f"Worker {platform.node()}"
        if __version__ != job.version:
            raise BulkError(
                f"{host} has kptk {__version__}; the run was started with {job.version}. "
                "Install the same version everywhere."
            )
        try:
            there = job.folder.manifest["settings_hash"]
        except BulkError as error:
            raise BulkError(
                f"{host} must see the folder of results under the same path as the machine that "
                f"started the run: a shared file system is needed. {error}"
            ) from error
        if there != job.settings_hash:
            raise BulkError(f"On {host}, {job.folder.path} is the folder of another run.")
        if not isinstance(job.pipeline, PipelineConfig):
            assert job.pipeline is not None  # what is loaded does not travel
            return job.pipeline()
        pipe = create_pipeline(job.pipeline, **job.models)
        for stage, here in describe(pipe, job.models, job.options)["models"].items():
            if here != job.settings["models"][stage]:
                raise BulkError(
                    f"The {stage} on {host}, {here['name']}, is not the one on the "
                    "machine that started the run: weights, preprocessing or input size differ. "
                    "Copy the same model directory to both."
                )
        return pipe

    def _rows(self, pipe: Predictor, partition: Partition, attempt: Attempt) -> list[Row]:
        """All images at once; one by one where that fails, or where a process died at it."""
        entries = [
            (image, image_id, path, self._refusal(path))
            for image, (path, image_id) in enumerate(partition.entries, partition.first)
        ]
        if not attempt.careful:
            results = self._results(pipe, [path for *_, path, why in entries if why is None])
            try:
                return [
                    _row(image, image_id, path, why or next(results))
                    for image, image_id, path, why in entries
                ]
            except KptkError:
                raise
            except Exception:  # of one image, perhaps: which one shows below
                pass
        rows, strange = [], []
        for image, image_id, path, why in entries:
            if attempt.is_deadly(image):
                why = (
                    f"The process died {MAX_DEATHS} times while it was at this image (it crashed, "
                    "or was killed for its memory), so the image was left out."
                )
            found: PoseResult | str | None = why
            if found is None:
                attempt.at(image)
                try:
                    [found] = self._results(pipe, [path])
                except Exception as error:  # whatever it is, it costs this image alone
                    strange.append(error)
                    found = f"{type(error).__name__}: {error}"
            rows.append(_row(image, image_id, path, found))
        if len(strange) == len(rows) > 1:
            raise strange[0]  # not the images are at fault but this process
        return rows

    def _refusal(self, path: str) -> str | None:
        """Why a path can give no single result; None: it may."""
        full = located(self.job.root, path)
        if not is_url(path) and os.path.isdir(full):
            return "This is a folder; the list must name images."
        return "This is a video; the list must name images." if is_video(full) else None

    def _results(self, pipe: Predictor, paths: Sequence[str]) -> Iterator[PoseResult]:
        if not paths:
            return
        located_paths = [located(self.job.root, path) for path in paths]
        for result in pipe.predict(located_paths, **self.job.options):
            if result.keypoints.shape[1] != K:
                raise BulkError(
                    f"Results must have {K} keypoints. Got {result.keypoints.shape[1]}: a pipeline "
                    "with a detector and a keypoint model is needed."
                )
            yield result


def _row(image: int, image_id: int | None, path: str, found: PoseResult | str) -> Row:
    """What is stored of a result, whose pixels are let go, or of an image without one."""
    path = plain_text(path)
    if isinstance(found, str):
        found = PoseResult(
            image=None, name=path, path=path, suffix="", boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32), keypoints=np.zeros((0, K, 3), np.float32),
            error=InputError(found),
        )  # fmt: skip
    height, width = (None, None) if found.image is None else found.image.shape[:2]
    error = None if found.error is None else InputError(plain_text(str(found.error)))
    record = {
        "image": image, "image_id": image_id, "path": path, "width": width, "height": height,
        "people": len(found), "error": None if error is None else str(error),
    }  # fmt: skip
    return record, replace(found, image=None, path=path, error=error)


def _run_here(worker: Worker, partitions: Iterable[Partition]) -> Iterator[tuple[int, Done | str]]:
    for partition in partitions:
        try:
            yield partition.number, worker.run(partition)
        except KptkError:
            raise
        except Exception as error:  # as on a cluster, the rest goes on
            yield partition.number, f"{type(error).__name__}: {error}"


@lru_cache(maxsize=1)
def worker_of(job: Job) -> Worker:
    """This process's worker for a job; a new job lets the old one's pipeline go."""
    return Worker(job)


def run_partition(job: Job, partition: Partition) -> Done:
    """What a worker of the cluster is sent. A pipeline has the threads that Dask gives it."""
    if job.models["threads"] is None:
        from distributed import get_worker

        job = replace(job, models={**job.models, "threads": get_worker().state.nthreads})
    return worker_of(job).run(partition)


@contextmanager
def _connected(client: Client | str) -> Iterator[Any]:
    """A client, made of an address and closed again, or the one given.

    Raises:
        BulkError: there is no scheduler, or no worker within ``TIMEOUT`` seconds.
    """
    distributed = require("distributed", "dask", "Work on many machines")
    try:
        made = distributed.Client(client, timeout=TIMEOUT) if isinstance(client, str) else None
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise BulkError(
            f"There is no Dask scheduler at {client!r} ({error}). Start one with: dask scheduler; "
            "it prints its address, tcp://HOST:PORT."
        ) from error
    with made or nullcontext(client) as cluster:
        try:
            cluster.wait_for_workers(1, timeout=TIMEOUT)
        except OSError as error:
            address = cluster.scheduler.address
            raise BulkError(
                f"The scheduler at {address} has no workers. Start some, with kptk installed: "
                f"dask worker {address} --nthreads 1"
            ) from error
        yield cluster


def _run_on_cluster(
    client: Any, job: Job, partitions: Iterator[Partition]
) -> Iterator[tuple[int, Done | str]]:
    """Do partitions on the workers, in whatever order they end.

    Not by ``client.map``, which would send all paths to the scheduler at once: so many are on their
    way as the threads there are now have use for.

    Raises:
        KptkError: a worker cannot do this job at all.
        BulkError: the scheduler has gone.
    """
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    run = uuid.uuid4().hex[:8]  # another run with these settings may be on the same cluster
    running: dict[str, tuple[Partition, int]] = {}
    ended = as_completed()

    def submit(partition: Partition, turn: int) -> None:
        key = f"kptk-{run}-{partition.number}-{turn}"
        running[key] = partition, turn
        options = {"key": key, "pure": False, "retries": _RETRIES}
        ended.add(client.submit(run_partition, job, partition, **options))

    while True:
        room = max(2, _AHEAD * sum(client.nthreads().values()))
        for partition in islice(partitions, max(0, room - len(running))):
            submit(partition, 1)
        if not running:
            break
        future = next(ended)
        partition, turn = running.pop(future.key)
        if future.status in ("cancelled", "lost"):
            raise BulkError(
                "The scheduler dropped the work: it was closed, or started anew. What is finished "
                "is in the folder; the same command goes on from there."
            )
        error = future.exception()
        if error is None:
            yield partition.number, future.result()
        elif isinstance(error, KptkError):
            raise error
        elif not isinstance(error, KilledWorker):
            yield partition.number, f"{type(error).__name__}: {error}"
        elif turn < _ROUNDS:
            submit(partition, turn + 1)
        else:
            yield partition.number, "its workers died again and again; their logs say more"
    client.run(worker_of.cache_clear, on_error="ignore")
