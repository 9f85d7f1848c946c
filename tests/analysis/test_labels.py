"""One label for every person: each rule by hand, and that the labels always add up."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kptk.analysis.bundle import Bundle, bundle_of_results
from kptk.analysis.labels import (
    DETECTION_TYPES,
    JOINT_LABELS,
    PERSON_LABELS,
    JointLabels,
    error_rates,
    label_joints,
    label_people,
    oks_pairs,
    pair_poses,
    rate,
    transition_matrix,
    type_detections,
    wilson,
)
from kptk.analysis.matching import found_people, match_poses, rank_candidates
from kptk.analysis.options import AnalysisOptions
from kptk.evaluation.ground_truth import read_truth
from kptk.geometry import oks
from kptk.skeleton import COCO17
from tests.analysis.bundles import bundle, found, person, pose, random_bundle

OPTIONS = AnalysisOptions()
A = (100, 100, 200, 400)
FAR = (400, 100, 500, 400)
BESIDE = (215, 100, 315, 400)
WILD = pose((700, 700, 800, 1000))
NOSE_ONLY = pose(A, 2.0) * [1, 1, 0] + np.eye(17)[0][:, None] * [0, 0, 2]


def shifted(box: tuple[float, ...], dx: float, dy: float = 0) -> tuple[float, ...]:
    return (box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy)


def flipped(box: tuple[float, ...]) -> np.ndarray:
    return pose(box)[COCO17.flip_order]


CASES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], str, str, int]] = {
    # people, candidates; label, detail and candidate of the first person
    "found": ([person(A)], [found(A)], "ok", "", 0),
    "found by a pose, though the box is off": (
        [person(A)], [found(shifted(A, 60), points=pose(A))], "ok", "", 0,
    ),
    "the pose elsewhere, also on the true box": (
        [person(A, given=WILD)], [found(A, points=WILD)], "pose", "miss", 0,
    ),
    "all joints on the wrong side": (
        [person(A, area=900.0, given=WILD)], [found(A, points=flipped(A))], "pose", "inversion", 0,
    ),
    "the true box would do": ([person(A)], [found(A, points=WILD)], "box-sensitive", "", 0),
    "a pose that fits the neighbour": (
        [person(A), person(BESIDE)],
        [found(A, 0.9, points=pose(BESIDE)), found(BESIDE, 0.8, points=pose(BESIDE))],
        "wrong-person", "", 0,
    ),
    "only the nose is labelled, and the box cuts it off": (
        [person(A, points=NOSE_ONLY)],
        [found((100, 240, 200, 400), points=pose((100, 240, 200, 400)))], "box-limited", "", 0,
    ),
    "half of him": ([person(A)], [found((100, 260, 200, 400))], "badly-localised", "part", 0),
    "much more than him": (
        [person(A)], [found((60, 100, 400, 420), points=WILD)], "badly-localised", "loose", 0,
    ),
    "beside him": ([person(A)], [found(shifted(A, 60))], "badly-localised", "shifted", 0),
    "one box for two": (
        [person(A), person(BESIDE)], [found((100, 100, 315, 400), points=WILD)],
        "badly-localised", "merged", 0,
    ),
    "a neighbour's box that touches him says nothing": (
        [person(A), person(shifted(A, 70))], [found(shifted(A, 70))], "never-detected", "", -1,
    ),
    "too low a score": ([person(A)], [found(FAR), found(A, 0.3)], "below-threshold", "", 1),
    "a box that is off comes before a score that is low": (
        [person(A)], [found(shifted(A, 60)), found(A, 0.3)], "badly-localised", "shifted", 0,
    ),
    "in the shade of a neighbour": (
        [person(A, area=900.0), person(shifted(A, 20), area=900.0)], [found(shifted(A, 20))],
        "nms-suppressed", "likely", 0,
    ),
    "nobody there": ([person(A)], [found(FAR)], "never-detected", "", -1),
    "no candidates": ([person(A)], [], "never-detected", "", -1),
    "a crowd": ([person(A, crowd=True), person(FAR)], [found(A)], "", "", -1),
    "nobody has to find him": ([person(A, ignored=True), person(FAR)], [found(A)], "", "", -1),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_label(name: str) -> None:
    people, candidates, label, detail, candidate = CASES[name]
    labels = label_people(bundle(people, candidates), OPTIONS)
    assert (labels.label[0], labels.detail[0], labels.candidate[0]) == (label, detail, candidate)


def test_over_cap_and_pose_suppression() -> None:
    """The second-best pose of two people does not count with max_poses 1; nor if it resembles the
    best by more than oks_nms: there A's own pose, 1 px from the neighbour's."""
    scene = bundle([person(A), person(FAR)], [found(A, 0.8), found(FAR, 0.9)])
    labels = label_people(scene, AnalysisOptions(max_poses=1))
    assert labels.label.tolist() == ["over-cap", "ok"]
    assert labels.candidate.tolist() == [1, 0]
    twins = bundle([person(A), person(shifted(A, 1))], [found(A, 0.8), found(shifted(A, 1), 0.9)])
    labels = label_people(twins, OPTIONS)
    assert sorted(labels.label.tolist()) == ["nms-suppressed", "ok"]
    assert set(labels.detail.tolist()) == {"", "poses"}


@pytest.mark.parametrize(
    ("keep", "joints"), [((100, 100, 200, 265), 13), ((100, 235, 200, 400), 8)]
)
@pytest.mark.parametrize("threshold", [0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_boxes_cut_at_the_hips(keep: tuple[float, ...], joints: int, threshold: float) -> None:
    """A pose model that does all it can on a box cut at the hips is never to blame.

    It places the joints it sees rightly and all others at the border of its crop. Of the upper box
    it sees all but knees and ankles, 13 of 17; of the lower one 8. Both have an IoU of .55.
    """
    truth = standing()
    crop = bundle([person(A)], [found(keep)]).candidates.crops[0]
    points = truth.copy()
    points[:, :2] = points[:, :2].clip(crop[:2], crop[2:])
    who = person(A, points=truth, given=truth, area=5000.0)
    scene = bundle([who], [found(keep, points=points)])
    labels = label_people(scene, AnalysisOptions(oks_threshold=threshold))
    assert labels.oks[0] == pytest.approx(joints / 17, abs=0.05)
    assert labels.label[0] == ("ok" if labels.oks[0] >= threshold else "box-limited")


def standing() -> np.ndarray:
    """(17, 3) somebody who stands in A: head, shoulders, elbows, wrists, hips, knees, ankles."""
    heights = np.repeat([0.05, 0.15, 0.28, 0.48, 0.52, 0.75, 0.97], [5, 2, 2, 2, 2, 2, 2])
    points = pose(A, 2.0)
    points[:, 1] = A[1] + heights * (A[3] - A[1])
    return points


def test_cut_at_the_hips_and_bad_poses() -> None:
    """However bad the pose, a box that could not hold a good one is blamed first."""
    for seed in range(20):
        wild = pose(A)
        wild[:, :2] += np.random.default_rng(seed).normal(0, 60, (17, 2))
        scene = bundle(
            [person(A, area=3000.0, given=WILD)], [found((100, 235, 200, 400), points=wild)]
        )
        assert label_people(scene, AnalysisOptions(oks_threshold=0.7)).label[0] == "box-limited"


def test_measures_of_a_person() -> None:
    scene = bundle(
        [person(A, given=WILD)], [found(A, points=flipped(A)), found(shifted(A, 60), 0.4)]
    )
    labels = label_people(scene, AnalysisOptions(oks_threshold=0.95))
    assert labels.label[0] == "pose"
    assert labels.best_iou[0] == 1
    assert 0 < labels.oks[0] < 0.95
    assert labels.oks_given[0] == pytest.approx(0, abs=1e-6)
    assert labels.flipped[0]
    nothing = label_people(bundle([person(A, given=np.full((17, 3), np.nan))]), OPTIONS)
    assert np.isnan(nothing.oks[0]) and np.isnan(nothing.oks_given[0])
    assert nothing.best_iou[0] == 0 and not nothing.flipped[0]


def test_without_given_poses_nothing_is_box_sensitive() -> None:
    unknown = person(A, given=np.full((17, 3), np.nan))
    labels = label_people(bundle([unknown], [found(A, points=WILD)]), OPTIONS)
    assert labels.label[0] == "pose"


@pytest.mark.parametrize(
    ("candidates", "label"),
    [
        ([found(A)], "ok"),
        ([found(A, points=pose(shifted(A, 12)))], "pose"),
        ([found(A, 0.3)], "below-threshold"),
        ([found(FAR)], "never-detected"),
        ([], "never-detected"),
    ],
)
def test_poses_without_boxes(candidates: list[dict[str, Any]], label: str) -> None:
    scene = bundle([person(A, area=1500.0)], candidates, two_stage=False)
    assert label_people(scene, OPTIONS).label[0] == label


def test_without_boxes_a_second_pose_on_a_neighbour_is_nobodys() -> None:
    scene = bundle(
        [person(A), person(shifted(A, 40))],
        [found(A, 0.9), found(shifted(A, 2), 0.8)],
        two_stage=False,
    )
    options = AnalysisOptions(oks_threshold=0.9)
    assert label_people(scene, options).label.tolist() == ["ok", "never-detected"]
    assert types_of(scene, options) == ["true positive", "duplicate"]


def types_of(scene: Bundle, options: AnalysisOptions = OPTIONS) -> list[str]:
    return [DETECTION_TYPES[i] if i >= 0 else "" for i in type_detections(scene, options)]


TYPES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]] = {
    "found, and again": (
        [person(A)], [found(A), found(shifted(A, 30), 0.8), found(A, 0.4)],
        ["true positive", "duplicate", ""],
    ),
    "a bad pose": ([person(A)], [found(A, points=WILD)], ["bad pose"]),
    "off": ([person(A)], [found(shifted(A, 60))], ["badly localised"]),
    "nothing": ([person(A)], [found(FAR)], ["background"]),
    "in a crowd": (
        [person((0, 0, 640, 480), crowd=True), person(FAR)],
        [found((10, 10, 60, 160)), found((100, 10, 150, 160), 0.8)], ["ignored", "ignored"],
    ),
    "nobody has to find him": (
        [person(A, ignored=True), person(FAR)], [found(A)], ["ignored"],
    ),
    "the better pose is on the worse box": (
        [person(A)], [found(A, 0.9, points=pose(shifted(A, 10), 0.4)), found(shifted(A, 5), 0.8)],
        ["duplicate", "true positive"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_type(name: str) -> None:
    people, candidates, expected = TYPES[name]
    assert types_of(bundle(people, candidates)) == expected


def test_type_over_the_cap() -> None:
    scene = bundle([person(A), person(FAR)], [found(A, 0.8), found(FAR, 0.9)])
    assert types_of(scene, AnalysisOptions(max_poses=1)) == ["true positive", "ignored"]


@pytest.mark.parametrize("two_stage", [True, False])
def test_labels_add_up(two_stage: bool) -> None:
    """Random worlds: every person that must be found has one label, nobody else has one; the found
    ones are those that COCO's matching finds, and as many as the true positives."""
    seen, kinds = set(), set()
    for seed in range(20):
        scene = random_bundle(seed, two_stage=two_stage)
        labels, types = label_people(scene, OPTIONS), type_detections(scene, OPTIONS)
        given = labels.label != ""
        assert (given == scene.evaluated).all()
        assert set(labels.label[given]) <= set(PERSON_LABELS)
        ok = labels.label == "ok"
        poses = rank_candidates(scene, OPTIONS).kept(scene.threshold)
        coco = found_people(match_poses(scene, poses, OPTIONS), len(ok), 0.5)
        assert (ok == coco & scene.evaluated).all()
        assert int((types == 0).sum()) == int(ok.sum())
        assert ((types >= 0) == scene.detected).all()
        rates = error_rates(labels)
        assert rates["detector"].n == int(given.sum())
        assert rates["detector"].k + rates["keypoints"].k + ok.sum() == given.sum()
        seen |= set(labels.label[given])
        kinds |= set(types[types >= 0].tolist())
    alone = {"ok", "pose", "below-threshold", "never-detected"}
    assert seen >= (set(PERSON_LABELS) - {"over-cap"} if two_stage else alone)
    assert two_stage or seen <= {*alone, "over-cap"}
    assert kinds == set(range(6)) - (set() if two_stage else {4})


