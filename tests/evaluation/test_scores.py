"""Score modes and OKS-NMS against PaddleDetection's own code."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kptk.errors import InputError
from kptk.evaluation.scores import Scoring, make_scoring, pose_scores, score_poses
from kptk.geometry import oks_nms
from kptk.instances import Instances
from kptk.skeleton import COCO17


@pytest.fixture(scope="module")
def keypoint_utils() -> ModuleType:
    """ppdet.modeling.keypoint_utils without the rest of ppdet, which would load Paddle."""
    package = importlib.util.find_spec("ppdet")
    if package is None or package.origin is None:
        pytest.skip("paddledet is not installed")
    path = Path(package.origin).parent / "modeling" / "keypoint_utils.py"
    spec = importlib.util.spec_from_file_location("keypoint_utils", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def poses(seed: int, n: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses in a few heaps, so that many resemble each other; scores; areas."""
    rng = np.random.default_rng(seed)
    centres = rng.random((5, 17, 2)) * 200
    points = np.empty((n, 17, 3))
    points[..., :2] = centres[rng.integers(5, size=n)] + rng.normal(0, 3, (n, 17, 2))
    points[..., 2] = rng.random((n, 17))
    return points, rng.random(n), rng.uniform(2000, 20000, n)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_oks_nms_is_ppdets(keypoint_utils: ModuleType, seed: int, threshold: float) -> None:
    points, scores, areas = poses(seed)
    people = [
        {"score": score, "keypoints": person, "area": area}
        for person, score, area in zip(points, scores, areas, strict=True)
    ]
    expected = keypoint_utils.oks_nms(people, threshold)
    kept = oks_nms(points, scores, areas, COCO17.sigmas, threshold)
    assert kept.tolist() == [int(i) for i in expected]
    assert len(kept) < len(points)


def test_nobody() -> None:
    nothing = np.zeros(0)
    assert len(oks_nms(np.zeros((0, 17, 3)), nothing, nothing, COCO17.sigmas, 0.9)) == 0
    assert len(score_poses(Instances.from_results([], 17), Scoring(), COCO17.sigmas)) == 0


def test_scores_by_hand() -> None:
    """Joints at .1, .2, .4 and .8: only .4 and .8 lie above .2, mean .6; of all, .375."""
    points = np.zeros((1, 4, 3))
    points[0, :, 2] = [0.1, 0.2, 0.4, 0.8]
    box, detected, given = np.array([0.5]), np.array([False]), np.array([True])
    assert pose_scores(points, box, "ppdet", detected) == pytest.approx([0.3])
    assert pose_scores(points, box, "deploy", detected) == pytest.approx([0.5])
    assert pose_scores(points, box, "deploy", given) == pytest.approx([0.375])
    points[..., 2] = 0.1  # no joint counts: 0, as in ppdet
    assert pose_scores(points, box, "ppdet", detected) == pytest.approx([0])


CASES: list[tuple[tuple[Any, ...], Scoring]] = [
    (("ppdet", "auto", None, 0.01, 0.5), Scoring("ppdet", 0.9, None, 0.01)),
    (("deploy", "auto", None, 0.01, 0.5), Scoring("deploy", None, 0.5, 0.01)),
    (("deploy", 0.8, 0.3, 0.02, 0.5), Scoring("deploy", 0.8, 0.3, 0.02)),
    (("ppdet", None, 0.3, 0, None), Scoring("ppdet", None, 0.3, 0)),
]


@pytest.mark.parametrize(("options", "expected"), CASES)
def test_options(options: tuple[Any, ...], expected: Scoring) -> None:
    assert make_scoring(*options) == expected


def test_wrong_options() -> None:
    with pytest.raises(InputError, match="oks_nms must be a number"):
        make_scoring("ppdet", "often", None, 0.01, None)
