"""Changes of joints: one kind of joint error, or one joint, put right.

As in coco-analyze a joint keeps the quality that its error left it: what a jittered one lacks up to
good, a missed one up to a jitter, an inverted or swapped one as near as it is to the wrong joint;
with the factor 2 of the distance that is missing there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from kptk.analysis.bundle import Bool, Bundle, Float, Index
from kptk.analysis.changes import GROUPS, Change
from kptk.analysis.joints import INVERSION, JITTER, JOINT_LABELS, MISS, SWAP, JointLabels
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracles import oracle_joints
from kptk.analysis.poses import Poses

JOINT_FIXES = {JITTER: "fix jitter", INVERSION: "fix inversion", SWAP: "fix swap",
               MISS: "fix miss"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of a scored pose and a person whose joints are put right.

    Attributes:
        row: (n,) rows of the poses.
        person: (n,) index into the people.
        joints: labels, n rows.
    """

    row: Index
    person: Index
    joints: JointLabels


def scored_pairs(
    bundle: Bundle, found: Poses, options: AnalysisOptions, joints: JointLabels
) -> Pairs:
    """Of the pairs whose joints are labelled, those whose pose is scored and whose person counts.

    Args:
        bundle: candidates and people.
        found: the pipeline's poses.
        options: ``min_area`` is that of the smallest person.
        joints: labels of candidates' joints.
    """
    place = np.full(len(bundle.candidates) + 1, -1, np.intp)
    place[found.candidate] = np.arange(len(found))
    row = place[joints.candidate]
    large = bundle.people.area[joints.person] >= options.min_area
    chosen = np.flatnonzero((row >= 0) & large)
    taken = JointLabels(*(getattr(joints, f.name)[chosen] for f in fields(JointLabels)))
    return Pairs(row[chosen], taken.person, taken)


def error_changes(
    bundle: Bundle, found: Poses, options: AnalysisOptions, pairs: Pairs
) -> Iterator[Change]:
    """Each kind of joint error put right, and whole people flipped.

    Args:
        bundle: candidates and people.
        found: the pipeline's poses.
        options: the similarities that jitters and misses are put right to.
        pairs: of :func:`scored_pairs`.
    """
    for label, name in JOINT_FIXES.items():
        wrong = pairs.joints.label == JOINT_LABELS.index(label)
        similarity = _left(label, pairs.joints.best, options)
        better = oracle_joints(
            bundle, found.points[pairs.row], pairs.person, found.crop[pairs.row], similarity
        )
        yield _moved(name, GROUPS[2], found, pairs, better, wrong, _HOW[label])
    whole = np.repeat(pairs.joints.flipped[:, None], len(bundle.skeleton), axis=1)
    turned = found.points[pairs.row][:, bundle.skeleton.flip_order]
    note = "poses that fit better with left and right exchanged are exchanged"
    change = _moved("flip whole people", GROUPS[2], found, pairs, turned, whole, note)
    yield replace(change, changed=int(pairs.joints.flipped.sum()))


_HOW = {
    JITTER: "joints that are a little off become good",
    INVERSION: "joints on their left or right twin go to their own place, as near as they are now",
    SWAP: "joints on another person go to their own place, as near as they are now",
    MISS: "joints that are nowhere become jitters",
}


def _left(label: str, best: Float, options: AnalysisOptions) -> Float:
    """(n, K) the similarity that a joint has once the error is put right."""
    fixed = {JITTER: options.good_similarity, MISS: options.miss_similarity}
    if label in fixed:
        return np.full(best.shape, fixed[label])
    return np.clip(np.nan_to_num(best, nan=1.0), 1e-12, 1.0)


def _moved(
    name: str, group: str, found: Poses, pairs: Pairs, better: Float, which: Bool, note: str
) -> Change:
    """The change that puts some joints ``which`` (n, K) of the pairs where ``better`` has them."""
    points = found.points.copy()
    points[pairs.row] = np.where(which[..., None], better, points[pairs.row])
    return Change(name, group, replace(found, points=points), int(which.sum()), note)


def joint_changes(
    bundle: Bundle, found: Poses, options: AnalysisOptions, pairs: Pairs
) -> Iterator[Change]:
    """Each joint made good wherever it is not; see :func:`error_changes`."""
    limit = options.good_similarity
    labels = pairs.joints
    below = ~(labels.similarity >= limit) & (labels.label >= 0)
    better = oracle_joints(
        bundle, found.points[pairs.row], pairs.person, found.crop[pairs.row], limit
    )
    for k, name in enumerate(bundle.skeleton.names):
        which = below & (np.arange(below.shape[1]) == k)
        note = "this joint becomes good wherever it is not"
        yield _moved(name, GROUPS[3], found, pairs, better, which, note)
