"""Skeletons: sides, pairs, sigmas, categories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kptk.errors import InputError
from kptk.skeleton import (
    COCO17,
    CROWDPOSE14,
    DEFAULT_SIGMA,
    Skeleton,
    known_sigma,
    skeleton_of,
    split_side,
)


def test_sigmas_are_those_of_pycocotools() -> None:
    from pycocotools.cocoeval import Params

    assert COCO17.sigmas == pytest.approx(Params("keypoints").kpt_oks_sigmas.tolist())
    assert pytest.approx(np.mean(COCO17.sigmas)) == DEFAULT_SIGMA


def test_crowdpose_sigmas() -> None:
    # As published with CrowdPose's evaluation (crowdposetools), in thousandths.
    expected = [79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89, 79, 79]
    assert [round(1000 * sigma) for sigma in CROWDPOSE14.sigmas] == expected
    assert len(CROWDPOSE14.flip_pairs) == 6


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("left_knee", ("left", "knee")),
        ("Left Knee", ("left", "knee")),
        ("leftKnee", ("left", "knee")),
        ("RightHip", ("right", "hip")),
        ("l_knee", ("left", "knee")),
        ("lKnee", ("left", "knee")),
        ("R-Shoulder", ("right", "shoulder")),
        ("RShoulder", ("right", "shoulder")),
        ("knee_r", ("right", "knee")),
        ("left_big_toe", ("left", "big_toe")),
        # no side, whatever they begin with
        ("lip", ("centre", "lip")),
        ("root", ("centre", "root")),
        ("neck", ("centre", "neck")),
        ("left", ("centre", "left")),
    ],
)
def test_sides_in_names(name: str, expected: tuple[str, str]) -> None:
    assert split_side(name) == expected


@pytest.mark.parametrize(
    ("name", "sigma"),
    [
        ("left_hip", 0.107),
        ("LeftHip", 0.107),
        ("r_ankle", 0.089),
        ("nose", 0.026),
        ("head", 0.079),
        ("head_top", 0.079),
        ("Neck", 0.079),
        ("tail", None),
        ("hip", None),
    ],
)
def test_known_sigmas(name: str, sigma: float | None) -> None:
    assert known_sigma(name) == sigma


def test_flips_by_names_in_any_order() -> None:
    skeleton = skeleton_of({"keypoints": ["r_eye", "nose", "l_eye", "l_ear"]})
    assert skeleton.flip_pairs == ((2, 0),)
    assert skeleton.flip_order.tolist() == [2, 1, 0, 3]
    assert [skeleton.side(i) for i in range(4)] == ["right", "centre", "left", "left"]


def test_given_pairs_win_over_names() -> None:
    category: dict[str, Any] = {"keypoints": ["a", "b", "left_c", "right_c"], "skeleton": [[1, 4]]}
    skeleton = skeleton_of(category, [0.1, 0.2, 0.3, 0.4], [(0, 1)])
    assert skeleton == Skeleton(
        ("a", "b", "left_c", "right_c"), ((0, 3),), (0.1, 0.2, 0.3, 0.4), ((0, 1),)
    )
    assert skeleton.flip_order.tolist() == [1, 0, 2, 3]
    assert skeleton.side(0) == "left"
    assert skeleton_of(category, flip_pairs=[]).flip_order.tolist() == [0, 1, 2, 3]


def test_the_coco_category_gives_coco17() -> None:
    edges = [[a + 1, b + 1] for a, b in COCO17.edges]
    assert skeleton_of({"keypoints": list(COCO17.names), "skeleton": edges}) == COCO17
    assert skeleton_of({"name": "car"}) == Skeleton((), (), ())


@pytest.mark.parametrize("edges", [[[0, 1]], [[1, 3]], [[1, 1]], [[1]], [["a", "b"]], 5, "12"])
def test_limbs_that_join_no_joints_are_left_out(edges: Any) -> None:
    assert skeleton_of({"keypoints": ["nose", "neck"], "skeleton": edges}).edges == ()


@pytest.mark.parametrize(
    ("sigmas", "pairs", "message"),
    [
        ([0.1], None, "2 joints, 1 sigmas"),
        ([0.1, 0], None, "must be positive"),
        ([0.1, float("nan")], None, "must be positive"),
        (None, [(0, 2)], "joint indices 0 to 1"),
        (None, [(0, 1), (1, 0)], "one flip pair only"),
    ],
)
def test_what_does_not_fit_is_refused(sigmas: Any, pairs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        skeleton_of({"keypoints": ["nose", "neck"]}, sigmas, pairs)
