"""What a run does: how its pipeline is made, and all that its numbers depend on, with a hash."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kptk.coco import KeypointData
from kptk.coco.rules import first_ids
from kptk.errors import BulkError, DataError, InputError, KptkError, require
from kptk.files import replacing
from kptk.inputs import check_batch_size, check_threshold
from kptk.io.images import IMAGE_SUFFIXES, is_url
from kptk.io.sources import is_video
from kptk.pipeline.config import PipelineConfig, load_config
from kptk.pipeline.pipeline import Pipeline
from kptk.pipeline.results import PoseResult
from kptk.skeleton import COCO17

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from kptk.models.modeldir import ModelDir
    from kptk.pipeline.pipeline import Pipeline
    from kptk.pipeline.results import PoseResult


SCHEMA = 1  # of the folder and its files: another number, another meaning


FORMATS = ("parquet", "jsonl")


Format = Literal["parquet", "jsonl"]


class Predictor(Protocol):
    """What a pipeline must be able to do here."""

    def predict(
        self, source: Any, *, det_threshold: float | None, channel_order: str | None
    ) -> Iterator[PoseResult]:
        """One result for each path of a list, in order."""


Maker = Callable[[], Predictor]


@dataclass(frozen=True)
class Recipe:
    """How a process makes its pipeline, and how it is asked.

    Attributes:
        pipeline: a configuration whose model directories are absolute, or a function that makes
            the pipeline.
        device: see ``create_pipeline``, like the next four.
        engine: likewise.
        flip: likewise.
        udp: likewise.
        threads: likewise.
        det_threshold: lowest score of a person; None: the pipeline's.
        channel_order: of ``.npy`` files; None: the pipeline's.
    """

    pipeline: PipelineConfig | Maker
    device: str = "auto"
    engine: str = "auto"
    flip: bool | None = None
    udp: bool | None = None
    threads: int | None = None
    det_threshold: float | None = None
    channel_order: str | None = None

    def make(self) -> Predictor:
        """Make the pipeline.

        Raises:
            KptkError: it cannot be made.
        """
        if not isinstance(self.pipeline, PipelineConfig):
            return self.pipeline()
        from kptk.pipeline.pipeline import create_pipeline

        made: Any = create_pipeline(
            self.pipeline, device=self.device, engine=self.engine, flip=self.flip, udp=self.udp,
            threads=self.threads,
        )  # fmt: skip
        return made  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Settings:
    """All that the stored numbers depend on, as plain values; the manifest holds them."""

    values: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of SHA-256 over the values."""
        text = json.dumps(self.values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_layout(form: str, partition_size: int) -> dict[str, Any]:
    """The settings of the files.

    Raises:
        InputError: there is no such format, or the size is no whole number from 1 up.
    """
    if form not in FORMATS:
        raise InputError(f"format must be 'parquet' or 'jsonl'. Got {form!r}.")
    size = check_batch_size(partition_size, "partition_size")
    return {"schema": SCHEMA, "format": form, "partition_size": size}


def make_recipe(
    pipeline: str | os.PathLike[str] | PipelineConfig | Maker,
    *,
    device: str,
    engine: str,
    flip: bool | None,
    udp: bool | None,
    threads: int | None,
    det_threshold: float | None,
    channel_order: str | None,
) -> Recipe:
    """Check what a pipeline is to be made of.

    Raises:
        InputError: an argument is wrong.
        ConfigError: the configuration cannot be used.
    """
    lowest = None if det_threshold is None else check_threshold(det_threshold)
    if channel_order not in (None, "rgb", "bgr"):
        raise InputError(f"channel_order must be 'rgb' or 'bgr'. Got {channel_order!r}.")
    if isinstance(pipeline, str | os.PathLike):
        pipeline = load_config(pipeline)
    elif not isinstance(pipeline, PipelineConfig) and not callable(pipeline):
        raise InputError(
            "pipeline must be a name, a YAML file, a PipelineConfig, or a function that makes "
            f"the pipeline. Got {type(pipeline).__name__}."
        )
    return Recipe(pipeline, device, engine, flip, udp, threads, lowest, channel_order)


def describe(recipe: Recipe) -> dict[str, Any]:
    """What the numbers of a recipe depend on; the models are found, not loaded.

    The device and the number of threads are left out: a run may be continued elsewhere.

    Raises:
        ModelError: a model cannot be found.
        InputError: the function that makes the pipeline has no name.
    """
    asked = {"det_threshold": recipe.det_threshold, "channel_order": recipe.channel_order or "rgb"}
    config = recipe.pipeline
    if not isinstance(config, PipelineConfig):
        return {"made_by": _name_of(config), **asked}
    from kptk.models.zoo import find_model

    det = find_model(config.det_model, kind="detection")
    kpt = find_model(config.kpt_model, kind="keypoint")
    if asked["det_threshold"] is None:
        own = config.det_threshold
        asked["det_threshold"] = det.threshold if own is None else own
    return {
        "models": models_of(det, kpt),
        "engine": config.engine if recipe.engine == "auto" else recipe.engine,
        "flip": config.flip if recipe.flip is None else recipe.flip,
        "udp": config.udp if recipe.udp is None else recipe.udp,
        **asked,
        "channel_order": recipe.channel_order or config.channel_order,
    }


def describe_pipeline(pipe: Pipeline, recipe: Recipe) -> dict[str, Any]:
    """The same of a pipeline that is loaded already.

    Raises:
        InputError: it lacks a stage.
    """
    from kptk.evaluation.result import own_threshold

    if pipe.detector is None or pipe.pose is None:
        raise InputError("predict_dataset needs a pipeline with a detector and a keypoint model.")
    asked = recipe.det_threshold
    return {
        "models": models_of(pipe.detector.model, pipe.pose.model),
        "engine": pipe.detector.engine.name,
        "flip": pipe.pose.flip,
        "udp": pipe.pose.udp,
        "det_threshold": own_threshold(pipe) if asked is None else asked,
        "channel_order": recipe.channel_order or pipe.channel_order,
    }


def models_of(det: ModelDir, kpt: ModelDir) -> dict[str, Any]:
    """Names, input sizes (height, width) and hashes of both models."""
    return {"detector": _model(det), "pose": _model(kpt)}


def _model(model: ModelDir) -> dict[str, Any]:
    from kptk.files import file_hash

    steps = [*model.mean, *model.std, model.is_scale, model.interp, model.keep_ratio]
    return {
        "name": model.name,
        "input_size": list(model.input_size),
        "preprocessing": steps,
        "sha256": file_hash(*model.weights) if model.weights else None,
    }


def _name_of(maker: Maker) -> str:
    module, name = getattr(maker, "__module__", None), getattr(maker, "__qualname__", None)
    if not module or not name:
        raise InputError(
            "A function that makes the pipeline must have a name, by which a later run knows that "
            f"it is the same. Got {maker!r}."
        )
    return f"{module}:{name}"


# ---- lists: What users hand in → a list of image paths that can be gone through twice, and its
# partitions.
#
# A million paths are strings and nothing else; a list in a file is read as it goes.


LIST_SUFFIXES = (".txt", ".lst", ".list")


Entry = tuple[str, int | None]


@dataclass(frozen=True)
class Partition:
    """Images that are done together.

    Attributes:
        number: from 0.
        first: place of its first image in the whole list.
        paths: as in the list, see :func:`located`.
        image_ids: COCO ids; None where the list has none.
    """

    number: int
    first: int
    paths: tuple[str, ...]
    image_ids: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class ImageList:
    """Images by path.

    Attributes:
        root: the folder that relative paths start from; ``""`` where all are absolute.
        entries: gives an iterator of (path or URL, COCO id or None), the same one every time.
        count: how many.
        sha256: of the root, the paths and the ids, in order.
    """

    root: str
    entries: Callable[[], Iterable[Entry]]
    count: int
    sha256: str

    def partitions(self, size: int) -> Iterator[Partition]:
        """The list cut into partitions of ``size`` images; the last may be smaller."""
        entries = iter(self.entries())
        number = 0
        while batch := tuple(islice(entries, size)):
            paths, ids = zip(*batch, strict=True)
            yield Partition(number, number * size, paths, ids)
            number += 1


def located(root: str, path: str) -> str:
    """The path or URL of an image of a list."""
    return path if is_url(path) else os.path.join(root, path)


def list_images(source: object, *, recursive: bool = False) -> ImageList:
    """List the images in whatever was handed in; none is opened.

    Args:
        source: a folder, a file of paths or URLs (``.txt``, ``.lst``, ``.list``; one a line,
            relative ones start from the file's own folder), an image, COCO data, or a list of
            these but the last.
        recursive: whether folders are read with their subfolders.

    Raises:
        InputError: it is nothing of the kind, it is not there, or it is empty.
    """
    if isinstance(source, KeypointData):
        pairs = [(str(image["file_name"]), int(image["id"])) for image in source.images]
        return _counted(os.path.abspath(source.images_dir), lambda: pairs)
    if isinstance(source, str | os.PathLike):
        return _one(os.fsdecode(source), recursive)
    if isinstance(source, Mapping | bytes) or not isinstance(source, Iterable):
        raise _refused(source)
    members = list(source)
    strange = [member for member in members if not isinstance(member, str | os.PathLike)]
    if strange:
        raise _refused(strange[0])
    texts = [os.fsdecode(member) for member in members]
    if len(texts) == 1:
        return _one(texts[0], recursive)
    paths = [path for text in texts for path in _expanded(text, recursive)]
    return _counted("", lambda: ((path, None) for path in paths))


def _one(text: str, recursive: bool) -> ImageList:
    path = _absolute(text)
    if is_url(text):
        return _counted("", lambda: [(text, None)])
    if os.path.isdir(path):
        names = _folder(path, recursive)
        return _counted(path, lambda: ((name, None) for name in names))
    if path.lower().endswith(LIST_SUFFIXES):
        return _counted(os.path.dirname(path), lambda: ((line, None) for line in _lines(path)))
    if not os.path.exists(path):
        raise InputError(f"There is no file or folder {path}.")
    return _counted("", lambda: [(path, None)])


def _expanded(text: str, recursive: bool) -> list[str]:
    """Absolute paths of one member of a list. What is called a picture is not looked at."""
    if is_url(text):
        return [text]
    path = _absolute(text)
    if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES:
        return [path]
    if os.path.isdir(path):
        return [os.path.join(path, name) for name in _folder(path, recursive)]
    if path.lower().endswith(LIST_SUFFIXES):
        folder = os.path.dirname(path)
        return [located(folder, line) for line in _lines(path)]
    return [path]


def _absolute(text: str) -> str:
    return os.path.abspath(os.path.expanduser(text))


def _folder(folder: str, recursive: bool) -> list[str]:
    """Images of a folder, relative to it, in the order of their names; hidden ones are left out."""
    found: list[str] = []
    for place, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        inner = "" if place == folder else os.path.relpath(place, folder)
        found += [
            os.path.join(inner, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    if not found:
        advice = "" if recursive else " Subfolders are read with recursive=True."
        raise InputError(f"{folder} must hold images. Got a folder without any.{advice}")
    return sorted(found)


def _unreadable(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _lines(path: str) -> Iterator[str]:
    try:
        with Path(path).open(encoding="utf-8-sig", errors="surrogateescape") as stream:
            yield from (text for line in stream if (text := line.strip()))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _counted(root: str, entries: Callable[[], Iterable[Entry]]) -> ImageList:
    digest = hashlib.sha256(os.fsencode(root))
    count = 0
    for path, image_id in entries():
        digest.update(os.fsencode(f"\0{path}\0{image_id}"))
        count += 1
    if not count:
        raise InputError("The list of images must hold at least one. Got an empty list.")
    return ImageList(root, entries, count, digest.hexdigest())


def _refused(source: object) -> InputError:
    return InputError(
        "Many images are given by path: a folder, a file of paths (.txt), a list of paths, or "
        f"kptk.load_coco(...). Got {type(source).__name__}. For images in memory use "
        "pipe.predict(...)."
    )


# ---- folder: The folder of a run: its manifest, which partitions are done, and files that appear
# whole.
#
# ``manifest.json`` says what is run on which images. A partition is done when ``done/part-N.json`` is
# there and the files it names have the sizes it names; whatever else lies there does not count.


MANIFEST, DONE, ATTEMPTS = "manifest.json", "done", "attempts"


PEOPLE, IMAGES, RESULTS = "people", "images", "results"


_LEFTOVER = re.compile(r"\.[0-9a-f]{12}\.(parquet|jsonl|json)")


@dataclass(frozen=True)
class Done:
    """A finished partition.

    Attributes:
        partition: its number.
        images: how many it has.
        people: found in them.
        errors: images without a result.
        seconds: the work took, without loading the pipeline.
        settings_hash: of the run.
        files: bytes of each file, by its path in the folder.
    """

    partition: int
    images: int
    people: int
    errors: int
    seconds: float
    settings_hash: str
    files: Mapping[str, int]


@dataclass(frozen=True)
class RunFolder:
    """Where a run's files are."""

    path: Path

    def file(self, kind: str, number: int, suffix: str) -> Path:
        """``kind/part-000007.suffix``."""
        return self.path / kind / f"part-{number:06d}.{suffix}"

    def attempt(self, number: int) -> Path:
        """The file that says that a partition is being worked at."""
        return self.file(ATTEMPTS, number, "json")

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            BulkError: it is not there, or of another version of the format.
        """
        try:
            found: dict[str, Any] = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
            schema = found["settings"]["schema"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BulkError(
                f"{self.path} must be a folder written by kptk.predict_dataset. Its {MANIFEST} "
                f"is missing or not readable here ({type(error).__name__}: {error})."
            ) from error
        if schema != SCHEMA:
            raise BulkError(
                f"{self.path} has files of schema {schema}; this kptk reads schema {SCHEMA}."
            )
        return found

    def start(self, settings: Settings, images: ImageList) -> None:
        """Write the manifest, or see that the one there is of the same run.

        Args:
            settings: of this run.
            images: its images.

        Raises:
            BulkError: the folder holds another run, or cannot be written.
        """
        wanted = manifest_of(settings, images)
        if (self.path / MANIFEST).exists():
            differences = "; ".join(_differences(self.manifest, wanted))
            if differences:
                raise BulkError(
                    f"{self.path} holds another run, and two runs in one folder would be mixed up: "
                    f"{differences}. Choose another folder, or delete this one."
                )
            return
        try:
            for kind in (DONE, ATTEMPTS):
                (self.path / kind).mkdir(parents=True, exist_ok=True)
            write_json(self.path / MANIFEST, wanted)
        except OSError as error:
            raise BulkError(f"{self.path} cannot be written: {error.strerror or error}.") from error

    def finished(self, settings_hash: str) -> dict[int, Done]:
        """The finished partitions, by number; damaged ones are not among them."""
        paths = sorted((self.path / DONE).glob("part-*.json"))
        found = [self._read_done(path, settings_hash) for path in paths]
        return {done.partition: done for done in found if done is not None}

    def done(self, number: int, settings_hash: str) -> Done | None:
        """A partition, if it is finished."""
        return self._read_done(self.file(DONE, number, "json"), settings_hash)

    def _read_done(self, path: Path, settings_hash: str) -> Done | None:
        with suppress(OSError, ValueError, TypeError):
            done = Done(**json.loads(path.read_text(encoding="utf-8")))
            sizes = {name: (self.path / name).stat().st_size for name in done.files}
            return done if (sizes, settings_hash) == (done.files, done.settings_hash) else None
        return None

    def finish(self, done: Done) -> None:
        """Say that a partition's files are all there."""
        write_json(self.file(DONE, done.partition, "json"), asdict(done))

    def sweep(self) -> None:
        """Remove what crashes left. Only for when nobody is at work here."""
        for kind in (PEOPLE, IMAGES, RESULTS, DONE, ATTEMPTS):
            for path in (self.path / kind).glob(".*"):
                if _LEFTOVER.fullmatch(path.name):
                    path.unlink(missing_ok=True)


def manifest_of(settings: Settings, images: ImageList) -> dict[str, Any]:
    """What the manifest says."""
    from kptk import __version__

    return {
        "settings_hash": settings.hash,
        "settings": dict(settings.values),
        "images": {"count": images.count, "sha256": images.sha256, "root": plain_text(images.root)},
        "kptk": __version__,
    }


def is_run_folder(path: object) -> bool:
    """Whether a path is a folder that :func:`kptk.predict_dataset` wrote."""
    if not isinstance(path, str | os.PathLike):
        return False
    return (Path(os.fsdecode(path)).expanduser() / MANIFEST).is_file()


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """As ``replacing``, and on the disk before it gets its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())


def write_json(target: Path, value: Any) -> None:
    """Write a JSON file that appears whole."""
    with whole(target) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def plain_text(value: str) -> str:
    """A path as text that every format can hold: bytes that are no Unicode as ``\\udcxx``."""
    return value.encode("utf-8", "backslashreplace").decode()


def _differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    found = []
    for group in ("settings", "images"):
        old, new = there.get(group, {}), wanted[group]
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                found.append(f"{group}.{key} is {old.get(key)!r} there and {new.get(key)!r} now")
    return found


# ---- rows: What is kept of one image: between a result and the files.


Float = NDArray[np.float32]


K = len(COCO17)


@dataclass(frozen=True, eq=False)
class Row:
    """One image of the list.

    Attributes:
        image: its place in the list, from 0.
        image_id: its COCO id; None where the list has none.
        path: as in the list.
        width: pixels; None where it could not be read.
        height: likewise.
        boxes: float32 (N, 4) x1, y1, x2, y2 in pixels, highest score first.
        scores: float32 (N,) detection scores.
        keypoints: float32 (N, 17, 3) x, y in pixels, score; missing points are NaN.
        error: why there is no result; None when all went well.
    """

    image: int
    image_id: int | None
    path: str
    width: int | None
    height: int | None
    boxes: Float
    scores: Float
    keypoints: Float
    error: str | None

    @property
    def result(self) -> PoseResult:
        """The same as a PoseResult without its picture."""
        stem, dot, suffix = self.path.rpartition(".")
        return PoseResult(
            image=None,
            name=stem or self.path,
            path=self.path,
            suffix=f"{dot}{suffix}",
            boxes=self.boxes,
            scores=self.scores,
            keypoints=self.keypoints,
            error=None if self.error is None else InputError(self.error),
        )


def row_of(result: PoseResult, image: int, image_id: int | None, path: str) -> Row:
    """What is kept of a result; the picture is let go."""
    height, width = (None, None) if result.image is None else result.image.shape[:2]
    error = None if result.error is None else plain_text(str(result.error))
    return Row(
        image, image_id, plain_text(path), width, height, result.boxes, result.scores,
        result.keypoints, error,
    )  # fmt: skip


def failed_row(image: int, image_id: int | None, path: str, error: str) -> Row:
    """An image without a result."""
    empty = np.zeros((0, K, 3), np.float32)
    boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    return Row(
        image, image_id, plain_text(path), None, None, boxes, scores, empty, plain_text(error)
    )


# ---- parquet: Rows as Parquet: one table with a row a person, beside it one with a row an image.
#
# ``pandas.read_parquet(folder / "people")`` reads all partitions of a run at once.


_NEEDED = ("dask", "Parquet")


_OF_IMAGE = ("image", "image_id", "path", "width", "height", "error")


def check_parquet() -> None:
    """See that Parquet can be written here.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    require("pyarrow.parquet", *_NEEDED)


def schemas() -> tuple[Any, Any]:
    """The Arrow schemas of people and images."""
    import pyarrow as pa

    people = [
        pa.field("image", pa.int64(), nullable=False),
        pa.field("image_id", pa.int64()),
        pa.field("path", pa.string(), nullable=False),
        pa.field("person", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("box", pa.list_(pa.float32(), 4), nullable=False),
        pa.field("det_score", pa.float32(), nullable=False),
        pa.field("kpt_score", pa.float32(), nullable=False),
        pa.field("keypoints", pa.list_(pa.float32(), 3 * K), nullable=False),
    ]
    images = [
        pa.field("image", pa.int64(), nullable=False),
        pa.field("image_id", pa.int64()),
        pa.field("path", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("people", pa.int32(), nullable=False),
        pa.field("error", pa.string()),
    ]
    return pa.schema(people), pa.schema(images)


def write_rows(
    folder: RunFolder, number: int, rows: Sequence[Row], settings_hash: str
) -> list[Path]:
    """Write a partition; the files replace what is there."""
    tables = zip(schemas(), (_people(rows), _images(rows)), (PEOPLE, IMAGES), strict=True)
    marks = {"kptk.schema": str(SCHEMA), "kptk.settings_hash": settings_hash}
    return [
        _write(folder.file(kind, number, "parquet"), schema.with_metadata(marks), columns)
        for schema, columns, kind in tables
    ]


def _write(target: Path, schema: Any, columns: dict[str, Any]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [_column(columns[field.name], field.type) for field in schema]
    with whole(target) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), temporary, compression="zstd")
    return target


def _column(values: Any, kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    return pa.array(values, type=kind)


def _people(rows: Sequence[Row]) -> dict[str, Any]:
    counts = [len(row.boxes) for row in rows]
    per_person = [row for row, n in zip(rows, counts, strict=True) for _ in range(n)]
    points = np.concatenate([row.keypoints for row in rows])
    return {
        **{name: [getattr(row, name) for row in per_person] for name in
           ("image", "image_id", "path", "width", "height")},
        "person": [i for n in counts for i in range(n)],
        "box": np.concatenate([row.boxes for row in rows]),
        "det_score": np.concatenate([row.scores for row in rows]),
        "kpt_score": np.concatenate([row.result.kpt_scores for row in rows]),
        "keypoints": points.reshape(len(points), 3 * K),
    }  # fmt: skip


def _images(rows: Sequence[Row]) -> dict[str, Any]:
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in _OF_IMAGE}
    return {**columns, "people": [len(row.boxes) for row in rows]}


def read_rows(folder: RunFolder, number: int) -> list[Row]:
    """Read a partition."""
    images = _read(folder.file(IMAGES, number, "parquet")).to_pylist()
    people = _read(folder.file(PEOPLE, number, "parquet"))
    ends = np.cumsum([image["people"] for image in images])[:-1]
    boxes = np.split(_flat(people, "box").reshape(-1, 4), ends)
    scores = np.split(_flat(people, "det_score"), ends)
    points = np.split(_flat(people, "keypoints").reshape(-1, K, 3), ends)
    return [
        Row(**{name: image[name] for name in _OF_IMAGE}, boxes=b, scores=s, keypoints=k)
        for image, b, s, k in zip(images, boxes, scores, points, strict=True)
    ]


def _read(path: Path) -> Any:
    require("pyarrow.parquet", *_NEEDED)
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read()


def _flat(table: Any, name: str) -> Any:
    import pyarrow as pa

    column = table.column(name)
    chunks = [chunk.flatten() if pa.types.is_fixed_size_list(column.type) else chunk
              for chunk in column.chunks]  # fmt: skip
    arrays = [np.asarray(chunk, np.float32) for chunk in chunks]
    return np.concatenate(arrays) if arrays else np.zeros(0, np.float32)


# ---- jsonl: Rows as JSON lines: an image a line, in PaddleX's keys with a few more.


def write_rows_jsonl(folder: RunFolder, number: int, rows: Sequence[Row]) -> list[Path]:
    """Write a partition; the file replaces what is there."""
    target = folder.file(RESULTS, number, "jsonl")
    with whole(target) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for row in rows:
            record = {
                **row.result.json,
                **{name: getattr(row, name) for name in ("image", "image_id", "width", "height")},
            }
            stream.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
    return [target]


def read_rows_jsonl(folder: RunFolder, number: int) -> list[Row]:
    """Read a partition."""
    with folder.file(RESULTS, number, "jsonl").open(encoding="utf-8") as stream:
        return [_row(json.loads(line)) for line in stream]


def _row(record: Mapping[str, Any]) -> Row:
    people = record["boxes"]
    return Row(
        image=record["image"],
        image_id=record["image_id"],
        path=record["input_path"],
        width=record["width"],
        height=record["height"],
        boxes=_array([person["coordinate"] for person in people], -1, 4),
        scores=_array([person["det_score"] for person in people], -1),
        keypoints=_array([person["keypoints"] for person in people], -1, K, 3),
        error=record.get("error"),
    )


def _array(values: Sequence[Any], *shape: int) -> Float:
    """None, JSON's word for a missing number, becomes NaN."""
    return np.array(values, np.float32).reshape(shape)


# ---- image_ids: Which image of the annotations a stored path is, by file name.


def match_images(
    paths: Iterable[str], images: Sequence[Mapping[str, Any]], name: str
) -> dict[str, int]:
    """Find the images of annotations among stored paths.

    The same path is the same image. Otherwise the shorter of path and ``file_name`` must be the end
    of the longer one, folders included.

    Args:
        paths: of the stored predictions.
        images: records with ``id`` and ``file_name``.
        name: how the annotations are called in errors.

    Returns:
        COCO id by path; stored images that are not annotated are left out.

    Raises:
        DataError: an annotated image is not among the paths, or it cannot be told which it is.
    """
    by_last: dict[str, list[str]] = {}
    for path in paths:
        by_last.setdefault(_parts(path)[-1], []).append(path)
    found: dict[str, int] = {}
    missing = []
    for image in images:
        fitting = _fitting(str(image["file_name"]), by_last)
        if len(fitting) > 1:
            raise DataError(
                f"{image['file_name']} of {name} may be any of {len(fitting)} stored images: "
                f"{', '.join(sorted(fitting)[:3])}. Predict with kptk.load_coco(...) as the source."
            )
        if not fitting:
            missing.append(int(image["id"]))
        elif fitting[0] in found:
            raise DataError(
                f"Images {found[fitting[0]]} and {image['id']} of {name} are both {fitting[0]}."
            )
        else:
            found[fitting[0]] = int(image["id"])
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(images)} images of {name} are not among the stored "
            f"predictions (ids {first_ids(missing)}). Predict them too, or evaluate on "
            "kptk.load_coco(...).subset(ids)."
        )
    return found


def _fitting(file_name: str, by_last: Mapping[str, list[str]]) -> list[str]:
    wanted = _parts(file_name)
    candidates = by_last.get(wanted[-1], [])
    same = [path for path in candidates if _parts(path) == wanted]
    return same or [path for path in candidates if _is_end(_parts(path), wanted)]


def _parts(path: str) -> tuple[str, ...]:
    return PurePath(path.replace("\\", "/")).parts or ("",)


def _is_end(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """Whether the shorter is the end of the longer."""
    n = min(len(a), len(b))
    return a[-n:] == b[-n:]


# ---- stored: `kptk.read_predictions`: what a run has stored, as rows, results, tables and COCO
# records.


Path_ = str | os.PathLike[str]


Annotations = Path_ | Mapping[str, Any] | KeypointData


@dataclass(frozen=True, eq=False, repr=False)
class StoredPredictions:
    """The results in a folder of :func:`kptk.predict_dataset`; read when they are asked for.

    Attributes:
        folder: where they are.
        manifest: what was run on which images.
        partitions: the finished partitions, in order.
    """

    folder: Path
    manifest: Mapping[str, Any]
    partitions: Sequence[Done]

    def __len__(self) -> int:
        """The number of images that are done."""
        return sum(done.images for done in self.partitions)

    def __repr__(self) -> str:
        people = sum(done.people for done in self.partitions)
        total = self.manifest["images"]["count"]
        parts = [f"{len(self):,} images", f"{people:,} people", f"{self.n_errors:,} failed"]
        if not self.complete:
            parts.append(f"{total - len(self):,} images not done yet")
        return f"StoredPredictions({self.folder.name}: {', '.join(parts)})"

    @property
    def complete(self) -> bool:
        """Whether every image of the list is done, with a result or an error."""
        return len(self) == int(self.manifest["images"]["count"])

    @property
    def n_errors(self) -> int:
        """The number of images without a result."""
        return sum(done.errors for done in self.partitions)

    def rows(self) -> Iterator[Row]:
        """Image by image, in the list's order; one partition is in memory.

        Raises:
            MissingDependencyError: the folder holds Parquet, and pyarrow is not installed.
        """

        parquet = self.manifest["settings"]["format"] == "parquet"
        read = read_rows if parquet else read_rows_jsonl
        for done in self.partitions:
            yield from read(RunFolder(self.folder), done.partition)

    def results(self) -> Iterator[PoseResult]:
        """The same as PoseResults without pictures."""
        return (row.result for row in self.rows())

    def errors(self) -> dict[str, str]:
        """Why there is no result, by path."""
        return {row.path: row.error for row in self.rows() if row.error is not None}

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row an image: ``image, image_id, path, width, height, people, error``."""
        import pandas as pd

        records = [
            (row.image, row.image_id, row.path, row.width, row.height, len(row.boxes), row.error)
            for row in self.rows()
        ]
        columns = ["image", "image_id", "path", "width", "height", "people", "error"]
        table = pd.DataFrame(records, columns=columns)
        whole_numbers = dict.fromkeys(("image_id", "width", "height"), "Int64")
        return table.astype(whole_numbers)

    @cached_property
    def people(self) -> pd.DataFrame:
        """One row a person: ``path``, then the columns of ``PoseResult.to_pandas``.

        ``image`` is the place in the list. All of it is in memory; for more people than fit,
        read the Parquet files with what is made for it.
        """
        rows = [row for row in self.rows() if len(row.boxes)] or [failed_row(0, None, "", "")]
        everybody = replace(
            rows[0],
            boxes=np.concatenate([row.boxes for row in rows]),
            scores=np.concatenate([row.scores for row in rows]),
            keypoints=np.concatenate([row.keypoints for row in rows]),
        )
        counts = [len(row.boxes) for row in rows]
        table = everybody.result.to_pandas()
        table["image"] = np.repeat([row.image for row in rows], counts)
        table["person"] = np.concatenate([np.arange(count) for count in counts])
        paths = [row.path for row, count in zip(rows, counts, strict=True) for _ in range(count)]
        table.insert(0, "path", paths)
        return table

    def image_ids(self, annotations: Annotations | None = None) -> dict[str, int]:
        """COCO id by path.

        Args:
            annotations: where ids are looked up by file name; None: those of the run's own data.

        Raises:
            DataError: annotated images are not among the results, or the run had no ids.
            BulkError: the run is not finished.
        """
        if not self.complete:
            raise BulkError(
                f"{self!r} is not finished, so people would seem to be missed. Run the same "
                "command again to finish it."
            )
        if annotations is not None:
            from kptk.evaluation.ground_truth import read_truth

            truth = read_truth(annotations, "bbox", None)
            paths = (row.path for row in self.rows())
            return match_images(paths, truth.content["images"], truth.name)
        ids = {row.path: row.image_id for row in self.rows()}
        found = {path: number for path, number in ids.items() if number is not None}
        if len(found) < len(ids):
            raise DataError(
                "These images have no COCO ids, since they were given as paths. Pass "
                "annotations=, whose file names tell them."
            )
        return found

    def candidates(self, annotations: Annotations | None = None) -> Iterator[dict[str, Any]]:
        """COCO records, one a person, with all that score modes need.

        Args:
            annotations: see :meth:`image_ids`.

        Returns:
            An iterator of ``image_id``, ``category_id``, ``keypoints`` (x, y, score; missing is
            0, 0, 0), ``score`` of the box, ``bbox`` (x, y, width, height) and ``crop_area``.
        """
        from kptk.evaluation.predictions import MAX_CANDIDATES
        from kptk.pipeline.pose import crop_boxes

        ids = self.image_ids(annotations)
        size = self.input_size
        for row in self.rows():
            if row.path not in ids:
                continue
            records = row.result.to_coco(ids[row.path], score="deploy", with_boxes=True)
            _, crops = crop_boxes(row.boxes, size)
            for record, crop in zip(records[:MAX_CANDIDATES], crops, strict=False):
                yield {**record, "crop_area": float(crop.prod())}

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the pose model's input; PP-TinyPose's larger one if unknown."""
        models = self.manifest["settings"].get("models")
        height, width = models["pose"]["input_size"] if models else (256, 192)
        return int(height), int(width)

    @property
    def det_threshold(self) -> float | None:
        """Lowest score of a stored person; None: a function made the pipeline, and it knows."""
        value: float | None = self.manifest["settings"]["det_threshold"]
        return value

    def to_coco(self, annotations: Annotations | None = None) -> list[dict[str, Any]]:
        """COCO keypoint results with boxes; ``score`` is the box's.

        Args:
            annotations: see :meth:`image_ids`.

        Returns:
            Records for ``evaluate(predictions=...)`` and ``analyze(predictions=...)``.
        """
        return list(self._coco(annotations))

    def _coco(self, annotations: Annotations | None) -> Iterator[dict[str, Any]]:
        for record in self.candidates(annotations):
            del record["crop_area"]
            yield record

    def save_coco(self, path: Path_, annotations: Annotations | None = None) -> Path:
        """Write :meth:`to_coco` to a file, record by record.

        Raises:
            InputError: it cannot be written.
            DataError: see :meth:`image_ids`.
        """
        target = Path(path).expanduser()
        try:
            with whole(target) as temporary, temporary.open("w", encoding="utf-8") as stream:
                stream.write("[")
                for place, record in enumerate(self._coco(annotations)):
                    stream.write((",\n" if place else "\n") + json.dumps(record, allow_nan=False))
                stream.write("\n]\n")
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror or error}.") from error
        return target


def read_predictions(folder: Path_) -> StoredPredictions:
    """Read what :func:`kptk.predict_dataset` has stored, finished or not.

    Args:
        folder: its ``save_path``.

    Raises:
        BulkError: it is no such folder.
    """
    place = RunFolder(Path(os.path.abspath(Path(folder).expanduser())))
    manifest = place.manifest
    done = place.finished(manifest["settings_hash"])
    return StoredPredictions(place.path, manifest, [done[number] for number in sorted(done)])


# ---- attempts: Who killed the process: a note beside the results that outlives it.
#
# A partition that is begun leaves a file, and takes it away when it ends in any way but the death of
# its process. Whoever begins it again after a death goes image by image and writes down which one it
# is at, so that an image that kills the process twice is known, and left out the third time.


MAX_DEATHS = 2


class Attempt:
    """One go at a partition.

    Attributes:
        careful: an earlier one ended in the death of its process.
    """

    def __init__(self, path: Path) -> None:
        before = _read_attempts(path)
        self._path = path
        self._deaths = {} if before is None else before[1]
        self.careful = before is not None
        if before is not None and before[0] is not None:
            self._deaths[before[0]] = self._deaths.get(before[0], 0) + 1
        self.at(None)

    def is_deadly(self, image: int) -> bool:
        """Whether this image has been worked at in too many deaths."""
        return self._deaths.get(image, 0) >= MAX_DEATHS

    def at(self, image: int | None) -> None:
        """Write down which image comes next."""
        deaths = {str(key): count for key, count in self._deaths.items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._path) as temporary:
            temporary.write_text(json.dumps({"at": image, "deaths": deaths}), encoding="utf-8")


@contextmanager
def attempt(path: Path) -> Iterator[Attempt]:
    """Begin a partition; the note goes when the block is left, whichever way."""
    current = Attempt(path)
    try:
        yield current
    finally:
        path.unlink(missing_ok=True)


def _read_attempts(path: Path) -> tuple[int | None, dict[int, int]] | None:
    """Where the last attempt was and the deaths so far; None if there was none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        note = json.loads(text)
        return note["at"], {int(key): int(count) for key, count in note["deaths"].items()}
    return None, {}


# ---- work: The work on one partition: the same in this process and on a worker of a cluster.


@dataclass(frozen=True)
class Job:
    """A run as its workers know it; two are equal if folder and settings are.

    Attributes:
        folder: where results go; absolute, the same place for all.
        settings_hash: of the run.
        recipe: how a process makes its pipeline.
        models: what the models must be, see :func:`kptk.bulk.models_of`; None: unknown.
        root: where relative paths start.
        format: ``"parquet"`` or ``"jsonl"``.
        version: kptk's, of who started the run.
    """

    folder: str
    settings_hash: str
    recipe: Recipe = field(compare=False)
    models: Any = field(compare=False)
    root: str = field(compare=False)
    format: str = field(compare=False)
    version: str = field(compare=False)


class Site:
    """One process at work on a job: its pipeline is made when it is first needed, and kept.

    Args:
        job: the job.
        pipe: a pipeline that is there already.
    """

    def __init__(self, job: Job, pipe: Predictor | None = None) -> None:
        self.job = job
        self.folder = RunFolder(Path(job.folder))
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
        with self._turn:
            pipe = self._ready()
            there = self.folder.done(partition.number, self.job.settings_hash)
            if there is not None:
                return there
            began = time.perf_counter()
            with attempt(self.folder.attempt(partition.number)) as current:
                rows = self._rows(pipe, partition, current)
                return self._write(partition.number, rows, time.perf_counter() - began)

    def _ready(self) -> Predictor:
        if self._pipe is None:
            self._check_place()
            pipe = self.job.recipe.make()
            self._check_models(pipe)
            self._pipe = pipe
        return self._pipe

    def _check_place(self) -> None:
        from kptk import __version__

        if __version__ != self.job.version:
            raise BulkError(
                f"{_host()} has kptk {__version__}; the run was started with {self.job.version}. "
                "Install the same version everywhere."
            )
        try:
            there = self.folder.manifest["settings_hash"]
        except BulkError as error:
            raise BulkError(
                f"{_host()} must see the folder of results under the same path as the machine that "
                f"started the run: a shared file system is needed. {error}"
            ) from error
        if there != self.job.settings_hash:
            raise BulkError(f"On {_host()}, {self.job.folder} is the folder of another run.")

    def _check_models(self, pipe: Any) -> None:
        if self.job.models is None:
            return
        here = describe_pipeline(pipe, self.job.recipe)["models"]
        for stage, wanted in self.job.models.items():
            if here[stage] != wanted:
                raise BulkError(
                    f"The {stage} on {_host()}, {here[stage]['name']}, is not the one on the "
                    "machine that started the run: weights, preprocessing or input size differ. "
                    "Copy the same model directory to both."
                )

    def _rows(self, pipe: Predictor, partition: Partition, current: Attempt) -> list[Row]:
        if not current.careful:
            try:
                return self._at_once(pipe, partition)
            except KptkError:
                raise
            except Exception:  # of one image, perhaps: which one shows below
                pass
        return self._one_by_one(pipe, partition, current)

    def _at_once(self, pipe: Predictor, partition: Partition) -> list[Row]:
        rows = self._numbered(partition)
        refused = {i: why for i, _, path in rows if (why := self._no_image(path))}
        files = [(i, key, path) for i, key, path in rows if i not in refused]
        found = {
            image: row_of(result, image, image_id, path)
            for (image, image_id, path), result in zip(
                files, self._results(pipe, [path for _, _, path in files]), strict=True
            )
        }
        return [found.get(i) or failed_row(i, key, path, refused[i]) for i, key, path in rows]

    def _one_by_one(self, pipe: Predictor, partition: Partition, current: Attempt) -> list[Row]:
        rows, strange = [], []
        for image, image_id, path in self._numbered(partition):
            refused = _DEADLY if current.is_deadly(image) else self._no_image(path)
            if refused:
                rows.append(failed_row(image, image_id, path, refused))
                continue
            current.at(image)
            try:
                [result] = self._results(pipe, [path])
                rows.append(row_of(result, image, image_id, path))
            except Exception as error:  # whatever it is, it costs this image and no other
                strange.append(error)
                rows.append(failed_row(image, image_id, path, f"{type(error).__name__}: {error}"))
        if len(strange) == len(rows) > 1:
            raise strange[0]  # not the images are at fault but this process
        return rows

    def _numbered(self, partition: Partition) -> list[tuple[int, int | None, str]]:
        """(place in the list, COCO id, path) of each image."""
        pairs = enumerate(zip(partition.image_ids, partition.paths, strict=True), partition.first)
        return [(image, image_id, path) for image, (image_id, path) in pairs]

    def _no_image(self, path: str) -> str | None:
        """Why a path can give no single result; None: it may."""
        place = located(self.job.root, path)
        if not is_url(path) and os.path.isdir(place):
            return _FOLDER
        return _FILM if is_video(place) else None

    def _results(self, pipe: Predictor, paths: Sequence[str]) -> Iterator[PoseResult]:
        if not paths:
            return
        recipe = self.job.recipe
        for result in pipe.predict(
            [located(self.job.root, path) for path in paths],
            det_threshold=recipe.det_threshold, channel_order=recipe.channel_order,
        ):  # fmt: skip
            if result.keypoints.shape[1] != K:
                raise BulkError(
                    f"Results must have {K} joints. Got {result.keypoints.shape[1]}: a pipeline "
                    "with a detector and a keypoint model is needed."
                )
            yield result

    def _write(self, number: int, rows: Sequence[Row], seconds: float) -> Done:

        if self.job.format == "parquet":
            files = write_rows(self.folder, number, rows, self.job.settings_hash)
        else:
            files = write_rows_jsonl(self.folder, number, rows)
        done = Done(
            partition=number,
            images=len(rows),
            people=sum(len(row.boxes) for row in rows),
            errors=sum(row.error is not None for row in rows),
            seconds=round(seconds, 3),
            settings_hash=self.job.settings_hash,
            files={p.relative_to(self.folder.path).as_posix(): p.stat().st_size for p in files},
        )
        self.folder.finish(done)
        return done


_FOLDER = "This is a folder; the list must name images."


_FILM = "This is a film; the list must name images."


_DEADLY = (
    f"The process died {MAX_DEATHS} times while it was at this image (it crashed, or was killed "
    "for its memory), so the image was left out."
)


@lru_cache(maxsize=1)
def site_of(job: Job) -> Site:
    """This process's site for a job; a new job lets the old one's pipeline go."""
    return Site(job)


def run_partition(job: Job, partition: Partition) -> Done:
    """What a worker is sent. A pipeline has the threads that Dask gives its worker."""
    if job.recipe.threads is None:
        from distributed import get_worker

        job = replace(job, recipe=replace(job.recipe, threads=get_worker().state.nthreads))
    return site_of(job).run(partition)


def _host() -> str:
    import platform

    return f"Worker {platform.node()}"


# ---- cluster: Partitions over a dask.distributed cluster, with a bounded number on their way.


_AHEAD = 2  # partitions to a thread of the cluster: one at work, one waiting


_RETRIES = 2  # after errors, on any worker


_ROUNDS = 3  # of as many deaths as Dask allows a task


@dataclass(frozen=True)
class Lost:
    """A partition that could not be done, and why."""

    partition: int
    reason: str


@contextmanager
def connected(client: Client | str, timeout: float) -> Iterator[Any]:
    """A client, made of an address and closed again, or the one given.

    Raises:
        BulkError: there is no scheduler, or no worker within ``timeout`` seconds.
    """
    distributed = require("distributed", "dask", "Work on many machines")
    if not isinstance(client, str):
        _await_workers(client, timeout)
        yield client
        return
    try:
        made = distributed.Client(client, timeout=timeout)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise BulkError(
            f"There is no Dask scheduler at {client!r} ({error}). Start one with: dask scheduler; "
            "it prints its address, tcp://HOST:PORT."
        ) from error
    with made:
        _await_workers(made, timeout)
        yield made


def _await_workers(client: Any, timeout: float) -> None:
    try:
        client.wait_for_workers(1, timeout=timeout)
    except OSError as error:
        address = client.scheduler.address
        raise BulkError(
            f"The scheduler at {address} has no workers. Start some, with kptk installed: "
            f"dask worker {address} --nthreads 1"
        ) from error


def run_on_cluster(client: Any, job: Job, partitions: Iterable[Partition]) -> Iterator[Done | Lost]:
    """Do partitions on the workers, in whatever order they end.

    Raises:
        KptkError: a worker cannot do this job at all.
        BulkError: the scheduler has gone.
    """
    from distributed import as_completed

    run = uuid.uuid4().hex[:8]  # another run with these settings may be on the same cluster
    running: dict[str, tuple[Partition, int]] = {}
    ended = as_completed()

    def submit(partition: Partition, round_: int) -> None:
        key = f"kptk-{run}-{partition.number}-{round_}"
        running[key] = partition, round_
        ended.add(
            client.submit(run_partition, job, partition, key=key, pure=False, retries=_RETRIES)
        )

    def settle(future: Any) -> Iterator[Done | Lost]:
        partition, round_ = running.pop(future.key)
        outcome = _outcome(future, partition.number)
        if outcome is None and round_ < _ROUNDS:
            submit(partition, round_ + 1)
        else:
            yield outcome or Lost(partition.number, _KILLED)

    for partition in partitions:
        while len(running) >= _room(client):
            yield from settle(next(ended))
        submit(partition, 1)
    while running:
        yield from settle(next(ended))
    client.run(site_of.cache_clear, on_error="ignore")


_KILLED = "the worker processes that were at it died again and again; their logs say more"


def _room(client: Any) -> int:
    """How many partitions may be on their way, by the threads that there are now."""
    threads: int = sum(client.nthreads().values())
    return max(2, _AHEAD * threads)


def _outcome(future: Any, number: int) -> Done | Lost | None:
    """What came of a partition; None: its workers died."""
    from distributed.scheduler import KilledWorker

    if future.status in ("cancelled", "lost"):
        raise BulkError(
            "The scheduler dropped the work: it was closed, or started anew. What is finished is "
            "in the folder; the same command goes on from there."
        )
    error = future.exception()
    if error is None:
        done: Done = future.result()
        return done
    if isinstance(error, KilledWorker):
        return None
    if isinstance(error, KptkError):
        raise error
    return Lost(number, f"{type(error).__name__}: {error}")


# ---- run: `kptk.predict_dataset`: a pipeline over many images, here or on a cluster, again and
# again.


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

    from kptk.files import show_progress

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
