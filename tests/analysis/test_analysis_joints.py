"""Labels of joints: the counts of the original coco-analyze, and each rule by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kptk.analysis.bundle import Bundle, bundle_of_results
from kptk.analysis.labels import (
    JOINT_LABELS,
    JointLabels,
    label_joints,
    oks_pairs,
    pair_poses,
    transition_matrix,
)
from kptk.evaluation.ground_truth import read_truth
from kptk.geometry import oks
from kptk.skeleton import COCO17
from tests.analysis.bundles import bundle, found, person, pose, random_bundle

A, FAR = (100, 100, 200, 400), (400, 100, 500, 400)
LEFT_WRIST, RIGHT_WRIST, NOSE = 9, 10, 0


def labels_of(scene: Bundle, points: np.ndarray, who: int = 0) -> JointLabels:
    return label_joints(scene, np.array([who]), points[None], np.array([-1]))


def names(labels: JointLabels) -> list[str]:
    return [JOINT_LABELS[i] if i >= 0 else "" for i in labels.label[0]]


def reach(similarity: float, joint: int, area: float = 30_000) -> float:
    """Distance at which a joint has a similarity: by hand from exp(-d^2 / (2 area (2 s)^2))."""
    return float(np.sqrt(-2 * np.log(similarity) * area) * 2 * COCO17.sigmas[joint])


def test_golden_counts(reference_dir: Path) -> None:
    """The original coco-analyze on MMPose's example: 12 pairs."""
    truth = read_truth(reference_dir / "eval" / "coco4_gt.json", "keypoints", None)
    scene = bundle_of_results(reference_dir / "eval" / "coco4_predictions.json", truth)
    candidate, who = oks_pairs(scene, min_area=32**2)
    labels = label_joints(scene, who, scene.candidates.keypoints[candidate], candidate)
    assert len(labels) == 12
    expected = {"good": 160, "jitter": 8, "inversion": 3, "swap": 0, "miss": 10}
    assert labels.counts == expected


@pytest.mark.parametrize(
    ("similarity", "expected"),
    [(1.0, "good"), (0.86, "good"), (0.84, "jitter"), (0.51, "jitter"), (0.49, "miss")],
)
def test_by_distance(similarity: float, expected: str) -> None:
    points = pose(A)
    points[NOSE, 0] -= reach(similarity, NOSE)
    labels = labels_of(bundle([person(A)]), points)
    assert names(labels) == [expected] + ["good"] * 16
    assert labels.similarity[0, NOSE] == pytest.approx(similarity)
    assert labels.best[0, NOSE] == pytest.approx(similarity)


def test_inversion_and_swap() -> None:
    """The left wrist on the own right one; the right wrist on somebody else's left one."""
    scene = bundle([person(A), person(FAR)])
    points = pose(A)
    points[LEFT_WRIST] = pose(A)[RIGHT_WRIST]
    points[RIGHT_WRIST] = pose(FAR)[LEFT_WRIST]
    labels = labels_of(scene, points)
    assert names(labels)[LEFT_WRIST] == "inversion"
    assert names(labels)[RIGHT_WRIST] == "swap"
    assert labels.whose[0].tolist() == [0] * 10 + [1] + [0] * 6
    assert labels.best[0, [LEFT_WRIST, RIGHT_WRIST]].tolist() == [1, 1]
    assert labels.counts == {"good": 15, "jitter": 0, "inversion": 1, "swap": 1, "miss": 0}


def test_scaled_by_the_others_area() -> None:
    """A joint 10 px from a small person's, who has 100 px^2: no swap; with 30,000 px^2: a swap."""
    points = pose(A)
    points[LEFT_WRIST] = pose(FAR)[LEFT_WRIST] + [10, 0, 0]
    for area, expected in ((100.0, "miss"), (30_000.0, "swap")):
        labels = labels_of(bundle([person(A), person(FAR, area=area)]), points)
        assert names(labels)[LEFT_WRIST] == expected


def test_only_people_of_the_image_count() -> None:
    points = pose(A)
    points[LEFT_WRIST] = pose(FAR)[LEFT_WRIST]
    assert names(labels_of(bundle([person(A), person(FAR, 1)]), points))[LEFT_WRIST] == "miss"


def test_missing_and_unlabelled_joints() -> None:
    truth = pose(A, 2.0)
    truth[LEFT_WRIST, 2] = 0
    points = pose(A)
    points[NOSE, :2] = np.nan
    points[RIGHT_WRIST] = pose(A)[LEFT_WRIST]
    labels = labels_of(bundle([person(A, points=truth)]), points)
    expected = ["good"] * 17
    expected[NOSE], expected[LEFT_WRIST] = "miss", ""
    # 20 px off: exp(-20^2 / (2 * 30000 * .124^2)) = .65; the left wrist is not labelled, so nobody
    # can tell that it was taken for the right one
    expected[RIGHT_WRIST] = "jitter"
    assert names(labels) == expected
    assert np.isnan(labels.similarity[0, LEFT_WRIST]) and np.isnan(labels.best[0, LEFT_WRIST])
    assert labels.whose[0, LEFT_WRIST] == -1
    assert labels.similarity[0, NOSE] == 0


