"""Where a COCO data set keeps its annotation files and images."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kptk.errors import DataError, nearest

_PREFIXES = ("instance_", "instances_", "person_keypoints_")
_SKIPPED = ("image_info_", "captions_", "panoptic_", "stuff_")


def annotation_files(path: Path) -> dict[str, Path]:
    """The annotation files of a data set by split.

    ``annotations/instance_{split}.json`` (PaddleX), ``annotations/person_keypoints_{split}.json``
    (COCO; before ``instances_{split}.json``, which has no keypoints) or any other ``*.json`` in
    ``annotations/``, else in the folder itself.

    Args:
        path: the data set's folder, or one annotation file.

    Raises:
        DataError: there is no such path, or no annotation file in it.
    """
    if path.is_file():
        return {split_name(path): path}
    if not path.is_dir():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            f"The data set {str(path)!r} does not exist.{nearest(path.name, siblings)} Pass a "
            "folder with images/ and annotations/*.json, or one annotation file."
        )
    for folder in (path / "annotations", path):
        files = sorted(folder.glob("*.json")) if folder.is_dir() else []
        files = [file for file in files if not file.name.startswith((".", *_SKIPPED))]
        if files:
            return _by_split(files)
    raise DataError(
        f"{str(path)!r} must hold annotation files. Expected annotations/instance_train.json and "
        "annotations/instance_val.json beside images/; found no .json file."
    )


def _by_split(files: list[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in files:
        name = split_name(file)
        if name not in found or file.name.startswith("person_keypoints_"):
            found[name] = file
    return found


def split_name(file: Path) -> str:
    """``instance_val.json`` and ``person_keypoints_val.json`` are both ``val``."""
    stem = file.stem
    for prefix in _PREFIXES:
        stem = stem.removeprefix(prefix)
    return stem or file.stem


def choose_split(files: dict[str, Path], split: str | None) -> str:
    """The split meant: by its name, or by its name without the year (``val`` for ``val2017``).

    Raises:
        DataError: it is not there, or more than one could be meant.
    """
    names = list(files)
    if split is None and len(names) == 1:
        return names[0]
    if split is None:
        raise DataError(
            f"The data set has the splits {', '.join(names)}. Say which: split={names[0]!r}."
        )
    if split in files:
        return split
    close = [name for name in names if re.fullmatch(re.escape(split) + r"_?\d*", name)]
    if len(close) == 1:
        return close[0]
    raise DataError(
        f"There is no split {split!r}. Expected one of: {', '.join(names)}.{nearest(split, names)}"
    )


def find_images(annotations: Path, split: str | None, first_name: str | None) -> Path:
    """The folder that ``file_name`` is relative to.

    Args:
        annotations: the annotation file.
        split: its split.
        first_name: ``file_name`` of one of its images.

    Returns:
        The first of ``images/{split}``, ``images``, ``{split}``, the data set's folder and the
        annotation file's folder that holds that image; else the first of them that is there.
    """
    here = annotations.parent
    root = here.parent if here.name == "annotations" else here
    parts = [f"images/{split}", "images", str(split)] if split else ["images"]
    places = list(dict.fromkeys([*(root / part for part in parts), root, here]))
    if first_name:
        for place in places:
            if (place / first_name).is_file():
                return place
    return next((place for place in places if place.is_dir()), root)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # also UnicodeDecodeError
        raise DataError(f"{path} must be a JSON file in UTF-8: {error}.") from error


def read_document(path: Path) -> dict[str, Any]:
    """The content of a COCO annotation file: lists ``images``, ``annotations``, ``categories``.

    Raises:
        DataError: it cannot be read, or is no such file.
    """
    content = read_json(path)
    needed = ("images", "annotations", "categories")
    if isinstance(content, list) and content and isinstance(content[0], dict):
        raise DataError(
            f"{path} must be a COCO annotation file. Got a list of records, as results are: "
            "those go to kptk.evaluate(predictions=..., annotations=...)."
        )
    if not isinstance(content, dict) or any(
        not isinstance(content.get(key), list) for key in needed
    ):
        got = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise DataError(
            f"{path} must be a COCO annotation file with the lists images, annotations and "
            f"categories. Got: {got[:200] or 'nothing'}."
        )
    for key in needed:
        if any(not isinstance(record, dict) for record in content[key]):
            raise DataError(f"{path}: every member of {key!r} must be an object.")
    return content


def is_inside(folder: Path, name: str) -> bool:
    """Whether a relative file name stays within the folder."""
    return not os.path.isabs(name) and not os.path.normpath(name).startswith("..")


@dataclass(frozen=True)
class DataFiles:
    """Where one split of a data set lies; whether its images were asked for too."""

    path: Path
    split: str | None
    annotations: Path
    images: Path
    content: dict[str, Any]
    images_needed: bool


def find_data(
    path: str | os.PathLike[str],
    *,
    split: str | None = None,
    annotations: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
) -> DataFiles:
    """Find and read one split; see :func:`kptk.load_coco`."""
    root = Path(path).expanduser()
    file = None if annotations is None else Path(annotations).expanduser()
    if file is None:
        files = annotation_files(root)
        if root.is_file():
            file = root
        else:
            split = choose_split(files, split)
            file = files[split]
    content = read_document(file)
    if images is not None:
        folder = Path(images).expanduser()
    elif annotations is not None and (root / "images").is_dir():
        folder = root / "images"
    elif annotations is not None and root.is_dir():
        folder = root
    else:
        names = (image.get("file_name") for image in content["images"])
        place = split or split_name(file)
        folder = find_images(file, place, next((n for n in names if n), None))
    if images is not None and not folder.is_dir():
        raise DataError(f"The image folder {str(folder)!r} does not exist.")
    needed = images is not None or root.is_dir()
    return DataFiles(root, split, file, folder, content, needed)
