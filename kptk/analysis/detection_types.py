"""What each detection is: a person found, or which kind of false alarm."""

from __future__ import annotations

import numpy as np

from kptk.analysis.bundle import Bool, Bundle, Index
from kptk.analysis.found import Found, find
from kptk.analysis.joints import oks_of_pairs
from kptk.analysis.options import AnalysisOptions

TRUE_POSITIVE, IGNORED, DUPLICATE, BAD_POSE, BADLY_LOCALISED, BACKGROUND = (
    "true positive", "ignored", "duplicate", "bad pose", "badly localised", "background",
)  # fmt: skip
DETECTION_TYPES = (TRUE_POSITIVE, IGNORED, DUPLICATE, BAD_POSE, BADLY_LOCALISED, BACKGROUND)


def type_detections(bundle: Bundle, options: AnalysisOptions, found: Found | None = None) -> Index:
    """Type every detection, by the first that holds; t is ``oks_threshold``.

    - *true positive*: its pose is matched to a person that must be found, OKS from t up.
    - *ignored*: it counts neither for nor against: its pose is matched to, or its box is on,
      somebody who need not be found (crowds, people without labelled joints); or it is not among
      the image's best ``max_poses``.
    - *bad pose*: the box is a person's own, but the pose does not reach t for him.
    - *duplicate*: the pose reaches t for somebody who has a better one, or OKS-NMS takes it away,
      or the box overlaps somebody by at least ``match_iou`` who has a better box.
    - *badly localised*: the largest IoU of the box with a person is at least ``near_iou``.
    - *background*: everything else. With a high score it may be somebody whom nobody annotated.

    Without boxes (``two_stage`` False) no box is anybody's: a pose that reaches ``pair_oks`` for
    somebody, but not t, is a bad one, and nothing is badly localised.

    ``found`` is what :func:`kptk.analysis.found.find` gives; None: it is worked out here.

    Returns:
        (D,) index into ``DETECTION_TYPES``; -1 for candidates below the threshold.
    """
    found = find(bundle, options) if found is None else found
    share, _ = found.near.best_of_candidates(len(bundle.candidates))
    wanted, others = _matched(bundle, found)
    cases = [
        ~bundle.detected,
        wanted,
        others | _on_ignored(bundle, found) | (found.left & ~found.counted),
        _bad_pose(bundle, found, options),
        (found.best_oks >= options.oks_threshold) | ~found.left | (share >= options.match_iou),
        share >= options.near_iou,
    ]
    order = (TRUE_POSITIVE, IGNORED, BAD_POSE, DUPLICATE, BADLY_LOCALISED)
    names = [-1, *(DETECTION_TYPES.index(name) for name in order)]
    return np.select(cases, names, DETECTION_TYPES.index(BACKGROUND)).astype(np.intp)


def _matched(bundle: Bundle, found: Found) -> tuple[Bool, Bool]:
    """(D,) poses matched to people that must be found, and (D,) those matched to others."""
    wanted, others = np.zeros((2, len(bundle.candidates)), np.bool_)
    wanted[found.pose[(found.pose >= 0) & bundle.evaluated]] = True
    others[found.pose[(found.pose >= 0) & ~bundle.evaluated]] = True
    return wanted, others


def _on_ignored(bundle: Bundle, found: Found) -> Bool:
    on: Bool = (found.owner >= 0) & bundle.people.ignored[found.owner]
    return on


def _bad_pose(bundle: Bundle, found: Found, options: AnalysisOptions) -> Bool:
    """(D,) whether the pose is bad though the box is good; without boxes: whether it is near."""
    t = options.oks_threshold
    if not bundle.two_stage:
        near: Bool = (found.best_oks >= options.pair_oks) & (found.best_oks < t)
        return near
    rows = np.flatnonzero((found.owner >= 0) & ~_on_ignored(bundle, found))
    bad = np.zeros(len(bundle.candidates), np.bool_)
    bad[rows] = oks_of_pairs(bundle, rows, found.owner[rows]) < t
    return bad
