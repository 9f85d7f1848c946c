"""`kptk.read_predictions`: what a run has stored, as rows, results, tables and COCO records."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kptk.bulk.folder import Done, RunFolder, whole
from kptk.bulk.image_ids import match_images
from kptk.bulk.rows import Row, failed_row
from kptk.coco import KeypointData
from kptk.errors import BulkError, DataError, InputError
from kptk.results import PoseResult

if TYPE_CHECKING:
    import pandas as pd

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
        from kptk.bulk import jsonl, parquet

        reader = parquet if self.manifest["settings"]["format"] == "parquet" else jsonl
        for done in self.partitions:
            yield from reader.read_rows(RunFolder(self.folder), done.partition)

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
            from kptk.evaluation.truth import read_truth

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
        from kptk.evaluation.collecting import MAX_CANDIDATES
        from kptk.pose import crop_boxes

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
