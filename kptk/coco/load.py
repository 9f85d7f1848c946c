"""Find a COCO data set's files, load one split, or check them all."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from kptk.coco import checks, rules
from kptk.coco.checks import ImageFile
from kptk.coco.dataset import KeypointData
from kptk.coco.rules import ERROR, REPAIRED, DataReport, Finding, Ledger
from kptk.errors import DataError, nearest
from kptk.skeleton import Skeleton

logger = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]

_PREFIXES = ("instance_", "instances_", "person_keypoints_")
_SKIPPED = ("image_info_", "captions_", "panoptic_", "stuff_")


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
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in needed):
        got = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise DataError(
            f"{path} must be a COCO annotation file with the lists images, annotations and "
            f"categories. Got: {got[:200] or 'nothing'}."
        )
    for key in needed:
        if any(not isinstance(record, dict) for record in content[key]):
            raise DataError(f"{path}: every member of {key!r} must be an object.")
    return content


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
        return {_split_name(path): path}
    if not path.is_dir():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            f"The data set {str(path)!r} does not exist.{nearest(path.name, siblings)} Pass a "
            "folder with images/ and annotations/*.json, or one annotation file."
        )
    found: dict[str, Path] = {}
    for folder in (path / "annotations", path):
        for file in sorted(folder.glob("*.json")) if folder.is_dir() and not found else ():
            if file.name.startswith((".", *_SKIPPED)):
                continue
            if _split_name(file) not in found or file.name.startswith("person_keypoints_"):
                found[_split_name(file)] = file
    if not found:
        raise DataError(
            f"{str(path)!r} must hold annotation files. Expected annotations/instance_train.json "
            "and annotations/instance_val.json beside images/; found no .json file."
        )
    return found


def _split_name(file: Path) -> str:
    """``instance_val.json`` and ``person_keypoints_val.json`` are both ``val``."""
    stem = file.stem
    for prefix in _PREFIXES:
        stem = stem.removeprefix(prefix)
    return stem or file.stem


def _choose_split(files: dict[str, Path], split: str | None) -> str:
    """The split meant: by its name, or by its name without the year (``val`` for ``val2017``)."""
    names = list(files)
    if split is None and len(names) == 1:
        return names[0]
    if split is None:
        raise DataError(
            f"The data set has the splits {', '.join(names)}. Say which: split={names[0]!r}."
        )
    close = [name for name in names if re.fullmatch(re.escape(split) + r"_?\d*", name)]
    if split in files or len(close) == 1:
        return split if split in files else close[0]
    raise DataError(
        f"There is no split {split!r}. Expected one of: {', '.join(names)}.{nearest(split, names)}"
    )


def find_data(
    path: StrPath,
    *,
    split: str | None = None,
    annotations: StrPath | None = None,
    images: StrPath | None = None,
) -> KeypointData:
    """Find and read one split, nothing of it repaired yet; see :func:`kptk.load_coco`.

    Where the images' folder is not given it is the first of ``images/{split}``, ``images``,
    ``{split}``, the data set's folder and the annotation file's folder that holds the first image;
    else the first of them that is there.
    """
    root = Path(path).expanduser()
    if annotations is not None:
        file = Path(annotations).expanduser()
    elif root.is_file():
        file = root
    else:
        files = annotation_files(root)
        split = _choose_split(files, split)
        file = files[split]
    content = read_document(file)
    if images is not None:
        folder = Path(images).expanduser()
        if not folder.is_dir():
            raise DataError(f"The image folder {str(folder)!r} does not exist.")
    elif annotations is not None and root.is_dir():
        folder = root / "images" if (root / "images").is_dir() else root
    else:
        here = file.parent
        base = here.parent if here.name == "annotations" else here
        part = split or _split_name(file)
        folders = [base / "images" / part, base / "images", base / part, base, here]
        first = next((n for image in content["images"] if (n := image.get("file_name"))), None)
        holding = (f for f in folders if first and (f / first).is_file())
        there = (f for f in folders if f.is_dir())
        folder = next(itertools.chain(holding, there), base)
    return KeypointData(
        path=root,
        split=split,
        images_dir=folder,
        annotations_path=file,
        content=content,
        skeleton=Skeleton((), (), ()),
        category_id=-1,
        report=DataReport(rules.title_of(root, split), "records"),
    )


def load_coco(
    path: StrPath,
    *,
    split: str | None = None,
    annotations: StrPath | None = None,
    images: StrPath | None = None,
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
        repair: True repairs what can be repaired, in memory, and says so in ``report``; ``"drop"``
            also leaves out the records that cannot be repaired; False repairs nothing.
        sigmas: OKS sigma of each joint; see :func:`kptk.skeleton.skeleton_of`.
        flip_pairs: pairs (left, right) of 0-based joint indices, for joints not named so.
        check: ``"fast"``: the records, and that the image files are there; ``"full"``: also each
            image; False: the records only.
        progress: show a progress bar during the full check.

    Returns:
        The data. What was found stands in ``report``, repairs on the log too; of the images
        nothing is repaired.

    Raises:
        DataError: there is no such data, or it has errors that were not repaired (of the records
            and missing files; those of images are only reported).
    """
    if repair not in (True, False, "drop") or check not in ("fast", "full", False):
        raise DataError(
            "repair must be True, False or 'drop', check must be 'fast', 'full' or False. "
            f"Got repair={repair!r}, check={check!r}."
        )
    found = find_data(path, split=split, annotations=annotations, images=images)
    needed = (images is not None or found.path.is_dir()) if check else None
    ledger = Ledger([], repair=bool(repair), drop=repair == "drop")
    data = _repaired(found, ledger, sigmas, flip_pairs, needed)
    errors = [finding for finding in ledger.findings if finding.severity == ERROR]
    if errors:
        lines = " ".join(
            f"{e.code}: {e.sentence} ({e.of} {rules.first_ids(e.ids)})" for e in errors
        )
        advice = errors[0].advice
        if repair is False:
            advice = "Repair what can be repaired, in memory, with repair=True."
        elif errors[0].code != "images-folder":
            advice = "Correct the file, or leave these records out with repair='drop'."
        raise DataError(
            f"{data.annotations_path} cannot be used as it is. {lines} {advice} "
            "kptk check lists them all."
        )
    findings = ledger.findings
    if check:
        findings, _ = _look(data, findings, check == "full", progress)
    looked_at = {"fast": "files", "full": "pictures"}.get(str(check), "records")
    data = _reported(data, looked_at, findings)
    # what changes numbers: repairs, and sigmas that were assumed
    for finding in data.report.findings:
        if finding.severity == REPAIRED or finding.code == "sigmas-assumed":
            said = f"{finding.code} ({finding.count}): {finding.sentence}"
            logger.warning("%s: %s", data.report.title, said)
    return data


