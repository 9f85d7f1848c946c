"""What `kptk.predict_dataset` has stored: the folder of a run, its files, and reading them back.

``manifest.json`` says what is run on which images. A partition is done when ``done/part-N.json`` is
there and the files it names have the sizes it names; whatever else lies there does not count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from kptk.coco import KeypointData
from kptk.coco.load import read_document
from kptk.coco.rules import first_ids, title_of
from kptk.errors import BulkError, DataError, InputError, require
from kptk.files import replacing, writing
from kptk.instances import Instances
from kptk.pipeline.pose import crop_boxes
from kptk.pipeline.results import PoseResult
from kptk.skeleton import COCO17

if TYPE_CHECKING:
    import pandas as pd

Path_ = str | os.PathLike[str]
Annotations = Path_ | Mapping[str, Any] | KeypointData
Record = dict[str, Any]  # of an image: the columns of the table `images`
Row = tuple[Record, PoseResult]  # an image of the list, and its people without the pixels

SCHEMA = 1  # of the folder and its files: another number, another meaning
MANIFEST = "manifest.json"
MAX_CANDIDATES = 100  # an image; COCO counts no more boxes than that
K = len(COCO17)

# The tables: Arrow's type of each column; ? is one that may be null. See docs/many_machines.md.
PEOPLE = {
    "image": "int64", "image_id": "int64?", "path": "string", "person": "int32", "width": "int32",
    "height": "int32", "box": "float[4]", "det_score": "float", "kpt_score": "float",
    "keypoints": f"float[{3 * K}]",
}  # fmt: skip
IMAGES = {
    "image": "int64", "image_id": "int64?", "path": "string", "width": "int32?",
    "height": "int32?", "people": "int32", "error": "string?",
}  # fmt: skip


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


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """As ``replacing``, and on the disk before it gets its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())


def write_whole(target: Path, value: Any) -> None:
    """Write a JSON file of the run."""
    with whole(target) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class RunFolder:
    """Where a run's files are."""

    path: Path

    def file(self, kind: str, number: int, suffix: str = "json") -> Path:
        """``kind/part-000007.suffix``."""
        return self.path / kind / f"part-{number:06d}.{suffix}"

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

    def done(self, number: int, settings_hash: str) -> Done | None:
        """A partition, if it is finished and its files are as it left them."""
        with suppress(OSError, ValueError, TypeError):
            done = Done(**json.loads(self.file("done", number).read_text(encoding="utf-8")))
            sizes = {name: (self.path / name).stat().st_size for name in done.files}
            return done if (sizes, settings_hash) == (done.files, done.settings_hash) else None
        return None

    def finished(self, settings_hash: str) -> list[Done]:
        """The finished partitions, in order; damaged ones are not among them."""
        numbers = sorted(int(p.stem[5:]) for p in (self.path / "done").glob("part-*.json"))
        found = (self.done(number, settings_hash) for number in numbers)
        return [done for done in found if done is not None]

    def write(
        self, number: int, rows: Sequence[Row], *, form: str, settings_hash: str, seconds: float
    ) -> Done:
        """Write a partition, then that it is finished; files that are there are replaced."""
        records, results = zip(*rows, strict=True)
        if form == "parquet":
            tables = {"people": _people_table(rows), "images": list(records)}
            files = [self.file(kind, number, form) for kind in tables]
            marks = {"kptk.schema": str(SCHEMA), "kptk.settings_hash": settings_hash}
            for file, schema, table in zip(files, (PEOPLE, IMAGES), tables.values(), strict=True):
                _write_parquet(file, schema, table, marks)
        else:
            files = [self.file("results", number, form)]
            with whole(files[0]) as temporary, temporary.open("w", encoding="utf-8") as stream:
                for record, result in rows:
                    extra = {n: record[n] for n in ("image", "image_id", "width", "height")}
                    line = json.dumps({**result.json, **extra}, ensure_ascii=False, allow_nan=False)
                    stream.write(line + "\n")
        done = Done(
            partition=number,
            images=len(rows),
            people=sum(map(len, results)),
            errors=sum(record["error"] is not None for record in records),
            seconds=round(seconds, 3),
            settings_hash=settings_hash,
            files={f.relative_to(self.path).as_posix(): f.stat().st_size for f in files},
        )
        write_whole(self.file("done", number), asdict(done))
        return done

    def read(self, number: int, form: str) -> tuple[list[Record], Instances]:
        """The images of a partition, and their people, whose ``image_ids`` are ``image``."""
        if form == "parquet":
            check_parquet()
            import pyarrow.compute as pc
            import pyarrow.parquet as pq

            images, people = (
                pq.ParquetFile(self.file(kind, number, form)).read()
                for kind in ("images", "people")
            )
            records = images.to_pylist()
            columns = [
                pc.list_flatten(people["box"]), people["det_score"],
                pc.list_flatten(people["keypoints"]),
            ]  # fmt: skip
            arrays = [column.to_numpy() for column in columns]
        else:
            records = []
            keys = ("coordinate", "det_score", "keypoints")  # in which null is NaN
            lists: list[list[Any]] = [[np.zeros(0)] for _ in keys]
            with self.file("results", number, form).open(encoding="utf-8") as stream:
                for line in map(json.loads, stream):
                    people = line["boxes"]
                    own = {name: line[name] for name in IMAGES if name in line}
                    path = line["input_path"]
                    records.append({"path": path, "people": len(people), "error": None, **own})
                    for arrays_of_key, key in zip(lists, keys, strict=True):
                        values = np.array([person[key] for person in people], np.float64)
                        arrays_of_key.append(values.ravel())
            arrays = [np.concatenate(each) for each in lists]
        boxes, scores, keypoints = (array.astype(np.float64) for array in arrays)
        counts = [record["people"] for record in records]
        return records, Instances(
            image_ids=np.repeat(np.array([r["image"] for r in records], np.int64), counts),
            boxes=boxes.reshape(-1, 4),
            scores=scores,
            keypoints=keypoints.reshape(-1, K, 3),
            areas=np.full(len(scores), np.nan),
            ids=np.full(len(scores), -1),
            crowd=np.zeros(len(scores), np.bool_),
        )


