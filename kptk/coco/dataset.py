"""COCO keypoint data: its images, people and skeleton; splitting it and writing it."""

from __future__ import annotations

import filecmp
import hashlib
import html
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.coco.rules import DataReport, first_ids, title_of
from kptk.errors import DataError
from kptk.files import file_hash, replacing, writing
from kptk.io.images import read_image
from kptk.skeleton import Skeleton

GroupBy = str | Callable[[Mapping[str, Any]], str] | None


@dataclass(frozen=True, eq=False, repr=False)
class KeypointData:
    """One split of a COCO keypoint data set.

    Attributes:
        path: the data set's folder or annotation file, as handed in.
        split: its name, such as ``"val"``; None for a single file.
        images_dir: the folder that ``file_name`` is relative to.
        annotations_path: the annotation file.
        content: the COCO document, with the repairs that ``report`` states; the file is untouched.
        skeleton: joint names, limbs, flips and OKS sigmas of the people.
        category_id: the category that people are.
        report: what was found.
    """

    path: Path
    split: str | None
    images_dir: Path
    annotations_path: Path
    content: dict[str, Any]
    skeleton: Skeleton
    category_id: int
    report: DataReport

    @cached_property
    def images(self) -> list[dict[str, Any]]:
        """The image records, by id."""
        return sorted(self.content["images"], key=lambda image: int(image["id"]))

    @cached_property
    def image_ids(self) -> list[int]:
        """The images' ids, ascending."""
        return [image["id"] for image in self.images]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of the annotation file."""
        return file_hash(self.annotations_path)

    @cached_property
    def _images_by_id(self) -> dict[int, dict[str, Any]]:
        return {image["id"]: image for image in self.images}

    @cached_property
    def _annotations_by_image(self) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in self.image_ids}
        for annotation in sorted(self.content["annotations"], key=lambda a: int(a["id"])):
            if annotation["category_id"] == self.category_id:
                found[annotation["image_id"]].append(annotation)
        return found

    def image(self, image_id: int) -> dict[str, Any]:
        """The record of one image.

        Raises:
            DataError: there is none of that id.
        """
        if image_id not in self._images_by_id:
            raise DataError(
                f"{self.annotations_path.name} has no image {image_id!r}. "
                f"Its ids are {first_ids(self.image_ids) or 'none: it has no images'}."
            )
        return self._images_by_id[image_id]

    def annotations(self, image_id: int) -> list[dict[str, Any]]:
        """The annotations of people on an image, crowds included, by id."""
        self.image(image_id)
        return self._annotations_by_image[image_id]

    def people(self, image_id: int) -> list[dict[str, Any]]:
        """The annotations of single people on an image, by id; without labelled points too."""
        return [a for a in self.annotations(image_id) if not a["iscrowd"]]

    def crowds(self, image_id: int) -> list[dict[str, Any]]:
        """The annotations of crowds on an image, by id."""
        return [a for a in self.annotations(image_id) if a["iscrowd"]]

    def image_path(self, image_id: int) -> Path:
        """The file of an image."""
        return self.images_dir / str(self.image(image_id)["file_name"])

    def read(self, image_id: int) -> NDArray[np.uint8]:
        """An image as RGB uint8 (H, W, 3), EXIF orientation applied.

        Raises:
            InputError: its file is missing or damaged.
        """
        return read_image(self.image_path(image_id))

    def subset(self, image_ids: Iterable[int]) -> KeypointData:
        """The same with these images only."""
        chosen = {self.image(image_id)["id"] for image_id in image_ids}
        images = [image for image in self.images if image["id"] in chosen]
        labels = [a for a in self.content["annotations"] if a["image_id"] in chosen]
        return replace(self, content={**self.content, "images": images, "annotations": labels})

    def __len__(self) -> int:
        """The number of images."""
        return len(self.content["images"])

    @property
    def n_people(self) -> int:
        """The number of single people, crowds not counted."""
        return sum(len(self.people(image_id)) for image_id in self.image_ids)

    def __repr__(self) -> str:
        return (
            f"KeypointData({title_of(self.path, self.split)}: {len(self)} images, "
            f"{self.n_people} people, {len(self.skeleton)} joints; {self.report.summary})"
        )

    def _repr_html_(self) -> str:
        rows = {
            "images": len(self),
            "people": self.n_people,
            "crowds": sum(len(self.crowds(image_id)) for image_id in self.image_ids),
            "joints": len(self.skeleton),
            "looked at": self.report.looked_at,
        }
        body = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows.items())
        title = html.escape(title_of(self.path, self.split))
        return f"<table><caption>{title}</caption>{body}</table>{self.report._repr_html_()}"


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
        encoded = (text + "\n").encode("utf-8")
    except (TypeError, ValueError) as error:
        raise DataError(f"{target.name} cannot be written as JSON: {error}.") from error
    with writing(target, DataError) as temporary:
        temporary.write_bytes(encoded)
    return target


def document(
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    skeleton: Skeleton,
    description: str = "",
) -> dict[str, Any]:
    """A COCO document with one category, people."""
    category = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(skeleton.names),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges],
    }
    return {
        "info": {"description": description},
        "licenses": [],
        "images": [dict(image) for image in images],
        "annotations": [dict(annotation) for annotation in annotations],
        "categories": [category],
    }


def is_inside(folder: Path, name: str) -> bool:
    """Whether a relative file name stays within the folder."""
    return not os.path.isabs(name) and not os.path.normpath(name).startswith("..")


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
            if not (target / name).exists():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                with replacing(target / name) as temporary:
                    shutil.copyfile(source / name, temporary)
            elif not filecmp.cmp(source / name, target / name, shallow=False):
                raise DataError(
                    f"{target / name} exists already and is another image than {source / name}. "
                    "Choose another folder."
                )
        except OSError as error:
            raise DataError(f"{source / name} cannot be copied: {error}.") from error


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
    good = all(share > 0 for share in shares.values()) and len(shares) > 1
    if not good or abs(sum(shares.values()) - 1) > 1e-6:
        raise DataError(
            "The shares of a split must be positive and add up to 1, such as "
            f"{{'train': 0.8, 'val': 0.2}}. Got {dict(shares)}."
        )
    odd = [name for name in shares if not re.fullmatch(r"[\w.-]+", name)]
    if odd:
        raise DataError(f"The parts are named in file names: letters, digits, _.-. Got {odd[0]!r}.")
    group_of = _grouping(group_by, data)
    groups: dict[str, list[int]] = {}
    for image in data.images:
        groups.setdefault(group_of(image), []).append(image["id"])
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
    files = {name: root / "annotations" / f"instance_{name}.json" for name in parts}
    there = [str(file) for file in files.values() if file.exists()]
    if there and not overwrite:
        raise DataError(f"{there[0]} exists already. Choose another folder, or overwrite=True.")
    for name, part in parts.items():
        file = write_coco(part.content, files[name], overwrite=overwrite)
        parts[name] = replace(part, path=root, split=name, annotations_path=file)
    return parts


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


def _grouping(group_by: GroupBy, data: KeypointData) -> Callable[[Mapping[str, Any]], str]:
    """What gives the name of an image's group."""
    if callable(group_by):
        return lambda image: str(group_by(image))
    if group_by is None:
        return lambda image: str(image["file_name"])
    if group_by == "folder":
        return lambda image: os.path.dirname(image["file_name"])
    if any(group_by in image for image in data.images):

        def field(image: Mapping[str, Any]) -> str:
            if image.get(group_by) is None:
                raise DataError(f"Image {image['id']} has no field {group_by!r} to group by.")
            return str(image[group_by])

        return field
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise DataError(
            f"group_by must be 'folder', a field of the images or a regular expression: {error}."
        ) from error

    def match(image: Mapping[str, Any]) -> str:
        found = pattern.search(image["file_name"])
        if found is None:
            raise DataError(
                f"The pattern {pattern.pattern!r} must match every file_name. "
                f"It does not match {image['file_name']!r} (image {image['id']})."
            )
        return found[1] if pattern.groups and found[1] is not None else found[0]

    return match


def _deal(
    groups: dict[str, list[int]], shares: Mapping[str, float], total: int, seed: int
) -> dict[str, list[int]]:
    """Large groups first, and among equals in an order drawn by the seed."""

    def rank(name: str) -> tuple[int, str]:
        draw = hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).hexdigest()
        return -len(groups[name]), draw

    order = sorted(groups, key=rank)
    parts: dict[str, list[int]] = {name: [] for name in shares}
    for index, group in enumerate(order):
        empty = [name for name in parts if not parts[name]]
        names = empty if len(order) - index <= len(empty) else list(parts)
        lacking = [shares[name] * total - len(parts[name]) for name in names]
        parts[names[int(np.argmax(lacking))]] += groups[group]
    return parts
