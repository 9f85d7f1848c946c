"""Which pages a browser has: one an image, or one a person, filtered and in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kptk.analysis.geometry import keypoint_similarity, oks
from kptk.errors import InputError
from kptk.widgets.album import Album, Float, poses_of_records, truth_of_records
from kptk.widgets.overlay import MISSED

if TYPE_CHECKING:
    import pandas as pd

BY_IMAGE, WORST_FIRST, BEST_FIRST = "by image", "worst OKS first", "best OKS first"
ORDERS = (BY_IMAGE, WORST_FIRST, BEST_FIRST)
_COLUMNS = ("image_id", "annotation_id", "label")


@dataclass(frozen=True)
class Page:
    """An image, or one annotated person on it."""

    image_id: int
    annotation_id: int | None = None


@dataclass(frozen=True)
class Filters:
    """What pages there are to be.

    Attributes:
        images: ids; None: all.
        scores: images with a detected box whose score lies between; (0, 1): all images.
        label: people with this label of the analysis; None: any.
        joint: people with this joint missed (similarity below .5) on their annotated box.
        only: annotation ids; None: all.
        order: one of :data:`ORDERS`.
    """

    images: frozenset[int] | None = None
    scores: tuple[float, float] = (0.0, 1.0)
    label: str | None = None
    joint: int | None = None
    only: tuple[int, ...] | None = None
    order: str = BY_IMAGE

    @property
    def of_people(self) -> bool:
        """Whether there is a page for each person rather than for each image."""
        asked = (self.label, self.joint, self.only)
        return self.order != BY_IMAGE or any(value is not None for value in asked)


@dataclass(frozen=True, eq=False)
class Likeness:
    """How well the pose model does on annotated boxes, person by person.

    Attributes:
        image_id: annotation id → image id.
        oks: annotation id → OKS; NaN for people without labelled joints.
        joints: annotation id → (K,) keypoint similarity, NaN for joints that are not labelled.
    """

    image_id: Mapping[int, int]
    oks: Mapping[int, float]
    joints: Mapping[int, Float]


def likeness(album: Album) -> Likeness:
    """Compare the poses on annotated boxes with the annotations, all at once."""
    records = list(album.given)
    by_id = {a["id"]: a for image_id in album.image_ids for a in album.people(image_id)}
    records = [record for record in records if record["annotation_id"] in by_id]
    joints = len(album.skeleton)
    poses = poses_of_records(records, joints)
    truth = truth_of_records([by_id[r["annotation_id"]] for r in records], joints)
    sigmas = np.asarray(album.skeleton.sigmas, np.float64)
    near = keypoint_similarity(poses.points, truth.points, truth.area, sigmas)
    whole = oks(poses.points, truth.points, truth.area, sigmas)
    ids = truth.ids.tolist()
    return Likeness(
        {i: by_id[i]["image_id"] for i in ids},
        dict(zip(ids, whole.tolist(), strict=True)),
        dict(zip(ids, near, strict=True)),
    )


def check_persons(persons: object) -> pd.DataFrame | None:
    """Return a table with a row a person.

    Raises:
        InputError: it is something else, or lacks a column.
    """
    import pandas as pd

    if persons is None:
        return None
    if not isinstance(persons, pd.DataFrame):
        raise InputError(
            "persons must be a DataFrame such as the persons of kptk.analyze. "
            f"Got {type(persons).__name__}."
        )
    missing = [name for name in _COLUMNS if name not in persons]
    if missing:
        raise InputError(
            f"persons must have the columns {', '.join(_COLUMNS)}. {', '.join(missing)} not there."
        )
    return persons


def find_pages(
    album: Album, filters: Filters, persons: pd.DataFrame | None, known: Likeness | None
) -> list[Page]:
    """The pages that pass, in order.

    Args:
        album: what there is.
        filters: what is asked for.
        persons: labels: ``image_id, annotation_id, label``; needed for ``label``.
        known: needed for ``joint`` and for orders by OKS, where ``persons`` has no ``oks``.
    """
    images = [i for i in album.image_ids if _passes(album, i, filters)]
    if not filters.of_people:
        return [Page(i) for i in images]
    place = {image_id: n for n, image_id in enumerate(images)}
    found = [
        (annotation_id, image_id)
        for annotation_id, image_id in _people(album, filters, persons, images)
        if image_id in place and _missed(filters, known, annotation_id)
    ]
    if filters.order == BY_IMAGE:
        if filters.only is None:
            found.sort(key=lambda pair: (place[pair[1]], pair[0]))
    else:
        worth = _oks_of(persons, known)
        sign = 1 if filters.order == WORST_FIRST else -1
        found = [pair for pair in found if np.isfinite(worth.get(pair[0], np.nan))]
        found.sort(key=lambda pair: (sign * worth[pair[0]], pair[0]))
    return [Page(image_id, annotation_id) for annotation_id, image_id in found]


def _passes(album: Album, image_id: int, filters: Filters) -> bool:
    if filters.images is not None and image_id not in filters.images:
        return False
    low, high = filters.scores
    if (low, high) == (0.0, 1.0):
        return True
    return any(low <= score <= high for score in album.scores_of(image_id))


def _people(
    album: Album, filters: Filters, persons: pd.DataFrame | None, images: Sequence[int]
) -> list[tuple[int, int]]:
    """(annotation id, image id) of the people asked for."""
    if filters.label is not None and persons is not None:
        rows = persons[persons["label"] == filters.label]
        pairs = list(zip(rows["annotation_id"], rows["image_id"], strict=True))
        found = [(int(a), int(i)) for a, i in pairs]
    else:
        found = [(a["id"], i) for i in images for a in album.people(i) if not a["iscrowd"]]
    if filters.only is None:
        return found
    where = dict(found)
    return [(number, where[number]) for number in filters.only if number in where]


def _missed(filters: Filters, known: Likeness | None, annotation_id: int) -> bool:
    if filters.joint is None:
        return True
    if known is None or annotation_id not in known.joints:
        return False
    return bool(known.joints[annotation_id][filters.joint] < MISSED)


def _oks_of(persons: pd.DataFrame | None, known: Likeness | None) -> Mapping[int, float]:
    """The analysis's OKS, of what was detected, else that on annotated boxes."""
    if persons is not None and "oks" in persons:
        return dict(zip(persons["annotation_id"], persons["oks"].astype(float), strict=True))
    return {} if known is None else known.oks