def _repaired(
    data: KeypointData,
    ledger: Ledger,
    sigmas: Sequence[float] | None,
    flip_pairs: Sequence[tuple[int, int]] | None,
    images_needed: bool | None,
) -> KeypointData:
    """The data with its records repaired; what was wrong goes to the ledger.

    ``images_needed`` None: whether the image files are there is not looked at.
    """
    content = data.content
    rules.repair_images(content, ledger)
    if images_needed is not None:
        checks.repair_files(content, data.images_dir, ledger, needed=images_needed)
    rules.repair_links(content, ledger)
    rules.repair_ids(content, ledger)
    category, skeleton = rules.choose_category(content, ledger, sigmas, flip_pairs)
    rules.repair_people(content, category, len(skeleton), ledger)
    return replace(data, category_id=category, skeleton=skeleton)


def _look(
    data: KeypointData, findings: list[Finding], images: bool, progress: bool
) -> tuple[list[Finding], list[ImageFile] | None]:
    """The findings with those of labels and, with ``images``, of the files; and these files."""
    found = [*findings, *checks.label_findings(data)]
    if not images or any(finding.code == "images-folder" for finding in findings):
        return found, None
    files = checks.scan(data, progress=progress)
    return [*found, *checks.file_findings(data, files), *checks.duplicate_findings(files)], files


