"""Whether the image files that a COCO file names are there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kptk.coco.records import Ledger, leave_out_images
from kptk.coco.report import ERROR, WARNING, Finding
from kptk.errors import nearest


def mend_files(
    content: dict[str, Any], folder: Path, ledger: Ledger, *, needed: bool = True
) -> None:
    """Check that each image's file is there, and complete sizes that are missing.

    No image at all is an error only where they are ``needed``: an annotation file alone will do
    for evaluating stored predictions.
    """
    images = content["images"]
    if not images:
        return
    present = _names(folder, images)
    missing = [image for image in images if os.path.normpath(image["file_name"]) not in present]
    if len(missing) == len(images):
        where = f"{folder.name}/ (the first would be {images[0]['file_name']!r})"
        ledger.findings.append(Finding(
            "images-folder", ERROR if needed else WARNING, "image",
            tuple(image["id"] for image in images), f"None of the images is in {where}.",
            "Pass images=, the folder that file_name is relative to. To evaluate stored "
            "predictions without images, pass the annotation file alone.",
        ))  # fmt: skip
        return
    example = nearest(missing[0]["file_name"], present) if 0 < len(missing) < 20 else ""
    ledger.add(
        "image-missing", "image", (image["id"] for image in missing),
        f"Image files are not in {folder.name}/"
        + (f" (first: {missing[0]['file_name']!r}).{example}" if missing else ""),
        advice="Add the files or remove the records.",
    )  # fmt: skip
    out = {image["id"] for image in missing}
    content["images"] = [image for image in images if image["id"] not in out]
    leave_out_images(content, out)
    _fill_sizes(content["images"], folder, ledger)


def _names(folder: Path, images: list[dict[str, Any]]) -> set[str]:
    """The names of all files in the folders that the images are in, one listing a folder."""
    parents = {os.path.dirname(os.path.normpath(image["file_name"])) for image in images}
    found: set[str] = set()
    for parent in parents:
        try:
            with os.scandir(folder / parent) as entries:
                found.update(os.path.join(parent, entry.name) for entry in entries)
        except OSError:
            continue
    return found


def _fill_sizes(images: list[dict[str, Any]], folder: Path, ledger: Ledger) -> None:
    from kptk.coco.pictures import header

    without = [image for image in images if not has_size(image)]
    filled = []
    for image in without:
        found = header(folder / image["file_name"])
        if found is not None:
            image["height"], image["width"] = found.upright_size
            filled.append(image["id"])
    ledger.add(
        "image-size-missing", "image", filled, "Images have no width and height in the file.",
        "They were read from the pictures.",
    )  # fmt: skip


def has_size(image: dict[str, Any]) -> bool:
    """Whether a record says how large the image is."""
    return all(
        isinstance(image.get(key), int | float) and image[key] > 0 for key in ("width", "height")
    )
