"""Write COCO annotation files."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kptk.cache import replacing
from kptk.coco.layout import is_inside
from kptk.errors import DataError
from kptk.skeleton import COCO17, Skeleton


def write_coco(
    content: Mapping[str, Any], path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write a COCO document, all of it or nothing.

    Args:
        content: ``images``, ``annotations``, ``categories`` and whatever else it holds.
        path: the file; its folder is made.
        overwrite: whether a file of that name may be replaced.

    Returns:
        The file.

    Raises:
        DataError: it exists already, cannot be written, or holds what JSON does not know (NaN).
    """
    target = Path(path).expanduser()
    if target.exists() and not overwrite:
        raise DataError(f"{target} exists already. Choose another name, or pass overwrite=True.")
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_bytes((text + "\n").encode("utf-8"))
    except (TypeError, ValueError) as error:
        raise DataError(f"{target.name} cannot be written as JSON: {error}.") from error
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}.") from error
    return target


def person_category(skeleton: Skeleton = COCO17) -> dict[str, Any]:
    """The COCO category record of people with this skeleton."""
    return {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(skeleton.names),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges],
    }


def document(
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    skeleton: Skeleton,
    description: str = "",
) -> dict[str, Any]:
    """A COCO document with one category, people."""
    return {
        "info": {"description": description},
        "licenses": [],
        "images": [dict(image) for image in images],
        "annotations": [dict(annotation) for annotation in annotations],
        "categories": [person_category(skeleton)],
    }


def copy_images(images: Sequence[Mapping[str, Any]], source: Path, target: Path) -> None:
    """Copy image files, with their subfolders; the same file there already is left alone.

    Raises:
        DataError: a name leads out of the folder, another file has it already, or a file cannot
            be copied.
    """
    if source.resolve() == target.resolve():
        return
    for image in images:
        name = image["file_name"]
        if not is_inside(target, name):
            raise DataError(f"The file_name {name!r} leads out of the image folder.")
        try:
            if (target / name).exists():
                _same_file(source / name, target / name)
                continue
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            with replacing(target / name) as temporary:
                shutil.copyfile(source / name, temporary)
        except OSError as error:
            raise DataError(f"{source / name} cannot be copied: {error}.") from error


def _same_file(source: Path, target: Path) -> None:
    if not filecmp.cmp(source, target, shallow=False):
        raise DataError(
            f"{target} exists already and is another picture than {source}. Choose another folder."
        )