def test_order_of_images_does_not_matter() -> None:
    """Labels of a world of many images are those of its images one by one."""
    scene = random_bundle(5)
    labels = label_people(scene, OPTIONS)
    for image in np.unique(scene.people.image).tolist():
        rows, own = scene.people.image == image, scene.candidates.image == image
        people = [
            person(
                scene.people.boxes[g], points=scene.people.keypoints[g], area=scene.people.areas[g],
                crowd=scene.people.crowd[g], ignored=scene.people.ignored[g],
                given=scene.people.given[g],
            )
            for g in np.flatnonzero(rows)
        ]  # fmt: skip
        candidates = [
            found(
                scene.candidates.boxes[d], scene.candidates.scores[d],
                points=scene.candidates.keypoints[d],
            )
            for d in np.flatnonzero(own)
        ]  # fmt: skip
        alone = label_people(bundle(people, candidates), OPTIONS)
        assert alone.label.tolist() == labels.label[rows].tolist()
        assert alone.detail.tolist() == labels.detail[rows].tolist()


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [  # by hand with z = 1.959964; of 0 in n the upper bound is z^2 / (n + z^2)
        (0, 10, 0.0, 0.2775327998628892),
        (5, 10, 0.2365930905125640, 0.7634069094874360),
        (10, 10, 0.7224672001371107, 1.0),
        (1, 100, 0.0017674320641407, 0.0544862),
    ],
)  # fmt: skip
def test_wilson(k: int, n: int, low: float, high: float) -> None:
    found_low, found_high = wilson(k, n)
    assert found_low == pytest.approx(low, abs=1e-7)
    assert found_high == pytest.approx(high, abs=1e-7)


