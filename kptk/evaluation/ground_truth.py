"""Ground truth and results made fit for pycocotools: each of its pitfalls is met here.

What is repaired is said in the notes, which become part of the evaluation's provenance.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kptk.coco import KeypointData
from kptk.coco.load import read_document
from kptk.coco.rules import (
    Ledger,
    choose_category,
    first_ids,
    repair_ids,
    repair_links,
    repair_people,
    title_of,
)
from kptk.errors import DataError
from kptk.evaluation.matching import Kind
from kptk.files import file_hash
from kptk.skeleton import Skeleton

Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Annotations that pycocotools can take.

    Attributes:
        content: the COCO document, of the categories that are evaluated.
        skeleton: joints of the people; None for boxes of any categories.
        name: how the data is called in texts.
        sha256: of the annotation file; None if there is none.
        notes: what was repaired.
    """

    content: Record
    skeleton: Skeleton | None
    name: str
    sha256: str | None
    notes: tuple[str, ...] = field(default=())

    def only(self, image_ids: Collection[int]) -> GroundTruth:
        """The same with these images only.

        Raises:
            DataError: it does not have all of them.
        """
        chosen = set(image_ids)
        strange = chosen - {image["id"] for image in self.content["images"]}
        if strange:
            raise DataError(
                f"The predictions are on {len(strange)} images that {self.name} does not have, "
                f"such as {min(strange)}. Are they of another data set?"
            )
        kept = {
            "images": [i for i in self.content["images"] if i["id"] in chosen],
            "annotations": [a for a in self.content["annotations"] if a["image_id"] in chosen],
        }
        return replace(self, content={**self.content, **kept})


def truth_of_data(data: KeypointData) -> GroundTruth:
    """The people of loaded data."""
    return GroundTruth(
        _only_category(data.content, data.category_id),
        data.skeleton,
        title_of(data.path, data.split),
        data.sha256,
        tuple(finding.sentence for finding in data.report.repairs),
    )


def read_truth(
    annotations: str | os.PathLike[str] | Mapping[str, Any] | KeypointData,
    kind: Kind,
    sigmas: Sequence[float] | None,
) -> GroundTruth:
    """Read and repair an annotation file; the file itself is not changed.

    Args:
        annotations: a COCO annotation file, its content, or loaded data.
        kind: ``"keypoints"``: the people; ``"bbox"``: the boxes of every category (of loaded data
            the people's).
        sigmas: OKS sigma of each joint; None: by the joints' names.

    Raises:
        DataError: it cannot be read or repaired.
    """
    if isinstance(annotations, KeypointData):
        found = truth_of_data(annotations)
        return found if kind == "keypoints" else replace(found, skeleton=None)
    name, sha256 = "annotations", None
    if isinstance(annotations, Mapping):
        content = dict(annotations)
        for key in ("images", "annotations", "categories"):
            if not is_list(content.get(key)):
                raise DataError(
                    "Annotations must be a COCO document with the lists images, annotations and "
                    f"categories. {key!r} is {'missing' if key not in content else 'no list'}."
                )
    else:
        path = Path(annotations).expanduser()
        content = read_document(path)
        name, sha256 = path.name, file_hash(path)
    content = {  # the repairs must not reach the caller's records
        key: [dict(r) if isinstance(r, Mapping) else r for r in value] if is_list(value) else value
        for key, value in content.items()
    }
    ledger = Ledger([], repair=True, drop=False)
    repair_links(content, ledger)
    repair_ids(content, ledger)
    skeleton = None
    if kind == "keypoints":
        category, skeleton = choose_category(content, ledger, sigmas, None)
        content = _only_category(content, category)
        repair_people(content, category, len(skeleton), ledger)
    else:
        for number in sorted(c["id"] for c in content["categories"]):
            repair_people(content, number, 0, ledger)
    errors = [finding for finding in ledger.findings if finding.severity == "error"]
    if errors:
        raise DataError(
            f"{name} cannot be used as it is. "
            + " ".join(f"{f.sentence} ({f.of} {first_ids(f.ids)})" for f in errors)
            + " Correct the file; kptk check lists everything."
        )
    notes = tuple(f"{finding.sentence} ({finding.count})" for finding in ledger.findings)
    return GroundTruth(content, skeleton, name, sha256, notes)


def is_list(value: Any) -> bool:
    """A list or tuple."""
    return isinstance(value, list | tuple)


def _only_category(content: Mapping[str, Any], category_id: int) -> Record:
    """The document with one category and its annotations."""
    return {
        **content,
        "categories": [c for c in content["categories"] if c["id"] == category_id],
        "annotations": [a for a in content["annotations"] if a["category_id"] == category_id],
    }


def honour_ignore(content: Record, kind: str) -> tuple[Record, int]:
    """Make ``ignore: 1`` count, which pycocotools discards.

    Such a person need not be found, and finding them is no mistake. For keypoints they count as
    one without labelled points, for boxes their area is beyond every size: either way pycocotools
    itself then ignores them, once, and not as often as a crowd.

    Returns:
        The document, and how many annotations that concerned.
    """
    flagged = [a for a in content["annotations"] if a.get("ignore") and not a.get("iscrowd")]
    if not flagged:
        return content, 0
    change: Record = {"num_keypoints": 0} if kind == "keypoints" else {"area": math.inf}
    chosen = {id(a) for a in flagged}
    changed = [{**a, **change} if id(a) in chosen else a for a in content["annotations"]]
    return {**content, "annotations": changed}, len(flagged)
