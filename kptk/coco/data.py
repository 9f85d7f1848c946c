"""COCO keypoint data, loaded: images, people, skeleton, and what was found on the way."""

from __future__ import annotations

import html
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kptk.cache import file_hash
from kptk.coco.category import choose_category
from kptk.coco.layout import DataFiles, find_data
from kptk.coco.records import Ledger, mend_ids, mend_images, mend_links, mend_people
from kptk.coco.report import DataReport, Finding, first_ids, in_order, title_of
from kptk.errors import DataError
from kptk.skeleton import Skeleton

logger = logging.getLogger(__name__)


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
        from kptk.sources import read_image

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
        rows = [
            ("images", len(self)),
            ("people", self.n_people),
            ("crowds", sum(len(self.crowds(image_id)) for image_id in self.image_ids)),
            ("joints", len(self.skeleton)),
            ("looked at", self.report.looked_at),
        ]
        body = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)
        title = html.escape(title_of(self.path, self.split))
        return f"<table><caption>{title}</caption>{body}</table>{self.report._repr_html_()}"


def load_coco(
    path: str | os.PathLike[str],
    *,
    split: str | None = None,
    annotations: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    repair: bool | Literal["drop"] = True,
    sigmas: Sequence[float] | None = None,
    flip_pairs: Sequence[tuple[int, int]] | None = None,
    check: Literal["fast", "full", False] = "fast",
    progress: bool = True,
) -> KeypointData:
    """Load COCO keypoint data.

    Args:
        path: a folder with ``images/`` and ``annotations/instance_{train,val}.json`` (PaddleX) or
            COCO's own layout, or one annotation file.
        split: which annotation file: ``"val"`` finds ``instance_val.json``,
            ``person_keypoints_val2017.json`` or ``val.json``. May be left out if there is one.
        annotations: the annotation file, when it is not found from ``path``.
        images: the image folder, when it is not found from ``path``.
        repair: True mends what can be mended, in memory, and says so in ``report``; ``"drop"``
            also leaves out the records that cannot be mended; False mends nothing.
        sigmas: OKS sigma of each joint; see :func:`kptk.skeleton.skeleton_of`.
        flip_pairs: pairs (left, right) of 0-based joint indices, for joints not named so.
        check: ``"fast"``: the records, and that the image files are there; ``"full"``: also each
            picture; False: the records only.
        progress: show a progress bar during the full check.

    Returns:
        The data. What was found stands in ``report``, repairs on the log too; of the pictures
        nothing is repaired.

    Raises:
        DataError: there is no such data, or it has errors that were not mended (of the records
            and missing files; those of pictures are only reported).
    """
    if repair not in (True, False, "drop") or check not in ("fast", "full", False):
        raise DataError(
            "repair must be True, False or 'drop', check must be 'fast', 'full' or False. "
            f"Got repair={repair!r}, check={check!r}."
        )
    found = find_data(path, split=split, annotations=annotations, images=images)
    ledger = Ledger([], repair=bool(repair), drop=repair == "drop")
    data = mended(found, ledger, sigmas=sigmas, flip_pairs=flip_pairs, files=bool(check))
    _raise_errors(found.annotations, ledger.findings, repair)
    loaded = with_report(data, ledger.findings, check, progress=progress)
    _say_repairs(loaded.report)
    return loaded


def mended(
    found: DataFiles,
    ledger: Ledger,
    *,
    sigmas: Sequence[float] | None,
    flip_pairs: Sequence[tuple[int, int]] | None,
    files: bool,
) -> KeypointData:
    """The data with its records mended; what was wrong goes to the ledger. The report is empty."""
    from kptk.coco.files import mend_files

    content = found.content
    mend_images(content, ledger)
    if files:
        mend_files(content, found.images, ledger, needed=found.images_needed)
    mend_links(content, ledger)
    mend_ids(content, ledger)
    category, skeleton = choose_category(content, ledger, sigmas, flip_pairs)
    mend_people(content, category, len(skeleton), ledger)
    return KeypointData(
        found.path, found.split, found.images, found.annotations, content, skeleton, category,
        DataReport(title_of(found.path, found.split), "records"),
    )  # fmt: skip


def with_report(
    data: KeypointData, findings: Sequence[Finding], check: str | Literal[False], *, progress: bool
) -> KeypointData:
    """The data with its report: ``findings``, and what a further look finds."""
    from kptk.coco.pictures import picture_findings
    from kptk.coco.points import point_findings
    from kptk.coco.statistics import describe

    looked_at = {"fast": "files", "full": "pictures"}.get(str(check), "records")
    every = list(findings)
    if check:
        every += point_findings(data)
    if check == "full" and all(finding.code != "images-folder" for finding in every):
        every += picture_findings(data, progress=progress)
    report = DataReport(data.report.title, looked_at, in_order(every), describe(data))
    return replace(data, report=report)


def _say_repairs(report: DataReport) -> None:
    """Name on the log what changes numbers: repairs, and sigmas that were assumed."""
    said = [f for f in report.findings if f.severity == "repaired" or f.code == "sigmas-assumed"]
    for finding in said:
        logger.warning("%s: %s (%d): %s", report.title, finding.code, finding.count,
                       finding.sentence)  # fmt: skip


def _raise_errors(file: Path, findings: Sequence[Finding], repair: bool | str) -> None:
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return
    lines = " ".join(
        f"{finding.code}: {finding.sentence} ({finding.of} {first_ids(finding.ids)})"
        for finding in errors
    )
    advice = errors[0].advice
    if repair is False:
        advice = "Mend what can be mended, in memory, with repair=True."
    elif errors[0].code != "images-folder":
        advice = "Correct the file, or leave these records out with repair='drop'."
    raise DataError(f"{file} cannot be used as it is. {lines} {advice} kptk check lists them all.")
