"""What can be said of any pipeline, with a game or without: labels and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from kptk.analysis.assign import Assignment, assign
from kptk.analysis.bundle import Bundle, Float, Index
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.tables import DETECTED, GROUND_TRUTH

if TYPE_CHECKING:
    import pandas as pd

    from kptk.analysis.found import Found
    from kptk.analysis.joints import JointLabels
    from kptk.analysis.labels import PersonLabels
    from kptk.analysis.rates import Rate

SLICES = (
    "size", "n_keypoints", "n_visible", "occlusion", "crowding", "n_overlaps", "truncation",
    "box_iou", "box_score",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Labelled:
    """Labels of people, detections and joints, and the tables of them.

    Attributes:
        bundle: candidates, poses and people as arrays.
        options: the thresholds.
    """

    bundle: Bundle
    options: AnalysisOptions

    @cached_property
    def assignment(self) -> Assignment:
        """Which detection's box is whose, by IoU."""
        return assign(self.bundle, min_iou=self.options.match_iou)

    @cached_property
    def found(self) -> Found:
        """What the labels of people and of detections share."""
        from kptk.analysis.found import find

        return find(self.bundle, self.options)

    @cached_property
    def person_labels(self) -> PersonLabels:
        """The one label of every person."""
        from kptk.analysis.labels import label_people

        return label_people(self.bundle, self.options, self.found)

    @cached_property
    def detection_types(self) -> Index:
        """(D,) index into ``labels.DETECTION_TYPES``; -1 for candidates below the threshold."""
        from kptk.analysis.labels import type_detections

        return type_detections(self.bundle, self.options, self.found)

    @cached_property
    def rates(self) -> Mapping[str, Rate]:
        """Error rates of the detector and of the keypoint model, with intervals."""
        from kptk.analysis.labels import error_rates

        return error_rates(self.person_labels, self.options.confidence)

    @cached_property
    def joint_labels(self) -> JointLabels:
        """Joints of the detections: pairs of a pose and a person by OKS, as coco-analyze pairs."""
        from kptk.analysis.joints import oks_pairs

        options = self.options
        candidate, person = oks_pairs(self.bundle, options.pair_oks, min_area=options.min_area)
        return self._label(person, self.bundle.candidates.points[candidate], candidate)

    @cached_property
    def joint_labels_given(self) -> JointLabels:
        """Joints of the poses on the ground-truth boxes of people that must be found."""
        people = self.bundle.people
        chosen = self.bundle.evaluated & people.has_given & (people.area >= self.options.min_area)
        person = np.flatnonzero(chosen)
        return self._label(person, people.given[person], np.full(len(person), -1, np.intp))

    def _label(self, person: Index, points: Float, candidate: Index) -> JointLabels:
        from kptk.analysis.joints import label_joints

        limits = self.options.good_similarity, self.options.miss_similarity
        return label_joints(self.bundle, person, points, candidate, *limits)

    @cached_property
    def persons(self) -> pd.DataFrame:
        """One row for each person that must be found: ids, label, box, OKS, slices, tags."""
        from kptk.analysis.slices import person_columns
        from kptk.analysis.tables import person_table

        return person_table(self.bundle, self.person_labels, person_columns(self.bundle))

    @cached_property
    def unlabelled(self) -> pd.DataFrame:
        """One row for each single person without a labelled joint: detected or missed."""
        from kptk.analysis.tables import unlabelled_table

        return unlabelled_table(self.bundle, self.assignment.candidate)

    @cached_property
    def detections(self) -> pd.DataFrame:
        """One row for each candidate at or above the threshold: box, scores, type, whose."""
        from kptk.analysis.labels import DETECTION_TYPES
        from kptk.analysis.tables import detection_table

        return detection_table(
            self.bundle, self.detection_types, DETECTION_TYPES, self.assignment.person
        )

    @cached_property
    def joints(self) -> pd.DataFrame:
        """One row for each labelled joint of each pose, on detected and ground-truth boxes."""
        import pandas as pd

        from kptk.analysis.joints import JOINT_LABELS
        from kptk.analysis.tables import joint_table

        bundle, found, given = self.bundle, self.joint_labels, self.joint_labels_given
        tables = [
            joint_table(
                bundle, found, bundle.candidates.points[found.candidate], JOINT_LABELS, DETECTED
            ),
            joint_table(
                bundle, given, bundle.people.given[given.person], JOINT_LABELS, GROUND_TRUTH
            ),
        ]
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def transitions(self) -> pd.DataFrame:
        """How many joints went from which label on the ground-truth box to which on the detected.

        Rows: on the ground-truth box; columns: on the detected box; the same people in both.
        """
        import pandas as pd

        from kptk.analysis.joints import JOINT_LABELS, transition_matrix

        counts = transition_matrix(self.joint_labels_given, self.joint_labels)
        names = list(JOINT_LABELS)
        return pd.DataFrame(
            counts,
            index=pd.Index(names, name="on ground-truth box"),
            columns=pd.Index(names, name="on detected box"),
        )

    @cached_property
    def sweep(self) -> pd.DataFrame:
        """One row a detection threshold: AP, precision, recall, people without a box."""
        from kptk.analysis.sweep import sweep_thresholds

        return sweep_thresholds(self.bundle, self.options)

    def slices(self, by: str | Sequence[str | Sequence[str]] = SLICES) -> pd.DataFrame:
        """Error rates of groups of people.

        Args:
            by: columns of :attr:`persons`, one or several, each for itself; columns together as a
                tuple. ``"joint"`` and ``"side"``: of the joints of detections instead.

        Returns:
            Columns ``slice, value, n, errors, rate, low, high, lift, grey``, by lift times n.

        Raises:
            InputError: there is no such column.
        """
        from kptk.analysis.slices import slice_table

        limits = self.options.min_cell, self.options.confidence
        if by in ("joint", "side"):
            joints = self.joints[self.joints["on"] == DETECTED]
            return slice_table(
                joints, [str(by)], right="good", min_cell=limits[0], confidence=limits[1]
            )
        columns = [by] if isinstance(by, str) else list(by)
        return slice_table(self.persons, columns, min_cell=limits[0], confidence=limits[1])