def test_rates_by_hand() -> None:
    """Four people: found, cut off by the box, a bad pose, nobody there."""
    cut = person(FAR, 1, points=pose(FAR, 2.0) * (NOSE_ONLY > 0), given=WILD)
    scene = bundle(
        [person(A), cut, person(A, 2, given=WILD), person(A, 3)],
        [
            found(A),
            found((400, 240, 500, 400), image=1, points=WILD),
            found(A, image=2, points=WILD),
        ],
    )
    labels = label_people(scene, OPTIONS)
    assert labels.label.tolist() == ["ok", "box-limited", "pose", "never-detected"]
    rates = error_rates(labels)
    assert rates["detector"] == rate(2, 4)
    assert rates["keypoints"] == rate(1, 3)
    assert rates["keypoints"].value == pytest.approx(1 / 3)
    nothing = rate(0, 0)
    assert all(math.isnan(x) for x in (nothing.value, nothing.low, nothing.high))


def test_tags() -> None:
    """By hand: 60 of 220 px of outline on the left edge; joints hidden; IoU .6 with a neighbour."""
    hidden = pose((0, 50, 50, 110), 2.0)
    hidden[:9, 2] = 1
    scene = bundle(
        [person((0, 50, 50, 110), points=hidden), person(A, area=1000.0), person(shifted(A, 25))]
    )
    tags = label_people(scene, OPTIONS).tags
    assert {name: flags.tolist() for name, flags in tags.items()} == {
        "tiny": [False, True, False],
        "truncated": [True, False, False],
        "occluded": [True, False, False],
        "crowded": [False, True, True],
    }


# Labels of joints: the counts of the original coco-analyze, and each rule by hand.


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
