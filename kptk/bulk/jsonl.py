"""Rows as JSON lines: an image a line, in PaddleX's keys with a few more."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kptk.bulk.folder import RESULTS, RunFolder, whole
from kptk.bulk.rows import Float, K, Row


def write_rows(folder: RunFolder, number: int, rows: Sequence[Row]) -> list[Path]:
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


def read_rows(folder: RunFolder, number: int) -> list[Row]:
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
