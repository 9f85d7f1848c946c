"""The bundle: all that the analysis of errors looks at, as arrays; made once, without the models.

Everything else in this package is array work on it, so sliders and what-ifs need no inference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.skeleton import Skeleton

Float = NDArray[np.float64]
Index = NDArray[np.intp]
Bool = NDArray[np.bool_]
Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class People:
    """The ground truth: G annotated people (crowds too), ordered by image, then as in the file.

    Attributes:
        annotation_id: (G,) ids.
        image: (G,) index into ``Bundle.image_ids``.
        box: (G, 4) pixels, (x1, y1, x2, y2).
        area: (G,) square pixels, as annotated: what OKS is scaled by.
        points: (G, K, 3) x, y, v; NaN coordinates where v is 0.
        crowd: (G,) a crowd region.
        ignored: (G,) need not be found in the keypoint evaluation: a crowd, ``ignore: 1``, or no
            labelled joint.
        given: (G, K, 3) x, y, score: the pose on the ground-truth box; NaN where there is none.
    """

    annotation_id: NDArray[np.int64]
    image: Index
    box: Float
    area: Float
    points: Float
    crowd: Bool
    ignored: Bool
    given: Float

    def __len__(self) -> int:
        return len(self.annotation_id)

    @cached_property
    def labelled(self) -> Bool:
        """(G, K) joints that are annotated, visible or occluded."""
        labelled: Bool = self.points[..., 2] > 0
        return labelled

    @cached_property
    def has_given(self) -> Bool:
        """(G,) whether there is a pose on the ground-truth box."""
        placed = np.isfinite(self.given[..., 0]) & np.isfinite(self.given[..., 1])
        some: Bool = placed.sum(axis=1) > 0
        return some


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the pipeline found: D boxes, ordered by image, then descending box score.

    Attributes:
        image: (D,) index into ``Bundle.image_ids``.
        box: (D, 4) pixels, (x1, y1, x2, y2).
        score: (D,) of the box.
        points: (D, K, 3) x, y, score; NaN where there is no joint.
        crop: (D, 4) pixels, (x1, y1, x2, y2): the rectangle that the pose model saw.
    """

    image: Index
    box: Float
    score: Float
    points: Float
    crop: Float

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, eq=False)
class Bundle:
    """One pipeline on one data set.

    Attributes:
        name: the data.
        skeleton: joints and their OKS sigmas.
        image_ids: (I,) ids, ascending.
        images: the COCO image records, in that order.
        people: the ground truth.
        candidates: what was found, from the lowest score up.
        threshold: the pipeline's: candidates at or above it are its detections.
        input_size: (height, width) of the pose model's input, which sets the crops' aspect.
        two_stage: whether the candidates are boxes of a detector with a pose on each. False for a
            file of keypoint results: boxes are then only drawn round the joints, ``score`` is the
            pose's, and nothing that asks what a box caused can be said.
        provenance: where it all comes from.
        notes: what was mended or assumed.
    """

    name: str
    skeleton: Skeleton
    image_ids: NDArray[np.int64]
    images: Sequence[Mapping[str, Any]]
    people: People
    candidates: Candidates
    threshold: float
    input_size: tuple[int, int]
    two_stage: bool
    provenance: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @cached_property
    def detected(self) -> Bool:
        """(D,) candidates that the pipeline emits: at or above its threshold."""
        kept: Bool = self.candidates.score >= self.threshold
        return kept

    @cached_property
    def sigmas(self) -> Float:
        """(K,) OKS sigmas."""
        return np.asarray(self.skeleton.sigmas, np.float64)

    @cached_property
    def evaluated(self) -> Bool:
        """(G,) people that must be found."""
        must: Bool = ~self.people.ignored
        return must

    @cached_property
    def given_crop(self) -> Float:
        """(G, 4) the crop of each ground-truth box."""
        return crops(self.people.box, self.input_size)

    def pairs(self) -> tuple[Index, Index]:
        """Every candidate with every person of its image: indices (P,), (P,), by candidate."""
        d_start = np.searchsorted(self.candidates.image, np.arange(len(self.image_ids)))
        g_start = np.searchsorted(self.people.image, np.arange(len(self.image_ids)))
        d_count = np.diff(np.append(d_start, len(self.candidates)))
        g_count = np.diff(np.append(g_start, len(self.people)))
        counts = d_count * g_count
        owner = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        d, g = np.divmod(place, np.maximum(g_count[owner], 1))
        return d_start[owner] + d, g_start[owner] + g

    def companions(self, person: Index) -> tuple[Index, Index]:
        """Each of n people with everybody else in the image: places (P,) in the n, others (P,)."""
        image = self.people.image
        first = np.searchsorted(image, image[person])
        counts = np.searchsorted(image, image[person], side="right") - first
        row = np.repeat(np.arange(len(person)), counts)
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        other = first[row] + place
        apart = other != person[row]
        return row[apart], other[apart]


def crops(boxes: Float, input_size: tuple[int, int]) -> Float:
    """(N, 4) the rectangles (x1, y1, x2, y2) that the pose model sees of boxes (N, 4)."""
    from kptk.pose import crop_boxes

    centers, sizes = crop_boxes(boxes.astype(np.float32), input_size)
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)
