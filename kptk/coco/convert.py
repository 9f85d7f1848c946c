"""Convert whole data sets between formats, files included."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kptk.coco.aic import aic_to_coco
from kptk.coco.data import load_coco
from kptk.coco.labelme import labelme_to_coco
from kptk.coco.write import copy_images, write_coco
from kptk.coco.yolo import coco_to_yolo, yolo_to_coco
from kptk.errors import DataError, nearest

FORMATS = ("labelme", "aic", "yolo", "coco")


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    source_format: str,
    target_format: str = "coco",
    split: str = "train",
    images: str | os.PathLike[str] | None = None,
    joints: Sequence[str] | None = None,
    copy: bool = True,
    overwrite: bool = False,
) -> Path:
    """Convert a data set; the source is left as it is.

    Args:
        source: LabelMe's folder, AI Challenger's annotation file, YOLO's ``data.yaml`` (or the
            folder with it), or a COCO data set.
        out: the folder to write: ``images/`` and ``annotations/instance_{split}.json``, or
            YOLO's layout.
        source_format: ``"labelme"``, ``"aic"``, ``"yolo"`` or ``"coco"``.
        target_format: ``"coco"``, or from COCO also ``"yolo"``.
        split: which split is read, where there are several, and written.
        images: the image folder of the source, where it is not found.
        joints: names of all joints in order, where the source does not say.
        copy: whether image files are copied.
        overwrite: whether an annotation file may be replaced.

    Returns:
        The file to load: the annotation file or ``data.yaml``.

    Raises:
        DataError: a format is unknown, or something cannot be read or written.
    """
    for value in (source_format, target_format):
        if value not in FORMATS:
            raise DataError(
                f"Formats are {', '.join(FORMATS)}. Got {value!r}.{nearest(value, FORMATS)}"
            )
    if target_format == "yolo" and source_format == "coco":
        data = load_coco(source, split=split, images=images)
        return coco_to_yolo(data, out, split=split, images=copy)
    if target_format != "coco" or source_format == "coco":
        raise DataError(
            f"Expected labelme, aic or yolo to coco, or coco to yolo. Got {source_format} to "
            f"{target_format}; go by way of coco."
        )
    content, folder = _read(source, source_format, split, images, joints)
    target = Path(out).expanduser()
    written = write_coco(
        content, target / "annotations" / f"instance_{split}.json", overwrite=overwrite
    )
    if copy:
        copy_images(content["images"], folder, target / "images")
    return written


def _read(
    source: str | os.PathLike[str],
    source_format: str,
    split: str,
    images: str | os.PathLike[str] | None,
    joints: Sequence[str] | None,
) -> tuple[dict[str, Any], Path]:
    if source_format == "labelme":
        return labelme_to_coco(source, images=images, joints=joints)
    if joints is not None and source_format == "aic":
        raise DataError("AI Challenger's joints are known: leave joints out.")
    if source_format == "aic":
        return aic_to_coco(source, images=images)
    return yolo_to_coco(source, split=split, joints=joints)
