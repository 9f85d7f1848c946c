"""Write COCO annotation files."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kptk.coco.load import KeypointData, is_inside
from kptk.errors import DataError
from kptk.files import replacing
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


# ---- split: Split a data set by image or by group, the same way every time.


GroupBy = str | Callable[[Mapping[str, Any]], str] | None


def split_coco(
    data: KeypointData,
    shares: Mapping[str, float],
    *,
    seed: int = 0,
    group_by: GroupBy = None,
    out: str | os.PathLike[str] | None = None,
    copy: bool = False,
    overwrite: bool = False,
) -> dict[str, KeypointData]:
    """Split images at random into named parts; a group's images stay together.

    Which groups come first depends on the seed and their names only, not on their order in the
    file. Each group goes to the part that lacks most of its share.

    Args:
        data: what to split.
        shares: part → share, such as ``{"train": 0.8, "val": 0.2}``. They add up to 1.
        seed: another seed, another split.
        group_by: what images of a group have in common: None: each image is its own group;
            ``"folder"``: the folder in ``file_name``; the name of a field of the image records; a
            regular expression, whose first group (or whole match) in ``file_name`` counts; or a
            function of the image record.
        out: the data set's folder, to write ``annotations/instance_{part}.json`` into.
        copy: whether the images are copied to ``images/`` there. A data set's own folder needs
            no copies: its images are there.
        overwrite: whether those files may be replaced.

    Returns:
        Part → its data; read from the files written, if any.

    Raises:
        DataError: the shares do not add up to 1, there are fewer groups than parts, an image has
            no group, or a file exists already.
    """
    _check_shares(shares)
    groups = _groups(data, group_by)
    if len(groups) < len(shares):
        raise DataError(
            f"{len(shares)} parts need at least as many groups of images. Got {len(groups)}: "
            f"{', '.join(list(groups)[:5])}."
        )
    parts = {name: data.subset(ids) for name, ids in _deal(groups, shares, len(data), seed).items()}
    if out is None:
        return parts
    root = Path(out).expanduser()
    if copy:
        copy_images(data.images, data.images_dir, root / "images")
        parts = {name: replace(part, images_dir=root / "images") for name, part in parts.items()}
    return _write(parts, root, overwrite)


def parse_shares(text: str) -> dict[str, float]:
    """Shares as written on a command line: ``train=0.8,val=0.2``.

    Raises:
        DataError: it is written otherwise.
    """
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {name.strip(): float(share) for name, share in pairs}
    except ValueError as error:
        raise DataError(f"Shares are written train=0.8,val=0.2. Got {text!r}.") from error


def _check_shares(shares: Mapping[str, float]) -> None:
    good = all(share > 0 for share in shares.values()) and len(shares) > 1
    if not good or abs(sum(shares.values()) - 1) > 1e-6:
        raise DataError(
            "The shares of a split must be positive and add up to 1, such as "
            f"{{'train': 0.8, 'val': 0.2}}. Got {dict(shares)}."
        )
    odd = [name for name in shares if not re.fullmatch(r"[\w.-]+", name)]
    if odd:
        raise DataError(f"The parts are named in file names: letters, digits, _.-. Got {odd[0]!r}.")


def _groups(data: KeypointData, group_by: GroupBy) -> dict[str, list[int]]:
    name_of = _namer(group_by, data)
    groups: dict[str, list[int]] = {}
    for image in data.images:
        groups.setdefault(name_of(image), []).append(image["id"])
    return groups


def _namer(group_by: GroupBy, data: KeypointData) -> Callable[[Mapping[str, Any]], str]:
    if callable(group_by):
        return lambda image: str(group_by(image))
    if group_by is None:
        return lambda image: str(image["file_name"])
    if group_by == "folder":
        return lambda image: os.path.dirname(image["file_name"])
    if any(group_by in image for image in data.images):
        return lambda image: _field(image, group_by)
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise DataError(
            f"group_by must be 'folder', a field of the images or a regular expression: {error}."
        ) from error
    return lambda image: _match(image, pattern)


def _field(image: Mapping[str, Any], field: str) -> str:
    if image.get(field) is None:
        raise DataError(f"Image {image['id']} has no field {field!r} to group by.")
    return str(image[field])


def _match(image: Mapping[str, Any], pattern: re.Pattern[str]) -> str:
    found = pattern.search(image["file_name"])
    if found is None:
        raise DataError(
            f"The pattern {pattern.pattern!r} must match every file_name. "
            f"It does not match {image['file_name']!r} (image {image['id']})."
        )
    return found[1] if pattern.groups and found[1] is not None else found[0]


def _deal(
    groups: dict[str, list[int]], shares: Mapping[str, float], total: int, seed: int
) -> dict[str, list[int]]:
    """Large groups first, and among equals in an order drawn by the seed."""
    order = sorted(groups, key=lambda name: (-len(groups[name]), _draw(name, seed)))
    parts: dict[str, list[int]] = {name: [] for name in shares}
    for place, group in enumerate(order):
        empty = [name for name in parts if not parts[name]]
        left = len(order) - place
        names = empty if left <= len(empty) else list(parts)
        lacking = [shares[name] * total - len(parts[name]) for name in names]
        parts[names[int(np.argmax(lacking))]] += groups[group]
    return parts


def _draw(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).hexdigest()


def _write(
    parts: Mapping[str, KeypointData], root: Path, overwrite: bool
) -> dict[str, KeypointData]:
    files = {name: root / "annotations" / f"instance_{name}.json" for name in parts}
    there = [str(file) for file in files.values() if file.exists()]
    if there and not overwrite:
        raise DataError(f"{there[0]} exists already. Choose another folder, or overwrite=True.")
    return {
        name: replace(
            part, path=root, split=name,
            annotations_path=write_coco(part.content, files[name], overwrite=overwrite),
        )
        for name, part in parts.items()
    }  # fmt: skip