def test_flipped() -> None:
    scene = bundle([person(A)])
    turned = labels_of(scene, pose(A)[COCO17.flip_order])
    assert turned.flipped.tolist() == [True]
    assert turned.counts == {"good": 1, "jitter": 0, "inversion": 16, "swap": 0, "miss": 0}
    assert labels_of(scene, pose(A)).flipped.tolist() == [False]


def test_all_at_once_as_one_by_one() -> None:
    """Labels of many images at once equal those of the rules, joint by joint, in plain Python."""
    scene = random_bundle(3, n_images=24)
    candidate, who = oks_pairs(scene)
    labels = label_joints(scene, who, scene.candidates.keypoints[candidate], candidate)
    assert len(who) > 10
    for i in range(len(who)):
        for k in range(17):
            assert labels.label[i, k] == slow_label(scene, int(who[i]), int(candidate[i]), k)


def slow_label(scene: Bundle, who: int, candidate: int, joint: int) -> int:
    people = scene.people
    if people.keypoints[who, joint, 2] <= 0:
        return -1
    mirror = int(COCO17.flip_order[joint])
    cases = []
    for g in np.flatnonzero(people.image == people.image[who]).tolist():
        for k in (joint, mirror):
            if people.keypoints[g, k, 2] > 0:
                away = scene.candidates.keypoints[candidate, joint, :2] - people.keypoints[g, k, :2]
                scale = 2 * people.areas[g] * (2 * COCO17.sigmas[joint]) ** 2
                cases.append((float(np.exp(-(away @ away) / scale)), g == who, k == joint))
    m, own, same = max(cases)
    if m < 0.5:
        return 4
    if not own:
        return 3
    return (0 if m > 0.85 else 1) if same else 2


def test_pairs_go_by_pose_score() -> None:
    """The better-ranked of two poses on one person gets him; the other takes whom it can."""
    near = (130, 100, 230, 400)
    scene = bundle([person(A), person(near)], [found(A, 0.8), found((102, 100, 202, 400), 0.9)])
    assert pair_poses(scene, 0.9).tolist() == [0, -1]
    assert pair_poses(scene, 0.1).tolist() == [0, 1]
    assert [part.tolist() for part in oks_pairs(scene, 0.1)] == [[0, 1], [0, 1]]


def test_pairs_leave_out_whom_nobody_must_find() -> None:
    small = (300, 300, 310, 330)
    scene = bundle(
        [person(A, ignored=True), person(FAR), person(small)],
        [found(A), found(FAR), found(small), found(FAR, 0.3, image=0)],
    )
    assert oks_pairs(scene)[1].tolist() == [1, 2]
    assert oks_pairs(scene, min_area=32**2)[1].tolist() == [1]
    assert pair_poses(scene, 0.1).tolist()[0] >= 0


def test_pairs_are_one_to_one_and_alike() -> None:
    for seed in range(8):
        scene = random_bundle(seed)
        candidate, who = oks_pairs(scene, 0.1)
        assert len(set(candidate.tolist())) == len(candidate) == len(set(who.tolist()))
        assert scene.detected[candidate].all() and scene.evaluated[who].all()
        people, points = scene.people, scene.candidates.keypoints[candidate]
        likeness = oks(points, people.keypoints[who], people.areas[who], scene.sigmas)
        assert (likeness >= 0.1).all()


def test_transition_matrix() -> None:
    """By hand: of the person in both, the nose went from good to miss, the wrist the other way."""
    scene = bundle([person(A), person(FAR)])
    before, after = pose(A), pose(A)
    after[NOSE, 0] -= 1000
    before[LEFT_WRIST, 0] -= 1000
    both = np.array([0, 1]), np.array([-1, -1])
    given = label_joints(scene, both[0], np.stack([before, pose(FAR)]), both[1])
    detected = label_joints(scene, np.array([0]), after[None], np.array([0]))
    counts = transition_matrix(given, detected)
    expected = np.zeros((5, 5), int)
    expected[0, 0], expected[0, 4], expected[4, 0] = 15, 1, 1
    assert counts.tolist() == expected.tolist()


def test_nobody() -> None:
    scene = bundle([person(A)])
    candidate, who = oks_pairs(scene)
    labels = label_joints(scene, who, scene.candidates.keypoints[candidate], candidate)
    assert labels.label.shape == (0, 17)
    assert transition_matrix(labels, labels).sum() == 0
