"""Where a COCO data set keeps its annotation files and images."""

from __future__ import annotations

import html
import itertools
import json
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kptk.coco.checks import Picture, duplicate_findings, file_findings, scan
from kptk.coco.rules import (
    ERROR,
    DataReport,
    Finding,
    Ledger,
    choose_category,
    findings_table,
    first_ids,
    in_order,
    mend_ids,
    mend_images,
    mend_links,
    mend_people,
    title_of,
)
from kptk.errors import DataError, nearest
from kptk.files import file_hash
from kptk.skeleton import Skeleton

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


# ---- data: COCO keypoint data, loaded: images, people, skeleton, and what was found on the way.


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
        from kptk.io.images import read_image

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
    from kptk.coco.checks import mend_files

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
    from kptk.coco.checks import describe, picture_findings, point_findings

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


# ---- check: Check a whole data set: every split, and what the splits share.


@dataclass(frozen=True, eq=False, repr=False)
class DatasetReport:
    """What a look at all splits of a data set found.

    Attributes:
        reports: split → its report. Errors that ``load_coco`` mends are errors here: other
            programs that read the files do not mend them.
        between: what the splits have in common and should not: copies of pictures.
        files: split → where it lies, and what its annotation file says, as it stands there.
    """

    reports: dict[str, DataReport]
    between: tuple[Finding, ...] = ()
    files: dict[str, DataFiles] = field(default_factory=dict)

    @property
    def findings(self) -> list[tuple[str, Finding]]:
        """Everything found, with its split (or ``"train/val"`` where it is between two)."""
        own = [(split, f) for split, report in self.reports.items() for f in report.findings]
        return own + [("/".join(self.reports), finding) for finding in self.between]

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return all(finding.severity != ERROR for _, finding in self.findings)

    @property
    def json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "ok": self.ok,
            "splits": {split: report.json for split, report in self.reports.items()},
            "between": [finding.json for finding in self.between],
        }

    def __repr__(self) -> str:
        parts = [repr(report) for report in self.reports.values()]
        if self.between:
            parts.append("\n".join(["Between the splits", *map(str, self.between)]))
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        parts = [report._repr_html_() for report in self.reports.values()]
        if self.between:
            parts.append("<p><b>Between the splits</b></p>" + findings_table(self.between))
        return "".join(parts)


def check_coco(
    path: str | os.PathLike[str],
    *,
    annotations: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    pictures: bool = True,
    sigmas: Sequence[float] | None = None,
    flip_pairs: Sequence[tuple[int, int]] | None = None,
    progress: bool = True,
) -> DatasetReport:
    """Check every split of a data set, and the splits against each other.

    Nothing is raised for what is wrong with the data: it is found. Nothing is written.

    Args:
        path: the data set's folder or one annotation file; see :func:`kptk.load_coco`.
        annotations: one annotation file, when it is not found from ``path``.
        images: the image folder, when it is not found from ``path``.
        pictures: whether every picture is decoded and compared; otherwise only the records and
            the files' names are looked at.
        sigmas: OKS sigma of each joint.
        flip_pairs: pairs (left, right) of 0-based joint indices.
        progress: show a progress bar.

    Raises:
        DataError: there is no data set there.
    """
    root = Path(path).expanduser()
    given = annotations is not None
    splits = annotation_files(root) if annotations is None else [Path(annotations).stem]
    look = _Look(root, annotations, images, pictures, sigmas, flip_pairs, progress)
    for split in splits:
        look.at(split, named=not (given or root.is_file()))
    return DatasetReport(look.reports, tuple(look.between()), look.files)


@dataclass
class _Look:
    """The settings of one check, and what it has come to."""

    root: Path
    annotations: str | os.PathLike[str] | None
    images: str | os.PathLike[str] | None
    decode: bool
    sigmas: Sequence[float] | None
    flip_pairs: Sequence[tuple[int, int]] | None
    progress: bool
    reports: dict[str, DataReport] = field(default_factory=dict)
    files: dict[str, DataFiles] = field(default_factory=dict)
    pictures: dict[str, list[Picture]] = field(default_factory=dict)

    def at(self, split: str, *, named: bool) -> None:
        """Look at one split."""
        places = {"annotations": self.annotations, "images": self.images}
        try:
            found = find_data(self.root, split=split if named else None, **places)
            ledger = Ledger([], repair=False, drop=False)
            data = mended(found, ledger, sigmas=self.sigmas, flip_pairs=self.flip_pairs, files=True)
        except DataError as error:
            finding = Finding("file-unusable", ERROR, "file", (split,), str(error))
            self.reports[split] = DataReport(f"{self.root.name} {split}", "records", (finding,))
            return
        self.files[split] = found
        self.reports[split] = self._report(split, data, ledger.findings)

    def _report(self, split: str, data: KeypointData, findings: list[Finding]) -> DataReport:
        report = with_report(data, findings, "fast", progress=False).report
        absent = any(finding.code == "images-folder" for finding in findings)
        if not self.decode or absent:
            return report
        self.pictures[split] = scan(data, progress=self.progress)
        more = file_findings(data, self.pictures[split])
        more += duplicate_findings(self.pictures[split])
        return DataReport(
            report.title, "pictures", in_order([*report.findings, *more]), report.statistics
        )

    def between(self) -> list[Finding]:
        """What splits share, two by two; the later one is the one to be kept clean."""
        return [
            finding
            for first, second in itertools.combinations(self.files, 2)
            for finding in self._shared(first, second)
        ]

    def _shared(self, first: str, second: str) -> list[Finding]:
        if first in self.pictures and second in self.pictures:
            return duplicate_findings(
                self.pictures[first], self.pictures[second], names=(first, second)
            )
        known = _image_files(self.files[first])
        others = _image_files(self.files[second])
        pairs = tuple((known[path], others[path]) for path in others if path in known)
        sentence = f"Image files are the same between {first} and {second}."
        advice = f"Remove them from {first}: what is measured on {second} is too good."
        return [Finding("leak-exact", ERROR, "pair", pairs, sentence, advice)] if pairs else []


def _image_files(files: DataFiles) -> dict[Path, int]:
    return {files.images / image["file_name"]: image["id"] for image in files.content["images"]}
