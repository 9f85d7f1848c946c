"""Check a whole data set: every split, and what the splits share."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kptk.coco import layout
from kptk.coco.data import KeypointData, mended, with_report
from kptk.coco.duplicates import duplicate_findings
from kptk.coco.layout import DataFiles, find_data
from kptk.coco.pictures import Picture, file_findings, scan
from kptk.coco.records import Ledger
from kptk.coco.report import ERROR, DataReport, Finding, findings_table, in_order
from kptk.errors import DataError


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
    splits = layout.annotation_files(root) if annotations is None else [Path(annotations).stem]
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
