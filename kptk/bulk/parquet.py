"""Rows as Parquet: one table with a row a person, beside it one with a row an image.

``pandas.read_parquet(folder / "people")`` reads all partitions of a run at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kptk.bulk.folder import IMAGES, PEOPLE, RunFolder, whole
from kptk.bulk.rows import K, Row
from kptk.bulk.settings import SCHEMA
from kptk.errors import require

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