def check_parquet() -> None:
    """See that Parquet can be written and read here.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    require("pyarrow.parquet", "dask", "Parquet")


def _people_table(rows: Sequence[Row]) -> list[Record]:
    return [
        {**record, "person": person, "box": box, "det_score": det_score, "kpt_score": kpt_score,
         "keypoints": keypoints.ravel()}
        for record, result in rows
        for person, (box, det_score, kpt_score, keypoints) in enumerate(
            zip(result.boxes, result.scores, result.kpt_scores, result.keypoints, strict=True)
        )
    ]  # fmt: skip


def _write_parquet(
    target: Path, columns: Mapping[str, str], table: Sequence[Record], marks: Mapping[str, str]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields, arrays = [], []
    for name, text in columns.items():
        kind, _, length = text.rstrip("?]").partition("[")
        dtype = pa.type_for_alias(kind)
        dtype = pa.list_(dtype, int(length)) if length else dtype
        fields.append(pa.field(name, dtype, nullable=text.endswith("?")))
        arrays.append(pa.array([record[name] for record in table], dtype))
    schema = pa.schema(fields, metadata=marks)
    with whole(target) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), temporary, compression="zstd")


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

    def reversed_parts(path: str) -> tuple[str, ...]:
        return PurePath(path.replace("\\", "/")).parts[::-1] or ("",)

    by_last: dict[str, dict[str, tuple[str, ...]]] = {}
    for path in paths:
        parts = reversed_parts(path)
        by_last.setdefault(parts[0], {})[path] = parts
    found: dict[str, int] = {}
    missing = []
    for image in images:
        wanted = reversed_parts(str(image["file_name"]))
        candidates = by_last.get(wanted[0], {})
        fitting = [path for path, parts in candidates.items() if parts == wanted] or [
            path
            for path, parts in candidates.items()
            if all(a == b for a, b in zip(parts, wanted, strict=False))
        ]
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


def _result(people: Instances, path: str = "", error: str | None = None) -> PoseResult:
    stem, dot, suffix = path.rpartition(".")
    return PoseResult(
        image=None,
        name=stem or path,
        path=path,
        suffix=f"{dot}{suffix}",
        boxes=people.boxes.astype(np.float32),
        scores=people.scores.astype(np.float32),
        keypoints=people.keypoints.astype(np.float32),
        error=None if error is None else InputError(error),
    )


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

    def _parts(self) -> Iterator[tuple[list[Record], Instances]]:
        folder, form = RunFolder(self.folder), self.manifest["settings"]["format"]
        return (folder.read(done.partition, form) for done in self.partitions)

    def rows(self) -> Iterator[Row]:
        """Each image's record (see :attr:`images`) and result; one partition is in memory.

        Raises:
            MissingDependencyError: the folder holds Parquet, and pyarrow is not installed.
        """
        for records, people in self._parts():
            end = 0
            for record in records:
                start, end = end, end + record["people"]
                yield record, _result(people[start:end], record["path"], record["error"])

    def results(self) -> Iterator[PoseResult]:
        """Image by image, in the list's order, without pixels."""
        return (result for _, result in self.rows())

    def _records(self) -> Iterator[Record]:
        return (record for records, _ in self._parts() for record in records)

    def errors(self) -> dict[str, str]:
        """Why there is no result, by path."""
        return {r["path"]: r["error"] for r in self._records() if r["error"] is not None}

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row an image: ``image, image_id, path, width, height, people, error``."""
        import pandas as pd

        table = pd.DataFrame(self._records(), columns=list(IMAGES))
        return table.astype(dict.fromkeys(("image_id", "width", "height"), "Int64"))

    @cached_property
    def people(self) -> pd.DataFrame:
        """One row a person: ``path``, then the columns of ``PoseResult.to_pandas``.

        ``image`` is the index in the list. All of it is in memory; for more people than fit,
        read the Parquet files with what is made for it.
        """
        parts = list(self._parts())
        people = Instances.concatenate((people for _, people in parts), K)
        table = _result(people).to_pandas()
        table["image"] = people.image_ids
        table["person"] = table.groupby("image").cumcount()
        paths = {record["image"]: record["path"] for records, _ in parts for record in records}
        table.insert(0, "path", table["image"].map(paths))
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
        ids = {record["path"]: record["image_id"] for record in self._records()}
        if annotations is not None:
            return match_images(ids, *_annotated(annotations))
        if None in ids.values():
            raise DataError(
                "These images have no COCO ids, since they were given as paths. Pass "
                "annotations=, whose file names tell them."
            )
        return ids

    def candidates(self, annotations: Annotations | None = None) -> Instances:
        """The people with all that score modes need, at most 100 an image.

        Args:
            annotations: see :meth:`image_ids`.

        Returns:
            People whose ``image_ids`` are COCO's, whose ``scores`` are the boxes', and whose
            ``areas`` are those of the crops that the pose model saw.
        """
        return Instances.concatenate(self._candidates(annotations), K)

    def _candidates(self, annotations: Annotations | None) -> Iterator[Instances]:
        """Partition by partition, so that a file can be written of more than memory holds."""
        ids = self.image_ids(annotations)
        for records, people in self._parts():
            counts = np.array([record["people"] for record in records])
            known = np.repeat([record["path"] in ids for record in records], counts)
            image_ids = np.repeat([ids.get(record["path"], -1) for record in records], counts)
            ranks = np.arange(len(people)) - np.repeat(np.cumsum(counts) - counts, counts)
            areas = crop_boxes(people.boxes.astype(np.float32), self.input_size)[1].prod(axis=1)
            found = replace(people, image_ids=image_ids, areas=areas)
            yield found[known & (ranks < MAX_CANDIDATES)]

    def to_coco(self, annotations: Annotations | None = None) -> list[Record]:
        """COCO keypoint results with boxes; ``score`` is the box's.

        Args:
            annotations: see :meth:`image_ids`.

        Returns:
            Records for ``evaluate(predictions=...)`` and ``analyze(predictions=...)``.
        """
        return list(self._results(annotations))

    def _results(self, annotations: Annotations | None) -> Iterator[Record]:
        for part in self._candidates(annotations):
            yield from part.to_results(keys=("bbox", "keypoints"))

    def save_coco(self, path: Path_, annotations: Annotations | None = None) -> Path:
        """Write :meth:`to_coco` to a file, record by record.

        Raises:
            InputError: it cannot be written.
            DataError: see :meth:`image_ids`.
        """
        target = Path(path).expanduser()
        with writing(target) as temporary, temporary.open("w", encoding="utf-8") as stream:
            stream.write("[")
            for index, record in enumerate(self._results(annotations)):
                stream.write((",\n" if index else "\n") + json.dumps(record, allow_nan=False))
            stream.write("\n]\n")
        return target


def _annotated(annotations: Annotations) -> tuple[Sequence[Mapping[str, Any]], str]:
    """The images of annotations, and how those are called."""
    if isinstance(annotations, KeypointData):
        return annotations.images, title_of(annotations.path, annotations.split)
    if isinstance(annotations, Mapping):
        if not isinstance(annotations.get("images"), list | tuple):
            raise DataError("Annotations must be a COCO document with a list of images. Got none.")
        return annotations["images"], "annotations"
    path = Path(annotations).expanduser()
    return read_document(path)["images"], path.name


def is_run_folder(path: object) -> bool:
    """Whether a path is a folder that :func:`kptk.predict_dataset` wrote."""
    if not isinstance(path, str | os.PathLike):
        return False
    return (Path(os.fsdecode(path)).expanduser() / MANIFEST).is_file()


def read_predictions(folder: Path_) -> StoredPredictions:
    """Read what :func:`kptk.predict_dataset` has stored, finished or not.

    Args:
        folder: its ``save_path``.

    Raises:
        BulkError: it is no such folder.
    """
    run = RunFolder(Path(os.path.abspath(Path(folder).expanduser())))
    manifest = run.manifest
    return StoredPredictions(run.path, manifest, run.finished(manifest["settings_hash"]))