def _reported(data: KeypointData, looked_at: str, findings: Sequence[Finding]) -> KeypointData:
    report = DataReport(
        data.report.title, looked_at, rules.in_order(findings), checks.describe(data)
    )
    return replace(data, report=report)


@dataclass(frozen=True, eq=False, repr=False)
class CheckReport:
    """What a look at all splits of a data set found.

    Attributes:
        reports: split → its report. Errors that ``load_coco`` repairs are errors here: other
            programs that read the files do not repair them.
        between: what the splits have in common and should not: copies of images.
        files: split → its data, and so where that lies.
    """

    reports: dict[str, DataReport]
    between: tuple[Finding, ...] = ()
    files: dict[str, KeypointData] = field(default_factory=dict)

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
            parts.append("<p><b>Between the splits</b></p>" + rules.findings_table(self.between))
        return "".join(parts)


def check_coco(
    path: StrPath,
    *,
    annotations: StrPath | None = None,
    images: StrPath | None = None,
    pictures: bool = True,
    sigmas: Sequence[float] | None = None,
    flip_pairs: Sequence[tuple[int, int]] | None = None,
    progress: bool = True,
) -> CheckReport:
    """Check every split of a data set, and the splits against each other.

    Nothing is raised for what is wrong with the data: it is found. Nothing is written.

    Args:
        path: the data set's folder or one annotation file; see :func:`kptk.load_coco`.
        annotations: one annotation file, when it is not found from ``path``.
        images: the image folder, when it is not found from ``path``.
        pictures: whether every image is decoded and compared; otherwise only the records and
            the files' names are looked at.
        sigmas: OKS sigma of each joint.
        flip_pairs: pairs (left, right) of 0-based joint indices.
        progress: show a progress bar.

    Raises:
        DataError: there is no data set there.
    """
    root = Path(path).expanduser()
    alone = annotations is not None or root.is_file()
    splits = annotation_files(root) if annotations is None else [Path(annotations).stem]
    reports: dict[str, DataReport] = {}
    files: dict[str, KeypointData] = {}
    scanned: dict[str, list[ImageFile]] = {}
    for split in splits:
        ledger = Ledger([], repair=False, drop=False)
        try:
            found = find_data(
                root, split=None if alone else split, annotations=annotations, images=images
            )
            needed = images is not None or root.is_dir()
            data = _repaired(found, ledger, sigmas, flip_pairs, needed)
        except DataError as error:
            finding = Finding("file-unusable", ERROR, "file", (split,), str(error))
            reports[split] = DataReport(f"{root.name} {split}", "records", (finding,))
            continue
        files[split] = data
        findings, seen = _look(data, ledger.findings, pictures, progress)
        looked_at = "files" if seen is None else "pictures"
        if seen is not None:
            scanned[split] = seen
        reports[split] = _reported(data, looked_at, findings).report
    between: list[Finding] = []
    for pair in itertools.combinations(files, 2):  # the later one is the one to be kept clean
        if set(pair) <= set(scanned):
            between += checks.duplicate_findings(scanned[pair[0]], scanned[pair[1]], pair)
            continue
        known, others = (
            {
                files[split].images_dir / i["file_name"]: i["id"]
                for i in files[split].content["images"]
            }
            for split in pair
        )
        shared = tuple((known[path], others[path]) for path in others if path in known)
        sentence = f"Image files are the same between {pair[0]} and {pair[1]}."
        advice = f"Remove them from {pair[0]}: what is measured on {pair[1]} is too good."
        if shared:
            between.append(Finding("leak-exact", ERROR, "pair", shared, sentence, advice))
    return CheckReport(reports, tuple(between), files)
